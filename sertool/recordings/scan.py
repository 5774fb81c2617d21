"""What the user named on the command line to a list of recordings."""

import collections
import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sertool import audio


@dataclass(frozen=True)
class Recording:
    """A file to label: where it is, its name in the table, and why it cannot even be tried, if so."""

    path: Path
    name: str
    error: str | None = None


class Listed(str):
    """A path from a list, which is no pattern; ``name`` is what it is called in the table, where that is another."""

    name: str | None = None


def scan(
    paths: Iterable[str], pattern: str | None = None, passed: collections.Counter | None = None
) -> list[Recording]:
    """Files, folders (searched all the way down) and glob patterns to recordings, each once, in a fixed order.

    A file is named as it was typed. Below a folder names are relative to it; if more than one path was given, the
    folder as typed stands in front, so that no two recordings share a name. Links are followed, never in a circle;
    names that begin with a dot are passed over. ``pattern`` (fnmatch, upper and lower case alike) keeps matching files
    of folders only. ``passed`` counts the files of folders that are no audio, by their endings.
    """
    passed = collections.Counter() if passed is None else passed
    paths = list(paths)
    found: dict[str, Recording] = {}
    for typed in paths:
        prefix = typed if len(paths) > 1 else ""
        for recording in _expand(typed, prefix, pattern, passed):
            found.setdefault(recording.name, recording)
    return list(found.values())


def printable(name: str) -> str:
    """A file name as UTF-8 can carry it: bytes that are none show as \\xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _expand(typed: str, prefix: str, pattern: str | None, passed: collections.Counter) -> Iterator[Recording]:
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
        yield Recording(Path(typed), (typed.name if listed else None) or str(typed))


def _search(folder: str, prefix: str, pattern: str | None, passed: collections.Counter) -> Iterator[Recording]:
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
            f"folder cannot be searched ({error.strerror.lower()})",
        )
