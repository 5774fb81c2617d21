"""Write and read the file format of the C engine: csrc/weights.c, sertool.bundle.container."""

import struct
import zlib
from collections.abc import Mapping

import numpy as np

from sertool._types import Array

MAGIC, ALIGNED = b"SERNATV1", 64
HEADER, ENTRY = struct.Struct("<8s6I"), struct.Struct("<24s10I")
TYPES = {"<f4": 1, "|i1": 2, "<i4": 3}


def packed(tensors: Mapping[str, Array], text: str = "") -> bytes:
    """Return named arrays of 1 to 4 axes, int8, int32 or float (stored as float32), and a text as such a file."""
    place = HEADER.size + ENTRY.size * len(tensors)
    entries, data = b"", b""
    for name, values in tensors.items():
        values = np.ascontiguousarray(values, np.float32 if values.dtype.kind == "f" else None)
        stored, shape = values.astype(values.dtype.newbyteorder("<")).tobytes(), values.shape + (1,) * (4 - values.ndim)
        data += bytes(-(place + len(data)) % ALIGNED)
        about = TYPES[values.dtype.newbyteorder("<").str], values.ndim, *shape, place + len(data), len(stored)
        entries += ENTRY.pack(name.encode("ascii"), *about, zlib.crc32(stored), 0)
        data += stored
    tail = text.encode()
    start = place + len(data) if tail else 0
    head = HEADER.pack(MAGIC, place + len(data) + len(tail), len(tensors), start, len(tail), zlib.crc32(tail), 0)[:-4]
    total = zlib.crc32(entries, zlib.crc32(head))
    return head + total.to_bytes(4, "little") + entries + data + tail


def unpacked(data: bytes) -> tuple[dict[str, Array], str]:
    """Return the arrays by name and the text of a file that ``packed`` created."""
    count, text, text_bytes = struct.unpack_from("<8x4xIII", data)[:3]
    tensors: dict[str, Array] = {}
    for i in range(count):
        name, kind, rank, *shape, place, size, _, _ = ENTRY.unpack_from(data, HEADER.size + ENTRY.size * i)
        dtype = next(dtype for dtype, number in TYPES.items() if number == kind)
        values = np.frombuffer(data[place : place + size], dtype)
        tensors[name.rstrip(b"\0").decode("ascii")] = values.reshape(shape[:rank])
    return tensors, data[text : text + text_bytes].decode()
