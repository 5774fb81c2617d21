"""Recordings in archives: tar, compressed or not, such as the shards of WebDataset, and zip."""

import bz2
import collections
import contextlib
import gzip
import lzma
import os
import shutil
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sertool.errors import AudioError
from sertool.recordings import remote
from sertool.recordings.urls import is_url, member_url, without_secrets

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
#: Archives that are kept open, and copies of remote ones that are kept, while none of their members is read.
_KEPT = 4
_UNPACK: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open}
_FAULTS = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, OSError)


def is_archive(path: str) -> bool:
    """Return whether a path or URL is an archive by its ending."""
    return without_secrets(path).lower().endswith(ENDINGS)


@dataclass(frozen=True)
class Member:
    """A file in an archive: its name, the URL to fetch it by, and its stamp; or why the archive ends here."""

    name: str
    url: str
    stamp: list[int]
    error: str | None = None


def members(archive: str) -> Iterator[Member]:
    """Yield the files in an archive, a path or URL. Raises AudioError if it cannot be opened."""
    place = archive if is_url(archive) else os.path.abspath(archive)
    with _opened(place) as opened:
        for name, stamp in opened.names():
            yield Member(name, member_url(place, name), stamp)
        if opened.damage:
            yield Member("", place, [], opened.damage)


def fetch(archive: str, member: str, into: Path) -> None:
    """Write a member of an archive to a new file. Raises AudioError."""
    with _opened(archive) as opened:
        opened.copy(member, into)


class _Tar:
    """A tar file that is not compressed: where its members begin is read once."""

    def __init__(self, path: Path, stamp: list[int]) -> None:
        self._path, self._stamp, self.damage = path, stamp, ""
        self._members: dict[str, tuple[int, int, int]] = {}
        try:
            with tarfile.open(path, "r:", errorlevel=1) as tar:
                for found in tar:
                    if found.isreg() and not found.issparse():
                        self._members[found.name] = (found.offset_data, found.size, int(found.mtime))
                    tar.members = []  # type: ignore[attr-defined]  # it would keep all of them
        except _FAULTS as error:
            if not self._members:
                raise AudioError(f"not a tar archive ({error})") from None
            self.damage = f"the archive is damaged after {len(self._members)} files ({error})"

    def names(self) -> Iterator[tuple[str, list[int]]]:
        for name, (_, size, time) in self._members.items():
            yield name, [size, time, *self._stamp]

    def copy(self, member: str, into: Path) -> None:
        try:
            offset, size, _ = self._members[member]
        except KeyError:
            raise AudioError("is no longer in its archive") from None
        remote.require_room(size)
        with open(self._path, "rb") as source, open(into, "wb") as target:
            source.seek(offset)
            left = size
            while left and (chunk := source.read(min(left, 1 << 20))):
                target.write(chunk)
                left -= len(chunk)
        if left:
            raise AudioError(f"truncated: its archive ends {left} bytes too early")

    def close(self) -> None:
        """Nothing is open between reads."""


class _Zip:
    def __init__(self, path: Path) -> None:
        self.damage = ""
        try:
            self._file = zipfile.ZipFile(path)
        except _FAULTS as error:
            raise AudioError(f"not a zip archive ({error})") from None

    def names(self) -> Iterator[tuple[str, list[int]]]:
        for found in self._file.infolist():
            if not found.is_dir():
                yield found.filename, [found.file_size, found.CRC]

    def copy(self, member: str, into: Path) -> None:
        try:
            found = self._file.getinfo(member)
            remote.require_room(found.file_size)
            with self._file.open(found) as source, open(into, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        except KeyError:
            raise AudioError("is no longer in its archive") from None
        except RuntimeError:
            raise AudioError("is encrypted in its archive") from None
        except _FAULTS as error:
            raise AudioError(f"cannot be unpacked ({' '.join(str(error).split()) or type(error).__name__})") from None

    def close(self) -> None:
        self._file.close()


@dataclass
class _Open:
    """An archive that is open, how many read it, and the temporary copy that goes with it."""

    archive: _Tar | _Zip
    copy: Path | None
    readers: int = 0

    def close(self) -> None:
        self.archive.close()
        if self.copy:
            shutil.rmtree(self.copy.parent, ignore_errors=True)


_open: "collections.OrderedDict[str, _Open]" = collections.OrderedDict()
_opening: dict[str, threading.Lock] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def _opened(place: str) -> Iterator[_Tar | _Zip]:
    """Open an archive, or take one that is open; threads that want the same one share it."""
    with _lock:
        alone = _opening.setdefault(place, threading.Lock())
    with alone:
        own = _taken(place)
        if own is None:
            own = _load(place)
            own.readers = 1  # before others can see it, and close it as unused
            with _lock:
                _open[place] = own
                _close_unused()
    try:
        yield own.archive
    finally:
        with _lock:
            own.readers -= 1
            _close_unused()


def _taken(place: str) -> _Open | None:
    """Return an archive that is open, with one more reader."""
    with _lock:
        own = _open.get(place)
        if own is not None:
            own.readers += 1
            _open.move_to_end(place)
        return own


def _close_unused() -> None:
    """Close all but a few; the caller has the lock."""
    unused = [place for place, own in _open.items() if not own.readers]
    for place in unused[: max(0, len(_open) - _KEPT)]:
        _open.pop(place).close()


def _load(place: str) -> _Open:
    copy: Path | None = None
    try:
        if is_url(place):
            copy = remote.temporary(place)
            remote.fetch(place, copy)
        path = copy or Path(place)
        try:
            status = os.stat(path)
            with open(path, "rb") as file:
                head = file.read(4)
        except OSError as error:
            raise AudioError((error.strerror or str(error)).lower()) from None
        # A copy is new each time it is fetched: its own time says nothing.
        stamp = [status.st_size] if copy else [status.st_size, status.st_mtime_ns]
        if head[:2] == b"PK":
            return _Open(_Zip(path), copy)
        unpack = next((opened for magic, opened in _UNPACK.items() if head.startswith(magic)), None)
        if unpack:
            packed, copy = copy, remote.temporary("unpacked.tar")
            try:
                with unpack(path, "rb") as source:
                    _unpack(source, copy)
            finally:
                if packed:
                    shutil.rmtree(packed.parent, ignore_errors=True)
            path = copy
        return _Open(_Tar(path, stamp), copy)
    except BaseException:
        if copy:
            shutil.rmtree(copy.parent, ignore_errors=True)
        raise


def _unpack(source: IO[bytes], into: Path) -> None:
    try:
        with open(into, "wb") as target:
            while chunk := source.read(1 << 20):
                remote.require_room(len(chunk))
                target.write(chunk)
    except _FAULTS as error:
        raise AudioError(f"the archive cannot be unpacked ({' '.join(str(error).split())})") from None
