"""Export a Wav2Small as a pair of self-contained C files."""

import hashlib
import json
import re
import textwrap
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from sertool import Source
from sertool._types import Array
from sertool.bundle import container
from sertool.errors import UsageError

from . import export as float32
from . import int8
from .amalgamate import amalgamate, structure
from .network import CENTRE, INT8, SOFTMAX

TEMPLATES = Path(__file__).resolve().parent / "pair"

#: Bits -> memory of an engine in bytes, with 64-bit pointers.
BYTES = {8: 19_240, 32: 57_216}

_FILES = ("model.h", "model.c", "main.c")

#: The files of csrc/ that model.c contains, and those that they include. The layers depend on the bits.
_SOURCES = ("statistics.c", "logmel_64.h", "logmel_plain.h", "logmel_kernel.h", "logmel.c", "wav2small.c")
_LAYERS = {8: "wav2small_int8.h", 32: "wav2small_float.h"}


def export(source: Source, path: str | Path, metadata: dict[str, str], bits: int = 8) -> None:
    """Export like `native-int8`, or `native` for 32 ``bits``, and write NAME.h, NAME.c and main.c to the same folder.

    NAME is the bundle's name as a C identifier. The pair's outputs are bit-identical to those of the engine's plain
    kernels with that file. Raises UsageError as `native`, and for other bits.
    """
    if bits not in BYTES:
        raise UsageError(f"c: bits must be 8 or 32, not {bits!r}")
    path, exported = Path(path), float32.export if bits == 32 else int8.export
    exported(source, path, metadata)
    for name, text in pair(path.read_bytes(), path.name).items():
        path.with_name(name).write_text(text, encoding="utf-8", newline="\n")


def pair(data: bytes, called: str) -> dict[str, str]:
    """Return file name -> text of the pair and its example, for native weights and the name of their file."""
    manifest: dict[str, Any]
    values: dict[str, Any]
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
        "id": _comment(f"{manifest['name']} {manifest['version']}".strip()),
        "title": _comment(manifest["title"] or prefix),
        "licence": _comment(manifest["licence"]),
        "weights": called,
        "sha": hashlib.sha256(data).hexdigest(),
        "before": _preprocessing(manifest["preprocessing"]),
        "answers": _outputs(outputs, flags),
        "bits": bits,
        "count": count,
        "flags": flags,
        "passes": 3 if flags & CENTRE else 2,
        "bytes": BYTES[bits],
        "constant": sum(array.nbytes for array in tensors.values()),
        "longest": max(map(len, names)) + 1,
        "names": ", ".join(map(_quoted, names)),
        "element": "uint8_t" if bits == 8 else "float",
        "kernel": "ser_kernel_int8" if bits == 8 else "ser_kernel_float",
        "convolutions": ",\n     ".join(layers[f"conv{i}"] for i in range(1, 8)),
        "arrays": "\n\n".join(_array(name, array) for name, array in tensors.items()),
        **{name: layers[name] for name in ("mix", "sof", "lin")},
        "statistics": structure("ser_statistics"),
        "sources": amalgamate([*_SOURCES, _LAYERS[bits]]),
    }
    templates = {name: Template((TEMPLATES / name).read_text(encoding="utf-8")) for name in _FILES}
    return {
        name.replace("model", prefix): _wrapped(template.substitute(values)) for name, template in templates.items()
    }


def _preprocessing(steps: list[dict[str, Any]]) -> str:
    """Describe the preprocessing of recordings for a comment; empty if there is none."""
    if not steps:
        return ""
    done = "; ".join(" ".join([step["step"], *(f"{k} {v}" for k, v in step.items() if k != "step")]) for step in steps)
    return f"\n *     The model expects recordings after these steps, which this code does not apply: {_comment(done)}."


def _outputs(outputs: list[dict[str, Any]], flags: int) -> str:
    """Describe the outputs for a comment."""
    described = [f"{_comment(out['name'])} ({out['range'][0]:g} to {out['range'][1]:g})" for out in outputs]
    return ", ".join(described) + (
        "; their sum is 1." if flags & SOFTMAX else "; unusual recordings may exceed these ranges."
    )


def _layer(name: str, tensors: dict[str, Array]) -> str:
    """Return the initialiser of a ser_layer."""
    parts = [f"{name}.{part}" for part in ("weight", "scale", "bias")]
    return "{" + ", ".join(part.replace(".", "_") if part in tensors else "NULL" for part in parts) + "}"


def _array(name: str, values: Array) -> str:
    """Return the definition of a constant array, with its shape in a comment."""
    kind, suffix = ("int8_t", "") if values.dtype == np.int8 else ("float", "f")
    shape = "".join(f"[{n}]" for n in values.shape)
    numbers = ", ".join(f"{value!s}{suffix}" for value in values.ravel())
    text = "\n".join(textwrap.wrap(numbers, 120, initial_indent="    ", subsequent_indent="    "))
    return f"static const {kind} {name.replace('.', '_')}[{values.size}] = {{ /* {shape} */\n{text}\n}};"


def _comment(text: str) -> str:
    """Return text for a comment, without sequences that would end or start a comment."""
    return re.sub(r"(?<=\*)(?=/)|(?<=/)(?=\*)|(?<=\?)(?=\?)|\\", " ", " ".join(text.split()))


def _quoted(name: bytes) -> str:
    """Return a C string literal; digits and letters stay readable."""
    return (
        '"' + re.sub(r"[^\w .-]", lambda match: f"\\{ord(match[0]):03o}", name.decode("latin-1"), flags=re.ASCII) + '"'
    )


def _wrapped(code: str) -> str:
    """Wrap comments at 120 columns."""
    wrap = textwrap.TextWrapper(119, subsequent_indent=" * ", break_long_words=False, break_on_hyphens=False)
    lines = []
    for line in code.split("\n"):
        lines += wrap.wrap(line) if len(line) > 120 and line.startswith((" * ", "/* ")) else [line]
    return "\n".join(lines)
