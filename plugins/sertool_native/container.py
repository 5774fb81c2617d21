"""The file that the engine in C reads: csrc/weights.c, sertool.bundle.container."""

import struct
import zlib

import numpy as np

MAGIC, ALIGNED = b"SERNATV1", 64
HEADER, ENTRY = struct.Struct("<8s6I"), struct.Struct("<24s10I")
TYPES = {"<f4": 1, "|i1": 2, "<i4": 3}


def packed(tensors: dict[str, np.ndarray], text: str = "") -> bytes:
    """Arrays of 1 to 4 axes by name, int8, int32, or float, of which float32 is kept, and a text as such a file."""
    place = HEADER.size + ENTRY.size * len(tensors)
    entries, data = b"", b""
    for name, values in tensors.items():
        values = np.ascontiguousarray(values, np.float32 if values.dtype.kind == "f" else None)
        kept, shape = values.astype(values.dtype.newbyteorder("<")).tobytes(), values.shape + (1,) * (4 - values.ndim)
        data += bytes(-(place + len(data)) % ALIGNED)
        about = TYPES[values.dtype.newbyteorder("<").str], values.ndim, *shape, place + len(data), len(kept)
        entries += ENTRY.pack(name.encode("ascii"), *about, zlib.crc32(kept), 0)
        data += kept
    said = text.encode()
    start = place + len(data) if said else 0
    head = HEADER.pack(MAGIC, place + len(data) + len(said), len(tensors), start, len(said), zlib.crc32(said), 0)[:-4]
    total = zlib.crc32(entries, zlib.crc32(head))
    return head + total.to_bytes(4, "little") + entries + data + said
