"""Unique names of recordings without their extensions."""

import os
from collections.abc import Iterable

from sertool.errors import UsageError
from sertool.recordings.recording import Recording, printable


def stems(recordings: Iterable[Recording], folder: str | None = None) -> dict[str, str]:
    """Map names of recordings to stems: the path relative to ``folder`` without extension, with /.

    ``folder`` defaults to the deepest common folder. Recordings with the same stem keep their extensions. Raises
    UsageError if stems are not unique even then.
    """
    places = {recording.name: _place(recording) for recording in recordings}
    folder = folder or os.path.commonpath([os.path.dirname(place) for place in places.values()])
    sharing: dict[str, list[str]] = {}
    for name, place in places.items():
        stem = os.path.splitext(os.path.relpath(place, folder))[0]
        sharing.setdefault(stem.replace(os.sep, "/"), []).append(name)
    owners: dict[str, str] = {}
    for stem, names in sharing.items():
        for name in names:
            unique = stem if len(names) == 1 else stem + os.path.splitext(name)[1]
            if owners.setdefault(unique, name) != name:
                raise UsageError(f"{printable(owners[unique])} and {printable(name)} would both be called {unique}")
    return {name: unique for unique, name in owners.items()}


def _place(recording: Recording) -> str:
    """Return the path that a recording would have if what it is fetched from were a folder here."""
    return os.path.abspath(recording.name if recording.url else recording.path)
