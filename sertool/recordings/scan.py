"""Expand the paths on the command line to a list of recordings."""

import collections
import fnmatch
import glob
import itertools
import os
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path

from sertool import audio
from sertool.errors import AudioError, UsageError
from sertool.recordings import archives, remote
from sertool.recordings.listing import Listing
from sertool.recordings.recording import Recording
from sertool.recordings.urls import is_url, without_secrets


class Listed(str):
    """A path from a list, not a glob pattern; ``name`` is its name in the table if that differs."""

    name: str | None = None


def scan(
    paths: str | PathLike[str] | Iterable[str],
    pattern: str | None = None,
    passed: collections.Counter[str] | None = None,
) -> Listing:
    """Expand files, folders (recursively), archives, glob patterns and URLs to recordings, in a fixed order.

    A file is named as typed. Names in a folder or archive are relative to it; if there are several paths, they are
    prefixed with the folder as typed, so that names are unique, and those in an archive always. The second of two
    recordings of one name is left out. Links are followed, without cycles; names that begin with a dot are skipped.
    ``pattern`` (fnmatch, case-insensitive) filters the files of folders and archives. ``passed`` counts their files
    that are not audio, by extension. URLs need fsspec; UsageError if there is none for them.
    """
    passed = collections.Counter() if passed is None else passed
    return Listing(found([os.fspath(paths)] if isinstance(paths, str | PathLike) else paths, pattern, passed))


def found(paths: Iterable[str], pattern: str | None, passed: collections.Counter[str]) -> Iterator[Recording]:
    """Yield what `scan` lists, perhaps repeatedly."""
    rest = iter(paths)
    first = list(itertools.islice(rest, 2))
    for typed in itertools.chain(first, rest):
        yield from _expand(typed, typed if len(first) > 1 else "", pattern, passed)


def _expand(typed: str, prefix: str, pattern: str | None, passed: collections.Counter[str]) -> Iterator[Recording]:
    listed = isinstance(typed, Listed)
    if typed.lower().startswith("file://"):
        typed = typed[len("file://") :]
    if is_url(typed):
        yield from _remote(typed, prefix, pattern, passed)
    elif listed and os.path.realpath(typed) == os.path.realpath(os.sep):
        yield Recording(Path(typed), typed, "the list names the whole disk")
    elif os.path.isdir(typed):
        yield from _search(typed, prefix, pattern, passed)
    elif not listed and not os.path.lexists(typed) and glob.has_magic(typed):
        matches = sorted(glob.glob(typed, recursive=True))
        if not matches:
            yield Recording(Path(typed), typed, "no file matches this pattern")
        for match in matches:
            yield from _expand(match, match, pattern, passed)
    elif archives.is_archive(typed) and os.path.isfile(typed):
        yield from _unpacked(typed, pattern, passed)
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
            path = os.path.join(here, name)
            relative = os.path.relpath(path, folder)
            if _wanted(relative, pattern, passed):
                yield Recording(Path(path), os.path.join(prefix, relative))
    for error in unreadable:
        relative = os.path.relpath(error.filename, folder)
        yield Recording(
            Path(error.filename),
            os.path.normpath(os.path.join(prefix or ("" if relative != "." else folder), relative)),
            f"folder cannot be searched ({(error.strerror or str(error)).lower()})",
        )


def _wanted(relative: str, pattern: str | None, passed: collections.Counter[str]) -> bool:
    """Return whether a file of a folder or archive is labelled; count those that are not audio."""
    name = os.path.basename(relative)
    if name.startswith("."):
        return False
    if not audio.is_audio(name):
        passed[os.path.splitext(name)[1].lower() or "without an ending"] += 1
        return False
    return pattern is None or any(fnmatch.fnmatchcase(n.lower(), pattern.lower()) for n in (relative, name))


def _remote(url: str, prefix: str, pattern: str | None, passed: collections.Counter[str]) -> Iterator[Recording]:
    shown = without_secrets(url)
    try:
        if "*" in shown:
            matches = remote.matching(url)
            if not matches:
                yield Recording.at(url, shown, error="no file matches this pattern")
            for match in matches:
                yield from _remote(match, match, pattern, passed)
        elif archives.is_archive(url):
            yield from _unpacked(url, pattern, passed)
        elif remote.is_folder(url):
            start = f"{without_secrets(prefix).rstrip('/')}/" if prefix else ""
            for relative, inner, stamp in remote.walk(url):
                hidden = any(part.startswith(".") for part in relative.split("/"))
                if not hidden and _wanted(relative, pattern, passed):
                    yield Recording.at(inner, start + relative, stamp)
        else:
            if not prefix:
                remote.system(url)  # raises UsageError: without a library for it, there is nothing to do
            yield Recording.at(url, shown)
    except AudioError as error:
        yield Recording.at(url, shown, error=str(error))
    except UsageError as error:
        if not prefix:
            raise
        yield Recording.at(url, shown, error=str(error))  # one of many does not end the run


def _unpacked(archive: str, pattern: str | None, passed: collections.Counter[str]) -> Iterator[Recording]:
    shown = without_secrets(archive) if is_url(archive) else archive
    try:
        for member in archives.members(archive):
            if member.error:
                yield Recording(Path(shown), shown, member.error)
            elif not member.name.startswith("__MACOSX/") and _wanted(member.name, pattern, passed):
                yield Recording.at(member.url, f"{shown}/{member.name}", member.stamp)
    except AudioError as error:
        yield Recording(Path(shown), shown, str(error))
