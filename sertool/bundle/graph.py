"""What an ONNX file refers to outside itself: found without the onnx package, and before anything is loaded."""

import mmap
from pathlib import Path

from sertool.bundle import names
from sertool.errors import BundleError

#: Message -> field number -> the message in that field: all places of onnx.proto where a tensor can be.
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
_DEEPEST = 100  # as protobuf itself reads them
_MOST = 2_000_000  # fields; a network has some ten thousand


def external_files(path: Path) -> set[str]:
    """Relative names of the files that hold tensors of an ONNX file (TensorProto.external_data).

    BundleError for a name that leads out of the file's folder, and for what is not whole, well-formed protobuf.
    """
    try:
        with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = _locations(data)
    except (ValueError, IndexError):  # of no bytes, too, mmap makes a ValueError
        raise BundleError(f"{path}: not an ONNX file, or not all of it") from None
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    names.check_paths(sorted(found), f"{path}: external data")
    return found


def _locations(data) -> set[str]:
    found, fields = set(), 0
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
            found.add(entry.get("value", b"").decode())
    return found


def _varint(data, at: int, longest: int) -> tuple[int, int]:
    """A number of at most so many bytes and the place after it; IndexError or ValueError if there is none."""
    value = 0
    for place in range(longest):
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, at + place + 1
    raise ValueError
