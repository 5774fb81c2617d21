"""Parts of a file, and files made of parts: several recordings in one file are read one after the other."""

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

#: Bytes as they are, or those of a file from a place up to another.
Part = bytes | tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """A recording within a file.

    ``parts`` make up what a decoder is given (None: the file as it is). ``frames`` is how long it must be where its
    decoder does not know, of which ``slack`` may be missing at the end.
    """

    parts: Sequence[Part] | None = None
    frames: int | None = None
    slack: int = 0


class Window:
    """The bytes of a file by their place. Nothing is mapped into memory: of a file that shrinks, less is read."""

    def __init__(self, file):
        self.length = os.fstat(file.fileno()).st_size
        self._file, self._at, self._held = file, 0, b""

    def get(self, at: int, n: int) -> bytes:
        """``n`` bytes from ``at`` on, fewer at the end of the file."""
        n = min(n, self.length - at)  # what a header says may be anything
        if n <= 0:
            return b""
        start = at - self._at
        if start < 0 or start + n > len(self._held):
            self._file.seek(at)
            self._at, self._held, start = at, self._file.read(max(n, 1 << 17)), 0
        return self._held[start : start + n]

    def find(self, what: bytes, at: int) -> int:
        """Where ``what`` begins, from ``at`` on; -1 if nowhere."""
        while at + len(what) <= self.length and len(self.get(at, len(what))) == len(what):
            place = self._held.find(what, at - self._at)
            if place >= 0:
                return self._at + place
            at = self._at + len(self._held) - len(what) + 1
        return -1


class Parts(io.RawIOBase):
    """A read-only file made of parts of another one, as soundfile and PyAV read it."""

    def __init__(self, path, parts: Sequence[Part]):
        super().__init__()
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        self._parts = list(parts)
        self._starts = [0]
        for part in parts:
            self._starts.append(self._starts[-1] + (len(part) if isinstance(part, bytes) else part[1] - part[0]))
        self._position = 0

    def close(self):
        self._file.close()
        super().close()

    def readable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return self._position

    def seek(self, offset, whence=os.SEEK_SET):
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._starts[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer):
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
