"""Merge csrc/ into one text with only the code that the plain kernels need."""

import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: In this folder in a wheel, at the root of a checkout.
CSRC = next(folder for folder in (HERE / "csrc", HERE.parents[1] / "csrc") if folder.is_dir())

_SOURCES = (
    "sertool.h",
    "bits.h",
    "check.h",
    "logmel_tables.h",
    "logmel.c",
    "statistics.c",
    "weights.h",
    "engine.h",
    "wav2small_plain.c",
    "wav2small.c",
)

#: Pattern of a preprocessor condition -> whether it holds: no vectors, one lane, include guards.
_CONDITIONS = {r"LANES == 1": True, r"LANES > 1": False, r"ifndef SER\w*_H": True, r"__cplusplus": False}
_CONDITIONS |= {r"SER_WITH_VECTORS|SER_WITH_AVX": False}
#: Condition that is kept for the compiler.
_COMPILE_TIME = "__ARM_FEATURE_SIMD32"

#: Replacements for macros of logmel_kernel.h, and removal of the code for n_fft 144.
_CHANGES = (
    (r"\bNAME\((\w+)\)", r"\1"),
    (r"\bTARGET ", ""),
    (r"\bvec\b", "float"),
    (r"\bivec\b", "int32_t"),
    (r"\bLANES\b", "1"),
    (r"\bAS_INT\(", "int_of("),
    (r"\bAS_FLOAT\(", "float_of("),
    (r"\bTO_FLOAT\(", "(float)("),
    (r"\bAT_LEAST\((\w+), (\S+)\)\)", r"\1 > \2 ? \1 : \2)"),
    (r"\n    \{144, .*", ""),
    (r"\n +case 3: .*", ""),
    (r"\} else if \(radix == 3\) \{[^}]*(?=\} else \{ /\* 2)", ""),
    (r"\bALIGNMENT = 64, ", ""),
    (r"\bCHUNK = 512\b", "CHUNK = 32"),  # only wider kernels benefit from more
    (r"\bSER_E_SPACE\b", "SER_E_ARGUMENT"),
)

_NAME, _COMMENT = re.compile(r"[A-Za-z_]\w*"), re.compile(r"/\*.*?\*/", re.DOTALL)
_FUNCTION = re.compile(r"^(?!typedef|struct|enum|extern)\w[\w *]*?(\w+)\([^;{]*\{", re.MULTILINE)
_VARIABLE = re.compile(r"^(?:static )?const \w[\w ]* (\w+)(?:\[\w*\])* = ", re.MULTILINE)
_TYPE = re.compile(r"^(?:typedef .* |\} |struct )(\w+)(?:;| \{)", re.MULTILINE)
_ENUM = re.compile(r"^(?:typedef )?enum\b[^{]*\{([^}]*)\}", re.MULTILINE)
_ELSEWHERE = re.compile(r"^\} ser_status;|^typedef struct ser_wav2small ", re.MULTILINE)
_EXTERNAL = re.compile(r"^(?=(?:void|int|size_t|ser_status) \w+\(|const ser_kernel )", re.MULTILINE)


def amalgamate(roots: str) -> str:
    """Return all code that the C text ``roots`` refers to, directly or indirectly, in an order that compiles.

    All functions are static. The types ser_status and ser_wav2small must be defined before it.
    """
    text = "\n\n".join(f"/* ==== {name} */\n\n{_plain(name)}" for name in _SOURCES)
    for pattern, new in _CHANGES:
        text, count = re.subn(pattern, new, text)
        assert count, f"{pattern} is no longer in csrc/"
    parts = [_Part(part) for part in re.split(r"\n\n+(?=\S)", text) if not _ELSEWHERE.search(part)]
    needed: set[_Part] = set()
    fresh = [_Part(roots)]
    while fresh:
        fresh = [part for part in parts if part not in needed and any(part.serves(other) for other in fresh)]
        needed.update(fresh)
    return "\n\n".join(part.text for part in parts if part in needed or part.text.startswith("/* ===="))


class _Part:
    """A section of C that ends before an empty line followed by unindented text: what it defines and what it needs."""

    def __init__(self, text: str) -> None:
        code = _COMMENT.sub("", text)
        self.text = _EXTERNAL.sub("static ", text)
        self._functions = set(_FUNCTION.findall(code))
        self._values = {*_VARIABLE.findall(code), *_TYPE.findall(code)}
        self._values |= {name for body in _ENUM.findall(code) for name in re.findall(r"(?:^|,)\s*(\w+)", body)}
        # Locals and members may have names of functions; a function is needed where it is called or used as a value.
        self._called = {*re.findall(r"(?<![.>\w])(\w+)\(", code), *re.findall(r" = (\w+);", code)}
        self._named = set(_NAME.findall(code))
        if _VARIABLE.search(code):
            self._called |= self._named

    def serves(self, other: "_Part") -> bool:
        """Return whether the other part needs what this part defines."""
        return bool(self._functions & other._called or self._values & other._named)


def _plain(name: str) -> str:
    """Return a source for one lane and no vectors, without preprocessor lines."""
    return "\n".join(_resolved(name)).strip()


def _resolved(name: str) -> Iterator[str]:
    lines = iter((CSRC / name).read_text(encoding="utf-8").splitlines())
    # For each condition around a line: (whether this branch holds, whether an earlier one did, None if kept).
    branches: list[tuple[bool, bool | None]] = []
    for line in lines:
        reached = all(holds for holds, _ in branches)
        word = line[1:].split()[0] if line.startswith("#") else ""
        if word in ("if", "ifdef", "ifndef"):
            branches.append((True, None) if _COMPILE_TIME in line else (_holds(line), False))
        if not word or (branches and branches[-1][1] is None):
            if reached:
                yield line
        elif word in ("elif", "else"):
            holds, before = branches.pop()
            before = before or holds
            branches.append((not before and (word == "else" or _holds(line)), before))
        elif reached and word == "include" and "_kernel.h" in line:
            yield from _resolved(line.split('"')[1])
        while word and line.endswith("\\"):
            line = next(lines)
        if word == "endif":
            branches.pop()


def _holds(line: str) -> bool:
    matches = [holds for pattern, holds in _CONDITIONS.items() if re.search(pattern, line)]
    assert matches, f"{line} in csrc/ is an unknown condition"
    return matches[0]
