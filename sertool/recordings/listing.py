"""A list of recordings that is not in memory, however long it is."""

import json
import tempfile
import threading
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from sertool.recordings.recording import Recording, key_of

#: Recordings between two offsets that are kept: a look at one reads so many.
_STRIDE = 64
#: Bytes of a list that are kept in memory; more are in a temporary file.
_IN_MEMORY = 4_000_000
#: Bytes that are read at a time.
_CHUNK = 1 << 16


class Listing(Sequence[Recording]):
    """Recordings in order, without those whose name came before; in memory are 8 bytes for each of them.

    Long lists are in a temporary file. Several threads may read one.
    """

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._lock = threading.Lock()
        self._begin()
        names = array("Q")
        for recording in recordings:
            names.append(key_of(recording.name))
            self._append(recording)
        repeated = _repeated(names)
        if len(repeated):
            self._drop(set(repeated.tolist()))

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> Recording: ...
    @overload
    def __getitem__(self, at: slice) -> list[Recording]: ...
    def __getitem__(self, at: int | slice) -> Recording | list[Recording]:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(len(self)))]
        place = at + len(self) if at < 0 else at
        if not 0 <= place < len(self):
            raise IndexError(at)
        block, inside = divmod(place, _STRIDE)
        lines = self._lines(block * _STRIDE)
        for _ in range(inside):
            next(lines)
        return _parsed(next(lines))

    def __iter__(self) -> Iterator[Recording]:
        return map(_parsed, self._lines(0))

    def _begin(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY, prefix="sertool-")  # noqa: SIM115 (kept open)
        weakref.finalize(self, self._file.close)
        self._offsets, self._count, self._end = array("Q"), 0, 0

    def _append(self, recording: Recording) -> None:
        path = str(recording.path)
        fields = [
            recording.name,
            None if path == recording.name else path,
            recording.error,
            recording.place,
            recording.url,
            recording.stamp,
        ]
        while fields[-1] is None:
            fields.pop()
        if self._count % _STRIDE == 0:
            self._offsets.append(self._end)
        self._end += self._file.write(json.dumps(fields, separators=(",", ":")).encode() + b"\n")
        self._count += 1

    def _lines(self, place: int) -> Iterator[bytes]:
        """Yield the lines from a place on, which is a multiple of the stride."""
        if place >= self._count:
            return
        offset, rest = self._offsets[place // _STRIDE], b""
        while offset < self._end:
            with self._lock:
                self._file.seek(offset)
                chunk = self._file.read(min(_CHUNK, self._end - offset))
            offset += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines

    def _drop(self, hashes: set[int]) -> None:
        """Drop recordings whose name came before; only names with these hashes can have done so."""
        seen: set[str] = set()
        before = Listing(())
        before.__dict__.update(self.__dict__)
        self._begin()
        for recording in before:
            if key_of(recording.name) in hashes:
                if recording.name in seen:
                    continue
                seen.add(recording.name)
            self._append(recording)


def _repeated(names: "array[int]") -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    """Return the hashes that occur more than once."""
    if not names:
        return np.empty(0, np.uint64)
    hashes = np.sort(np.frombuffer(names, np.uint64))
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def _parsed(line: bytes) -> Recording:
    name, path, error, place, url, stamp = (json.loads(line) + [None] * 5)[:6]
    return Recording(Path(name if path is None else path), name, error, place, url, stamp)
