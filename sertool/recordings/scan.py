"""Expand the paths on the command line to a list of recordings."""

import collections
import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from sertool import audio


@dataclass(frozen=True)
class Recording:
    """A file to label: its path, its name in the table, and an ``error`` if it cannot be read at all.

    ``place`` is its place in the whole list, if it is in a shard of it.
    """

    path: Path
    name: str
    error: str | None = None
    place: int | None = None


class Listed(str):
    """A path from a list, not a glob pattern; ``name`` is its name in the table if that differs."""

    name: str | None = None


def scan(
    paths: str | PathLike[str] | Iterable[str],
    pattern: str | None = None,
    passed: collections.Counter[str] | None = None,
) -> list[Recording]:
    """Expand files, folders (recursively) and glob patterns to recordings, without duplicates, in a fixed order.

    A file is named as typed. Names in a folder are relative to it; if there are several paths, they are prefixed with
    the folder as typed, so that names are unique. Links are followed, without cycles; names that begin with a dot are
    skipped. ``pattern`` (fnmatch, case-insensitive) filters the files of folders. ``passed`` counts the files of
    folders that are not audio, by extension.
    """
    passed = collections.Counter() if passed is None else passed
    paths = [os.fspath(paths)] if isinstance(paths, str | PathLike) else list(paths)
    result: dict[str, Recording] = {}
    for typed in paths:
        prefix = typed if len(paths) > 1 else ""
        for recording in _expand(typed, prefix, pattern, passed):
            result.setdefault(recording.name, recording)
    return list(result.values())


def printable(name: str) -> str:
    """Return a file name as valid UTF-8: invalid bytes become \\xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _expand(typed: str, prefix: str, pattern: str | None, passed: collections.Counter[str]) -> Iterator[Recording]:
    listed = isinstance(typed, Listed)
    if listed and os.path.realpath(typed) == os.path.realpath(os.sep):
        yield Recording(Path(typed), typed, "the list names the whole disk")
    elif os.path.isdir(typed):
        yield from _search(typed, prefix, pattern, passed)
    elif not listed and not os.path.lexists(typed) and glob.has_magic(typed):
        matches = sorted(glob.glob(typed, recursive=True))
        if not matches:
            yield Recording(Path(typed), typed, "no file matches this pattern")
        for match in matches:
            yield from _expand(match, match, pattern, passed)
    else:
        name = typed.name if isinstance(typed, Listed) else None
        yield Recording(Path(typed), name or str(typed))


def _search(folder: str, prefix: str, pattern: str | None, passed: collections.Counter[str]) -> Iterator[Recording]:
    unreadable: list[OSError] = []
    visited = set()
    for here, folders, files in os.walk(folder, followlinks=True, onerror=unreadable.append):
        visited.add(os.path.realpath(here))
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(here, name)) not in visited
        )
        for name in sorted(files):
            if name.startswith("."):
                continue
            if not audio.is_audio(name):
                passed[os.path.splitext(name)[1].lower() or "without an ending"] += 1
                continue
            path = os.path.join(here, name)
            relative = os.path.relpath(path, folder)
            if pattern is None or any(fnmatch.fnmatchcase(n.lower(), pattern.lower()) for n in (relative, name)):
                yield Recording(Path(path), os.path.join(prefix, relative))
    for error in unreadable:
        relative = os.path.relpath(error.filename, folder)
        yield Recording(
            Path(error.filename),
            os.path.normpath(os.path.join(prefix or ("" if relative != "." else folder), relative)),
            f"folder cannot be searched ({(error.strerror or str(error)).lower()})",
        )
