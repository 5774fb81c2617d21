"""A Wav2Small to a pair of C files that need nothing else."""

import hashlib
import json
import re
import textwrap
from pathlib import Path
from string import Template

import numpy as np

from sertool import Source
from sertool.errors import UsageError

from . import container, int8
from . import export as float32
from .amalgamate import amalgamate
from .network import CENTRE, INT8, SOFTMAX

TEMPLATES = Path(__file__).resolve().parent / "pair"

#: Memory of an engine by bits, where pointers have 64.
BYTES = {8: 19_240, 32: 57_216}


def export(source: Source, path, metadata: dict[str, str], bits: int = 8) -> None:
    """As exporter `native-int8`, or `native` for 32 ``bits``, and beside the file NAME.h, NAME.c and main.c.

    NAME is the bundle's as C can call it. The pair's outputs are, to the last bit, those of the engine's plain kernels
    with that file. UsageError as `native`, and for other bits.
    """
    if bits not in BYTES:
        raise UsageError(f"c: bits is 8 or 32, not {bits!r}")
    path, exported = Path(path), float32.export if bits == 32 else int8.export
    exported(source, path, metadata)
    for name, text in pair(path.read_bytes(), path.name).items():
        path.with_name(name).write_text(text, encoding="utf-8", newline="\n")


def pair(data: bytes, called: str) -> dict[str, str]:
    """File name -> text of the pair and its example, for native weights and what their file is called."""
    tensors, text = container.unpacked(data)
    _, count, flags, _ = tensors.pop("network").tolist()
    bits = 8 if flags & INT8 else 32
    manifest = {"name": "model", "version": "", "title": "", "licence": "none stated", "preprocessing": []}
    manifest |= json.loads(text or "{}")
    outputs = manifest.get("outputs") or [{"name": f"output_{i}", "range": [0, 1]} for i in range(count)]
    prefix = re.sub(r"\W", "_", re.sub(r"^(?=\d)", "model_", manifest["name"]), flags=re.ASCII)
    names = [output["name"].encode() for output in outputs]
    layers = {name: _layer(name, tensors) for name in [f"conv{i}" for i in range(1, 8)] + ["mix", "sof", "lin"]}
    values = {
        "prefix": prefix,
        "PREFIX": prefix.upper(),
        "id": _said(f"{manifest['name']} {manifest['version']}".strip()),
        "title": _said(manifest["title"] or prefix),
        "licence": _said(manifest["licence"]),
        "weights": called,
        "sha": hashlib.sha256(data).hexdigest(),
        "before": _before(manifest["preprocessing"]),
        "answers": _answers(outputs, flags),
        "bits": bits,
        "count": count,
        "flags": flags,
        "passes": 3 if flags & CENTRE else 2,
        "bytes": BYTES[bits],
        "constant": sum(values.nbytes for values in tensors.values()),
        "longest": max(map(len, names)) + 1,
        "names": ", ".join(map(_quoted, names)),
        "element": "uint8_t" if bits == 8 else "float",
        "kernel": "ser_kernel_plain_int8" if bits == 8 else "ser_kernel_plain",
        "convolutions": ",\n     ".join(layers[f"conv{i}"] for i in range(1, 8)),
        "arrays": "\n\n".join(_array(name, values) for name, values in tensors.items()),
        **{name: layers[name] for name in ("mix", "sof", "lin")},
    }
    templates = {name: Template((TEMPLATES / name).read_text(encoding="utf-8")) for name in _FILES}
    values["sources"] = amalgamate(templates["model.c"].substitute(values, sources=""))
    return {
        name.replace("model", prefix): _finished(template.substitute(values), prefix)
        for name, template in templates.items()
    }


_FILES = ("model.h", "model.c", "main.c")


def _before(steps: list[dict]) -> str:
    """What was done to recordings before the network saw them, or nothing; for a comment."""
    if not steps:
        return ""
    done = "; ".join(" ".join([step["step"], *(f"{k} {v}" for k, v in step.items() if k != "step")]) for step in steps)
    return f"\n *     The model was made for recordings that went through: {_said(done)}. That is not in here."


def _answers(outputs: list[dict], flags: int) -> str:
    """What comes out, for a comment."""
    said = [f"{_said(out['name'])} ({out['range'][0]:g} to {out['range'][1]:g})" for out in outputs]
    return ", ".join(said) + ("; their sum is 1." if flags & SOFTMAX else "; an odd recording may be placed beyond.")


def _layer(name: str, tensors: dict[str, np.ndarray]) -> str:
    """A ser_layer."""
    parts = [f"{name}.{part}" for part in ("weight", "scale", "bias")]
    return "{" + ", ".join(part.replace(".", "_") if part in tensors else "NULL" for part in parts) + "}"


def _array(name: str, values: np.ndarray) -> str:
    """A constant, its shape before it."""
    kind, suffix = ("int8_t", "") if values.dtype == np.int8 else ("float", "f")
    shape = "".join(f"[{n}]" for n in values.shape)
    numbers = ", ".join(f"{value!s}{suffix}" for value in values.ravel())
    text = "\n".join(textwrap.wrap(numbers, 120, initial_indent="    ", subsequent_indent="    "))
    return f"static const {kind} {name.replace('.', '_')}[{values.size}] = {{ /* {shape} */\n{text}\n}};"


def _said(text: str) -> str:
    """Text for a comment, which it can neither end nor begin."""
    return re.sub(r"(?<=\*)(?=/)|(?<=/)(?=\*)|(?<=\?)(?=\?)|\\", " ", " ".join(text.split()))


def _quoted(name: bytes) -> str:
    """A string of C's, digits and letters as they are."""
    return '"' + re.sub(r"[^\w .-]", lambda odd: f"\\{ord(odd[0]):03o}", name.decode("latin-1"), flags=re.ASCII) + '"'


def _finished(code: str, prefix: str) -> str:
    """Statuses under the names of the header, comments of at most 120 columns."""
    code = re.sub(r"\bser_status\b", f"{prefix}_status", code)
    code = re.sub(r"\bSER_(OK|E_[A-Z]+)\b", rf"{prefix.upper()}_\1", code)
    wrap = textwrap.TextWrapper(119, subsequent_indent=" * ", break_long_words=False, break_on_hyphens=False)
    lines = []
    for line in code.split("\n"):
        lines += wrap.wrap(line) if len(line) > 120 and line.startswith((" * ", "/* ")) else [line]
    return "\n".join(lines)
