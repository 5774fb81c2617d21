"""What the user named on the command line to a list of recordings."""

import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import audio


@dataclass(frozen=True)
class Recording:
    """A file to label: where it is, its name in the table, and why it cannot even be tried, if so."""

    path: Path
    name: str
    error: str | None = None


def scan(paths: Iterable[str], pattern: str | None = None) -> list[Recording]:
    """Files, folders (searched all the way down) and glob patterns to recordings, each once, in a fixed order.

    A file is named as it was typed. Below a folder names are relative to it; if more than one path was given, the
    folder as typed stands in front, so that no two recordings share a name. Links are followed, never in a circle;
    names that begin with a dot are passed over. ``pattern`` (fnmatch) keeps matching files of folders only.
    """
    paths = list(paths)
    found: dict[str, Recording] = {}
    for typed in paths:
        prefix = typed if len(paths) > 1 else ""
        for recording in _expand(typed, prefix, pattern):
            found.setdefault(recording.name, recording)
    return list(found.values())


def _expand(typed: str, prefix: str, pattern: str | None) -> Iterator[Recording]:
    if os.path.isdir(typed):
        yield from _search(typed, prefix, pattern)
    elif not os.path.lexists(typed) and glob.has_magic(typed):
        matches = sorted(glob.glob(typed, recursive=True))
        if not matches:
            yield Recording(Path(typed), typed, "no file matches this pattern")
        for match in matches:
            yield from _expand(match, match, pattern)
    else:
        yield Recording(Path(typed), typed)


def _search(folder: str, prefix: str, pattern: str | None) -> Iterator[Recording]:
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
            if name.startswith(".") or os.path.splitext(name)[1].lower() not in audio.EXTENSIONS:
                continue
            path = os.path.join(here, name)
            relative = os.path.relpath(path, folder)
            if pattern is None or fnmatch.fnmatch(relative, pattern) or fnmatch.fnmatch(name, pattern):
                yield Recording(Path(path), os.path.join(prefix, relative))
    for error in unreadable:
        relative = os.path.relpath(error.filename, folder)
        yield Recording(
            Path(error.filename),
            os.path.normpath(os.path.join(prefix or ("" if relative != "." else folder), relative)),
            f"folder cannot be searched ({error.strerror.lower()})",
        )
