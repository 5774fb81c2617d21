"""Segments that the user gives: one file for all recordings, or a file for each."""

import collections
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sertool.errors import UsageError
from sertool.plugins import load_plugins
from sertool.recordings.scan import Recording, printable
from sertool.registry import Format
from sertool.segments.segment import Segment


class Given:
    """The segments of recordings, read from ``source`` when it is created.

    ``source`` is a file, or a folder in which each recording has a file of the same name with another extension, at the
    same place or at the top. ``form`` is the name of a format, by default that of the extension; ``tier`` selects a
    tier. ``columns`` are the segments' further columns in order, ``unused`` counts segments of a file that belong to
    no recording, by the name they give. Raises UsageError.
    """

    def __init__(
        self, source: Path, recordings: Sequence[Recording], form: str | None = None, tier: str | None = None
    ) -> None:
        self._tier, self._formats = tier, _formats(form)
        self._segments: dict[str, list[Segment]] = {}
        self._errors: dict[str, str] = {}
        self._files: dict[str, Path] = {}
        self.unused: collections.Counter[str] = collections.Counter()
        if source.is_dir():
            self._read_folder(source, recordings)
        else:
            self._read_file(source, recordings)
        self.columns = _columns(self._segments)

    @classmethod
    def held(cls, segments: Mapping[str, list[Segment]]) -> "Given":
        """Return segments that are in memory, by the recordings' names."""
        given = cls.__new__(cls)
        given._segments, given._errors, given._files = dict(segments), {}, {}
        given.unused = collections.Counter()
        given.columns = _columns(given._segments)
        return given

    def of(self, recording: Recording) -> list[Segment]:
        """Return the segments of a recording in the order in which they are given. Raise UsageError if it has none."""
        if error := self._errors.get(recording.name):
            raise UsageError(error)
        return self._segments.get(recording.name, [])

    def stamp(self, recording: Recording) -> list[int]:
        """Return [size, modification time in ns] of the recording's file with segments."""
        if (path := self._files.get(recording.name)) is None:
            return []
        status = os.stat(path)
        return [status.st_size, status.st_mtime_ns]

    def _read_folder(self, folder: Path, recordings: Iterable[Recording]) -> None:
        for recording in recordings:
            try:
                path, form = self._beside(folder, recording)
                self._files[recording.name] = path
                self._segments[recording.name] = self._read(path, form)
            except UsageError as error:
                self._errors[recording.name] = str(error)

    def _beside(self, folder: Path, recording: Recording) -> tuple[Path, Format]:
        stem = os.path.splitext(recording.name)[0]
        for name in dict.fromkeys((stem, os.path.basename(stem))):
            place = folder / os.path.dirname(name)
            matches = [
                (place / entry, form)
                for entry in _entries(place)
                for form in self._formats
                for extension in form.extensions
                if entry.lower().endswith(extension.lower())
                and entry[: -len(extension)] == os.path.basename(name)
                and entry != os.path.basename(recording.name)
            ]
            if len(matches) > 1:
                both = " and ".join(path.name for path, _ in matches[:2])
                raise UsageError(f"{both} are both there: choose one with --segments-format")
            if matches:
                return matches[0]
        raise UsageError(f"no file with segments called {printable(os.path.basename(stem))}.* in {folder}")

    def _read_file(self, path: Path, recordings: Sequence[Recording]) -> None:
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder")
        form = next((form for form in self._formats if form.matches(path)), None)
        if form is None and len(self._formats) == 1:
            form = self._formats[0]
        if form is None:
            known = ", ".join(extension for form in self._formats for extension in form.extensions)
            raise UsageError(f"{path}: unknown extension (known: {known}); choose the format with --segments-format")
        segments = self._read(path, form)
        if not segments:
            raise UsageError(f"{path}: there are no segments")
        self._files = {recording.name: path for recording in recordings}
        named = {segment.file for segment in segments}
        if named == {None}:
            if len(recordings) > 1:
                raise UsageError(
                    f"{path} does not say to which of {len(recordings)} recordings its segments belong: "
                    "give a folder with a file for each"
                )
            self._segments[recordings[0].name] = segments
            return
        owners = _Owners(recordings)
        for segment in segments:
            owner = owners.of(segment.file, path)
            if owner is None:
                self.unused[segment.file or ""] += 1
            else:
                self._segments.setdefault(owner, []).append(segment)
        example = next(iter(self.unused), None)
        for recording in recordings:
            if recording.name not in self._segments:
                hint = f"; {path.name} has segments of {printable(example)!r}, say" if example else ""
                self._errors[recording.name] = f"no segments in {path.name}{hint}"

    def _read(self, path: Path, form: Format) -> list[Segment]:
        assert form.read is not None
        options = {"tier": self._tier} if self._tier is not None else {}
        try:
            return form.read(path, **options)
        except TypeError:
            if options:
                raise UsageError(f"{path}: --tier: a file of format {form.name} has no tiers") from None
            raise


class _Owners:
    """Find the recording that a name in an annotation means: its name, its path, or unambiguous ends of it."""

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._keys: list[dict[str, set[str]]] = [{}, {}, {}, {}]
        for recording in recordings:
            path = os.path.abspath(recording.path)
            base = os.path.basename(path)
            for keys, names in zip(
                self._keys,
                (
                    (printable(recording.name), str(recording.path), path),
                    (os.path.splitext(printable(recording.name))[0], os.path.splitext(path)[0]),
                    (base,),
                    (os.path.splitext(base)[0],),
                ),
                strict=True,
            ):
                for name in names:
                    keys.setdefault(name.replace(os.sep, "/"), set()).add(recording.name)

    def of(self, name: str | None, source: Path) -> str | None:
        """Return the recording's name, or None if no recording is meant. Raise UsageError if several may be meant."""
        if name is None:
            raise UsageError(f"{source}: some segments name no recording")
        name = name.replace("\\", "/") if os.sep == "\\" else name
        for keys in self._keys:
            for text in (name, name.rpartition("/")[2]):
                owners = keys.get(text, set())
                if len(owners) > 1:
                    both = " or ".join(sorted(owners)[:2])
                    raise UsageError(f"{source}: {printable(name)} may mean {both}: write a longer path")
                if owners:
                    return next(iter(owners))
        return None


def _columns(segments: Mapping[str, list[Segment]]) -> list[str]:
    return list(dict.fromkeys(name for part in segments.values() for segment in part for name in segment.columns))


def _formats(name: str | None) -> list[Format]:
    """Return the formats that can be read, or the one of a name. Raise UsageError."""
    plugins = load_plugins()
    if name is not None:
        form = plugins.get("formats", name)
        if form.read is None:
            raise UsageError(f"--segments-format {name}: this format can only be written")
        return [form]
    every = (plugins.get("formats", known) for known in plugins.names("formats"))
    return [form for form in every if form.read is not None]


def _entries(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
