"""Find the external files of an ONNX file, without the onnx package and before loading anything."""

import mmap
from pathlib import Path

from sertool.bundle import names
from sertool.errors import BundleError

#: Message -> field number -> message in that field: all places in onnx.proto that can contain a tensor.
_FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
    "external": {1: "key", 2: "value"},
}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEEPEST = 100  # protobuf's own limit
_MOST = 2_000_000  # fields; a network has about ten thousand


def external_files(path: Path) -> set[str]:
    """Return the relative names of files with tensors of an ONNX file (TensorProto.external_data).

    Raises BundleError for a name outside the file's folder, and for incomplete or malformed protobuf.
    """
    try:
        with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            locations = _locations(data)
    except (ValueError, IndexError):  # mmap raises ValueError for an empty file
        raise BundleError(f"{path}: not an ONNX file, or incomplete") from None
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    names.check_paths(sorted(locations), f"{path}: external data")
    return locations


def _locations(data: mmap.mmap) -> set[str]:
    locations, fields = set(), 0
    waiting = [("model", 0, len(data), 0)]
    while waiting:
        message, at, end, depth = waiting.pop()
        if depth > _DEEPEST:
            raise ValueError
        entry = {}
        while at < end:
            fields += 1
            if fields > _MOST:
                raise ValueError
            tag, at = _varint(data, at, 5)
            number, kind = tag >> 3, tag & 7
            if kind == _BYTES:
                size, at = _varint(data, at, 5)
                inner = _FIELDS[message].get(number)
                if size > end - at:
                    raise ValueError
                if inner in _FIELDS:
                    waiting.append((inner, at, at + size, depth + 1))
                elif inner:
                    entry[inner] = data[at : at + size]
                at += size
            elif kind == _VARINT:
                at = _varint(data, at, 10)[1]
            elif kind in (_FIXED32, _FIXED64):
                at += 4 if kind == _FIXED32 else 8
            if kind not in (_VARINT, _FIXED64, _BYTES, _FIXED32) or not 0 < number < 1 << 29 or at > end:
                raise ValueError
        if message == "external" and entry.get("key") == b"location":
            locations.add(entry.get("value", b"").decode())
    return locations


def _varint(data: mmap.mmap, at: int, longest: int) -> tuple[int, int]:
    """Return (number of at most ``longest`` bytes, position after it); raise IndexError or ValueError if invalid."""
    value = 0
    for place in range(longest):
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError
