"""The file of native weights: tensors by name and the manifest, read and checked before the engine sees it.

Its form is laid down in csrc/sertool.h.
"""

import itertools
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from sertool.bundle.names import LARGEST_TEXT
from sertool.errors import BundleError

MAGIC = b"SERNATV1"
#: Bytes of a whole file: Wav2Small has 0.3 MB.
LARGEST = 16 << 20
_HEADER, _ENTRY = struct.Struct("<8s6I"), struct.Struct("<24s10I")
_MOST_TENSORS, _ALIGNED, _BYTES = 64, 64, {1: 4, 2: 1, 3: 4}


@dataclass(frozen=True)
class Container:
    """``data`` is the whole file, ``shapes`` are of its tensors by name, ``text`` is the manifest inside, or None."""

    data: bytes
    shapes: dict[str, tuple[int, ...]]
    text: str | None


def is_container(path: Path) -> bool:
    """Whether a file begins as one of native weights does."""
    try:
        if not path.is_file():  # to read from a pipe would be to wait
            return False
        with open(path, "rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read(path: Path) -> Container:
    """A file of native weights; BundleError unless it is whole, its sums right and each part in a place of its own."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(LARGEST + 1)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    try:
        return _parse(data)
    except (ValueError, struct.error) as error:  # of bytes that are not there struct makes an error of its own
        reason = error if isinstance(error, _Fault) else "cut short"
        raise BundleError(f"{path}: not native weights, or damaged ({reason})") from None


class _Fault(ValueError):
    """What is wrong, without any word of the file's."""


def _parse(data: bytes) -> Container:
    magic, size, tensors, text, text_bytes, text_sum, own_sum = _HEADER.unpack_from(data)
    _require(magic == MAGIC, "it begins otherwise")
    _require(size == len(data) <= LARGEST, "of another size than it says")
    _require(0 < tensors <= _MOST_TENSORS, f"not 1 to {_MOST_TENSORS} tensors")
    start = _HEADER.size + tensors * _ENTRY.size
    _require(start <= size, "cut short")
    _require(zlib.crc32(data[_HEADER.size : start], zlib.crc32(data[: _HEADER.size - 4])) == own_sum, "wrong sum")
    shapes, taken = {}, [(0, start)]
    for place in range(_HEADER.size, start, _ENTRY.size):
        name, kind, rank, *shape, offset, length, own_sum, zero = _ENTRY.unpack_from(data, place)
        name = name.rstrip(b"\0").decode("ascii", "replace")
        _require(
            name.isascii() and name.isprintable() and name not in ("", *shapes), "a tensor without a name of its own"
        )
        _require(kind in _BYTES and 1 <= rank <= 4 and zero == 0, "a tensor of an unknown kind")
        _require(0 not in shape and set(shape[rank:]) <= {1}, "a tensor of an impossible shape")
        _require(math.prod(shape) * _BYTES[kind] == length, "a tensor of another size than its shape's")
        _require(offset % _ALIGNED == 0 and offset + length <= size, "a tensor outside the file")
        _require(zlib.crc32(data[offset : offset + length]) == own_sum, "wrong sum")
        shapes[name] = tuple(shape[:rank])
        taken.append((offset, offset + length))
    if text or text_bytes:
        _require(0 < text_bytes <= LARGEST_TEXT and text + text_bytes <= size, "a text outside the file, or too long")
        taken.append((text, text + text_bytes))
    taken.sort()
    _require(all(end <= begin for (_, end), (begin, _) in itertools.pairwise(taken)), "parts that overlap")
    said = data[text : text + text_bytes]
    _require(zlib.crc32(said) == text_sum, "wrong sum")
    try:
        return Container(data, shapes, said.decode() if text else None)
    except UnicodeDecodeError:
        raise _Fault("its text is not UTF-8") from None


def _require(right: bool, fault: str) -> None:
    if not right:
        raise _Fault(fault)
