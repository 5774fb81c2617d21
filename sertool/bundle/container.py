"""Files of native weights: named tensors and the manifest; written here, and checked before the engine reads them.

csrc/sertool.h defines the format.
"""

import itertools
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sertool._types import Array
from sertool.bundle.names import LARGEST_TEXT
from sertool.errors import BundleError

MAGIC = b"SERNATV1"
#: Maximum bytes of a file; Wav2Small has 0.3 MB.
LARGEST = 16 << 20
_HEADER, _ENTRY = struct.Struct("<8s6I"), struct.Struct("<24s10I")
_MOST_TENSORS, _ALIGNED, _BYTES = 64, 64, {1: 4, 2: 1, 3: 4}
_TYPES = {"<f4": 1, "|i1": 2, "<i4": 3}


@dataclass(frozen=True)
class Container:
    """A file: ``data`` is all of it, ``shapes`` maps tensor names to shapes, ``text`` is the manifest, or None."""

    data: bytes
    shapes: dict[str, tuple[int, ...]]
    text: str | None


def is_container(path: Path) -> bool:
    """Return whether a file begins like native weights."""
    try:
        if not path.is_file():  # reading from a pipe would block
            return False
        with open(path, "rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read(path: Path) -> Container:
    """Read native weights; raise BundleError if the file is incomplete, a checksum is wrong or parts overlap."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(LARGEST + 1)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    try:
        return _parse(data)
    except (ValueError, struct.error) as error:  # struct.error: too few bytes
        reason = error if isinstance(error, _Fault) else "cut short"
        raise BundleError(f"{path}: not native weights, or damaged ({reason})") from None


def packed(tensors: Mapping[str, Array], text: str = "") -> bytes:
    """Return named arrays of 1 to 4 axes, int8, int32 or float (stored as float32), and a text as such a file."""
    place = _HEADER.size + _ENTRY.size * len(tensors)
    entries, data = b"", b""
    for name, values in tensors.items():
        values = np.ascontiguousarray(values, np.float32 if values.dtype.kind == "f" else None)
        stored, shape = values.astype(values.dtype.newbyteorder("<")).tobytes(), values.shape + (1,) * (4 - values.ndim)
        data += bytes(-(place + len(data)) % _ALIGNED)
        about = _TYPES[values.dtype.newbyteorder("<").str], values.ndim, *shape, place + len(data), len(stored)
        entries += _ENTRY.pack(name.encode("ascii"), *about, zlib.crc32(stored), 0)
        data += stored
    tail = text.encode()
    start = place + len(data) if tail else 0
    head = _HEADER.pack(MAGIC, place + len(data) + len(tail), len(tensors), start, len(tail), zlib.crc32(tail), 0)[:-4]
    total = zlib.crc32(entries, zlib.crc32(head))
    return head + total.to_bytes(4, "little") + entries + data + tail


def unpacked(data: bytes) -> tuple[dict[str, Array], str]:
    """Return the arrays by name and the text of a file that ``packed`` created or ``read`` accepted."""
    count, text, text_bytes = struct.unpack_from("<8x4xIII", data)[:3]
    tensors: dict[str, Array] = {}
    for i in range(count):
        name, kind, rank, *shape, place, size, _, _ = _ENTRY.unpack_from(data, _HEADER.size + _ENTRY.size * i)
        dtype = next(dtype for dtype, number in _TYPES.items() if number == kind)
        values = np.frombuffer(data[place : place + size], dtype)
        tensors[name.rstrip(b"\0").decode("ascii")] = values.reshape(shape[:rank])
    return tensors, data[text : text + text_bytes].decode()


class _Fault(ValueError):
    """What is wrong, without any text from the file."""


def _parse(data: bytes) -> Container:
    magic, size, tensors, text, text_bytes, text_sum, header_sum = _HEADER.unpack_from(data)
    _require(magic == MAGIC, "wrong magic number")
    _require(size == len(data) <= LARGEST, "its size differs from its header")
    _require(0 < tensors <= _MOST_TENSORS, f"not 1 to {_MOST_TENSORS} tensors")
    start = _HEADER.size + tensors * _ENTRY.size
    _require(start <= size, "cut short")
    _require(
        zlib.crc32(data[_HEADER.size : start], zlib.crc32(data[: _HEADER.size - 4])) == header_sum, "wrong checksum"
    )
    shapes: dict[str, tuple[int, ...]] = {}
    taken = [(0, start)]
    for position in range(_HEADER.size, start, _ENTRY.size):
        name, kind, rank, *shape, offset, length, tensor_sum, zero = _ENTRY.unpack_from(data, position)
        name = name.rstrip(b"\0").decode("ascii", "replace")
        _require(name.isascii() and name.isprintable() and name not in ("", *shapes), "a tensor without a unique name")
        _require(kind in _BYTES and 1 <= rank <= 4 and zero == 0, "a tensor of an unknown kind")
        _require(0 not in shape and set(shape[rank:]) <= {1}, "a tensor of an impossible shape")
        _require(math.prod(shape) * _BYTES[kind] == length, "a tensor whose size does not match its shape")
        _require(offset % _ALIGNED == 0 and offset + length <= size, "a tensor outside the file")
        _require(zlib.crc32(data[offset : offset + length]) == tensor_sum, "wrong checksum")
        shapes[name] = tuple(shape[:rank])
        taken.append((offset, offset + length))
    if text or text_bytes:
        _require(
            0 < text_bytes <= LARGEST_TEXT and text + text_bytes <= size, "a manifest outside the file, or too long"
        )
        taken.append((text, text + text_bytes))
    taken.sort()
    _require(all(end <= begin for (_, end), (begin, _) in itertools.pairwise(taken)), "overlapping parts")
    encoded = data[text : text + text_bytes]
    _require(zlib.crc32(encoded) == text_sum, "wrong checksum")
    try:
        return Container(data, shapes, encoded.decode() if text else None)
    except UnicodeDecodeError:
        raise _Fault("its manifest is not UTF-8") from None


def _require(right: bool, fault: str) -> None:
    if not right:
        raise _Fault(fault)
