"""csrc/ as one text: what the plain kernels need of it, and no more."""

import re
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: In a wheel beside this file, in a checkout at its root.
CSRC = next(folder for folder in (HERE / "csrc", HERE.parents[1] / "csrc") if folder.is_dir())

_SOURCES = ("sertool.h", "bits.h", "check.h", "logmel_tables.h", "logmel.c", "statistics.c", "weights.h", "engine.h")
_SOURCES += ("wav2small_plain.c", "wav2small.c")

#: What preprocessor conditions speak of -> whether they hold: no vectors, one lane, headers once.
_CONDITIONS = {r"LANES == 1": True, r"LANES > 1": False, r"ifndef SER\w*_H": True, r"__cplusplus": False}
_CONDITIONS |= {r"__GNUC__|__clang__|__x86_64__|WITH_VECTORS": False}
#: What is left for the compiler to find out.
_KEPT = "__ARM_FEATURE_SIMD32"

#: What stands in for macros of logmel_kernel.h, and is left out for n_fft 144.
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
    (r"\bCHUNK = 512\b", "CHUNK = 32"),  # more is of use to wider kernels only
    (r"\bSER_E_SPACE\b", "SER_E_ARGUMENT"),
)

_NAME, _COMMENT = re.compile(r"[A-Za-z_]\w*"), re.compile(r"/\*.*?\*/", re.DOTALL)
_FUNCTION = re.compile(r"^(?!typedef|struct|enum|extern)\w[\w *]*?(\w+)\([^;{]*\{", re.MULTILINE)
_VARIABLE = re.compile(r"^(?:static )?const \w[\w ]* (\w+)(?:\[\w*\])* = ", re.MULTILINE)
_TYPE = re.compile(r"^(?:typedef .* |\} |struct )(\w+)(?:;| \{)", re.MULTILINE)
_ENUM = re.compile(r"^(?:typedef )?enum\b[^{]*\{([^}]*)\}", re.MULTILINE)
_ELSEWHERE = re.compile(r"^\} ser_status;|^typedef struct ser_wav2small ", re.MULTILINE)
_OWN = re.compile(r"^(?=(?:void|int|size_t|ser_status) \w+\(|const ser_kernel )", re.MULTILINE)


def amalgamate(roots: str) -> str:
    """All of the sources that the C text ``roots`` calls or names, and that calls and names, in an order to compile.

    All functions are static. The types ser_status and ser_wav2small are left to whoever goes before it.
    """
    text = "\n\n".join(f"/* ==== {name} */\n\n{_plain(name)}" for name in _SOURCES)
    for pattern, new in _CHANGES:
        text, found = re.subn(pattern, new, text)
        assert found, f"{pattern} is not in csrc/ any more"
    parts = [_Part(part) for part in re.split(r"\n\n+(?=\S)", text) if not _ELSEWHERE.search(part)]
    needed, fresh = set(), [_Part(roots)]
    while fresh:
        fresh = [part for part in parts if part not in needed and any(part.serves(other) for other in fresh)]
        needed.update(fresh)
    return "\n\n".join(part.text for part in parts if part in needed or part.text.startswith("/* ===="))


class _Part:
    """A stretch of C without an empty line before its first column: what it defines and what it needs."""

    def __init__(self, text: str):
        code = _COMMENT.sub("", text)
        self.text = _OWN.sub("static ", text)
        self._functions = set(_FUNCTION.findall(code))
        self._values = {*_VARIABLE.findall(code), *_TYPE.findall(code)}
        self._values |= {name for body in _ENUM.findall(code) for name in re.findall(r"(?:^|,)\s*(\w+)", body)}
        # Locals and members may be called like functions, which count where they are called or somebody's value.
        self._called = {*re.findall(r"(?<![.>\w])(\w+)\(", code), *re.findall(r" = (\w+);", code)}
        self._named = set(_NAME.findall(code))
        if _VARIABLE.search(code):
            self._called |= self._named

    def serves(self, other: "_Part") -> bool:
        """Whether the other one needs what this one defines."""
        return bool(self._functions & other._called or self._values & other._named)


def _plain(name: str) -> str:
    """A source for one lane and no vectors, without lines of the preprocessor."""
    return "\n".join(_resolved(name)).strip()


def _resolved(name: str) -> Iterator[str]:
    lines = iter((CSRC / name).read_text(encoding="utf-8").splitlines())
    branches = []  # of each condition around a line: (whether this branch holds, whether one did before, None if kept)
    for line in lines:
        reached = all(holds for holds, _ in branches)
        word = line[1:].split()[0] if line.startswith("#") else ""
        if word in ("if", "ifdef", "ifndef"):
            branches.append((True, None) if _KEPT in line else (_holds(line), False))
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
    found = [holds for pattern, holds in _CONDITIONS.items() if re.search(pattern, line)]
    assert found, f"{line} in csrc/ is new here"
    return found[0]
