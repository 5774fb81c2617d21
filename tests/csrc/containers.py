"""Containers of random weights for the engine, as sertool.h describes them: `containers.py FOLDER` writes them."""

import struct
import sys
import zlib
from array import array
from pathlib import Path
from random import Random

FLOAT32, INT8, INT32 = 1, 2, 3
CENTRE, SOFTMAX, QUANTISED = 1, 2, 4

#: name: outputs, flags
CONTAINERS = {
    "float": (3, 0),
    "float-classes": (4, CENTRE | SOFTMAX),
    "int8": (3, CENTRE | QUANTISED),
    "int8-classes": (16, SOFTMAX | QUANTISED),
    "too-many-outputs": (17, 0),
}


def container(outputs: int, flags: int, seed: int) -> bytes:
    """Weights of such sizes that activations neither die nor grow, nor the softmax over tokens sees one token only."""
    random, int8 = Random(seed), flags & QUANTISED
    tensors = [("network", INT32, (4,), array("i", [1, outputs, flags, 0]).tobytes())]

    def floats(name, shape, low, high):
        values = [random.uniform(low, high) for _ in range(count(shape))]
        tensors.append((name, FLOAT32, shape, array("f", values).tobytes()))

    def layer(name, inputs, out, size, scale=None, bias=None):
        """inputs: the shape before the outputs. scale: of an int8 layer's sums."""
        if scale:
            shape = (out, *inputs)
            values = [random.randint(-128, 127) for _ in range(count(shape))]
            tensors.append((f"{name}.weight", INT8, shape, array("b", values).tobytes()))
            floats(f"{name}.scale", (out,), 0.5 * scale, 1.5 * scale)
        else:
            floats(f"{name}.weight", (*inputs, out), -size, size)
        if bias is not None:
            floats(f"{name}.bias", (out,), -bias, bias)

    layer("conv1", (3, 3), 13, 1.5 if int8 else 0.03, bias=20 if int8 else 0.3)
    for i in range(2, 8):
        layer(f"conv{i}", (3, 3, 13), 13, 0.22, 0.0025 if int8 else None, 20 if int8 else 0.1)
    layer("mix", (13,), 13, 0.6, 0.006 if int8 else None, 5 if int8 else 0.1)
    for name in ("sof", "lin"):
        layer(name, (169,), 169, 0.15, 4e-5 if int8 else None)
    floats("head.weight", (outputs, 169), -0.1, 0.1)
    floats("head.bias", (outputs,), -0.5, 0.5)
    return assemble(tensors, b'{"text": "of any kind"}')


def count(shape) -> int:
    n = 1
    for axis in shape:
        n *= axis
    return n


def assemble(tensors, text: bytes) -> bytes:
    """tensors: name, type, shape, data."""
    entries, data, at = b"", b"", 32 + 64 * len(tensors)
    for name, kind, shape, values in tensors:
        data += bytes(-(at + len(data)) % 64)
        four = (*shape, 1, 1, 1)[:4]
        place = (at + len(data), len(values), zlib.crc32(values), 0)
        entries += struct.pack("<24s10I", name.encode(), kind, len(shape), *four, *place)
        data += values
    end = at + len(data)
    header = b"SERNATV1" + struct.pack("<5I", end + len(text), len(tensors), end, len(text), zlib.crc32(text))
    return header + struct.pack("<I", zlib.crc32(header + entries)) + entries + data + text


def write(folder: Path) -> None:
    """folder/NAME.weights for each of CONTAINERS."""
    for seed, (name, (outputs, flags)) in enumerate(CONTAINERS.items()):
        (folder / f"{name}.weights").write_bytes(container(outputs, flags, seed))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
