"""Parts of a file and virtual files made of them, to read several recordings in one file one after the other."""

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: Literal bytes, or a byte range (start, end) of a file.
Part: TypeAlias = bytes | tuple[int, int]
#: A file's path.
AnyPath: TypeAlias = str | os.PathLike[str]


@dataclass(frozen=True)
class Piece:
    """A recording within a file.

    ``parts`` make up the decoder's input (None: the whole file). ``frames`` is the expected length if the decoder does
    not know it; up to ``slack`` frames may be missing at the end.
    """

    parts: Sequence[Part] | None = None
    frames: int | None = None
    slack: int = 0


class Window:
    """Random access to the bytes of a file. The file is not memory-mapped: if it shrinks, reads return less."""

    def __init__(self, file: BinaryIO) -> None:
        self.length = os.fstat(file.fileno()).st_size
        self._file, self._at, self._buffer = file, 0, b""

    def get(self, at: int, n: int) -> bytes:
        """Return ``n`` bytes from offset ``at``, fewer at the end of the file."""
        n = min(n, self.length - at)  # n may come from a damaged header
        if n <= 0:
            return b""
        start = at - self._at
        if start < 0 or start + n > len(self._buffer):
            self._file.seek(at)
            self._at, self._buffer, start = at, self._file.read(max(n, 1 << 17)), 0
        return self._buffer[start : start + n]

    def find(self, what: bytes, at: int) -> int:
        """Return the offset of the first ``what`` from ``at`` on, or -1."""
        while at + len(what) <= self.length and len(self.get(at, len(what))) == len(what):
            place = self._buffer.find(what, at - self._at)
            if place >= 0:
                return self._at + place
            at = self._at + len(self._buffer) - len(what) + 1
        return -1


class Parts(io.RawIOBase):
    """A read-only file made of parts of another one, for soundfile and PyAV."""

    def __init__(self, path: AnyPath, parts: Sequence[Part]) -> None:
        super().__init__()
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        self._parts = list(parts)
        self._starts = [0]
        for part in parts:
            self._starts.append(self._starts[-1] + (len(part) if isinstance(part, bytes) else part[1] - part[0]))
        self._position = 0

    def close(self) -> None:
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._starts[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view, done = memoryview(buffer).cast("B"), 0
        while done < len(view) and self._position < self._starts[-1]:
            at = bisect_right(self._starts, self._position) - 1
            part, inside = self._parts[at], self._position - self._starts[at]
            wanted = min(len(view) - done, self._starts[at + 1] - self._position)
            if isinstance(part, bytes):
                data = part[inside : inside + wanted]
            else:
                self._file.seek(part[0] + inside)
                data = self._file.read(wanted)
            view[done : done + len(data)] = data
            done += len(data)
            self._position += len(data)
            if len(data) < wanted:
                break
        return done
