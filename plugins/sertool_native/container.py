"""The file that the engine in C reads: csrc/weights.c, sertool.bundle.container."""

import struct
import zlib
from pathlib import Path

import numpy as np

MAGIC, ALIGNED = b"SERNATV1", 64
HEADER, ENTRY = struct.Struct("<8s6I"), struct.Struct("<24s10I")
TYPES = {"<f4": 1, "|i1": 2, "<i4": 3}


def write(path, tensors: dict[str, np.ndarray], text: str = "") -> None:
    """Write arrays of float32, int8 or int32 and 1 to 4 axes, by name, and a text, the same bytes for the same."""
    place = HEADER.size + ENTRY.size * len(tensors)
    entries, data = b"", b""
    for name, values in tensors.items():
        values = np.ascontiguousarray(values)
        kept, shape = values.astype(values.dtype.newbyteorder("<")).tobytes(), values.shape + (1,) * (4 - values.ndim)
        data += bytes(-(place + len(data)) % ALIGNED)
        about = TYPES[values.dtype.newbyteorder("<").str], values.ndim, *shape, place + len(data), len(kept)
        entries += ENTRY.pack(name.encode("ascii"), *about, zlib.crc32(kept), 0)
        data += kept
    said = text.encode()
    start = place + len(data) if said else 0
    head = HEADER.pack(MAGIC, place + len(data) + len(said), len(tensors), start, len(said), zlib.crc32(said), 0)[:-4]
    total = zlib.crc32(entries, zlib.crc32(head))
    Path(path).write_bytes(head + total.to_bytes(4, "little") + entries + data + said)
