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


def unpacked(data: bytes) -> tuple[dict[str, np.ndarray], str]:
    """What ``packed`` made one of: the arrays by name, and the text."""
    count, text, text_bytes = struct.unpack_from("<8x4xIII", data)[:3]
    tensors = {}
    for i in range(count):
        name, kind, rank, *shape, place, size, _, _ = ENTRY.unpack_from(data, HEADER.size + ENTRY.size * i)
        dtype = next(dtype for dtype, number in TYPES.items() if number == kind)
        values = np.frombuffer(data[place : place + size], dtype)
        tensors[name.rstrip(b"\0").decode("ascii")] = values.reshape(shape[:rank])
    return tensors, data[text : text + text_bytes].decode()
