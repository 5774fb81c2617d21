"""Segments that the user gives: one file for all recordings, or a file for each."""

import collections
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sertool.errors import SertoolError, UsageError
from sertool.recordings.recording import Recording, printable
from sertool.registry import Format
from sertool.segments.segment import Segment


class Given:
    """The segments of recordings, read from ``source`` when it is created.

    ``source`` is a file, or a folder in which each recording has a file of the same name with another extension, at the
    same place or, if no other recording has that name, at the top. ``form`` is the name of a format, by default that of
    the extension; ``tier`` selects a tier. ``columns`` are the segments' further columns in order, ``unused`` counts
    segments of a file that belong to no recording, by the name they give. Raises UsageError.
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
        self._summarise()

    @classmethod
    def held(cls, segments: Mapping[str, list[Segment]]) -> "Given":
        """Return segments that are in memory, by the recordings' names."""
        given = cls.__new__(cls)
        given._segments, given._errors, given._files = dict(segments), {}, {}
        given.unused = collections.Counter()
        given._summarise()
        return given

    def of(self, recording: Recording) -> list[Segment]:
        """Return the segments of a recording in the order in which they are given. Raise UsageError if it has none."""
        if error := self._errors.get(recording.name):
            raise UsageError(error)
        return self._segments.get(recording.name, [])

    def channel(self, segment: Segment) -> int | None:
        """Return the channel that a segment belongs to, counted from 1; None if it may be any.

        Channels are numbers, counted from 0 if there is a 0, or letters from A. If all segments name the same channel,
        as many tools write it, it means nothing.
        """
        return self._channels.get(segment.channel or "")

    def stamp(self, recording: Recording) -> list[int]:
        """Return [size, modification time in ns] of the recording's file with segments."""
        if (path := self._files.get(recording.name)) is None:
            return []
        status = os.stat(path)
        return [status.st_size, status.st_mtime_ns]

    @property
    def files(self) -> set[Path]:
        """The files that were read."""
        return set(self._files.values())

    def _summarise(self) -> None:
        every = [segment for part in self._segments.values() for segment in part]
        self.columns = list(dict.fromkeys(name for segment in every for name in segment.columns))
        self._channels = _channels({segment.channel for segment in every if segment.channel})

    def _read_folder(self, folder: Path, recordings: Sequence[Recording]) -> None:
        stems = collections.Counter(_same(os.path.splitext(recording.name)[0]) for recording in recordings)
        tops = collections.Counter(_same(os.path.basename(os.path.splitext(r.name)[0])) for r in recordings)
        listed: dict[Path, dict[str, list[tuple[Path, Format]]]] = {}

        def matches(name: str, recording: Recording) -> list[tuple[Path, Format]]:
            place = folder / os.path.dirname(name)
            if place not in listed:
                listed[place] = _by_stem(place, self._formats)
            found = listed[place].get(_same(os.path.basename(name)), [])
            return [(path, form) for path, form in found if path.name != os.path.basename(recording.name)]

        for recording in recordings:
            stem = os.path.splitext(recording.name)[0]
            base = os.path.basename(stem)
            found = matches(stem, recording)
            if not found and stem != base and tops[_same(base)] == 1 and not stems[_same(base)]:
                found = matches(base, recording)
            try:
                if len(found) > 1:
                    both = " and ".join(path.name for path, _ in found[:2])
                    raise UsageError(f"{both} are both there: choose one with --segments-format")
                if not found:
                    raise UsageError(f"no file with segments called {printable(base)}.* in {folder}")
                ((path, form),) = found
                self._files[recording.name] = path
                self._segments[recording.name] = self._read(path, form)
            except UsageError as error:
                self._errors[recording.name] = str(error)

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
        if all(segment.file is None for segment in segments):
            if len(recordings) > 1:
                raise UsageError(
                    f"{path} does not say to which of {len(recordings)} recordings its segments belong: "
                    "give a folder with a file for each"
                )
            self._segments[recordings[0].name] = segments
            return
        owners = _Owners(recordings)
        for segment in segments:
            if segment.file is None:
                raise UsageError(f"{path}: some segments name no recording")
            owner = owners.of(segment.file, path)
            if owner is None:
                self.unused[segment.file] += 1
            else:
                self._segments.setdefault(owner, []).append(segment)
        example = next(iter(self.unused), None)
        for recording in recordings:
            if recording.name not in self._segments:
                hint = f"; {path.name} has segments of {printable(example)!r}, say" if example else ""
                self._errors[recording.name] = f"no segments in {path.name}{hint}"

    def _read(self, path: Path, form: Format) -> list[Segment]:
        assert form.read is not None
        try:
            return form.read(path, **({"tier": self._tier} if self._tier is not None else {}))
        except SertoolError:
            raise
        except Exception as error:  # a damaged file must not end the run, whatever a reader makes of it
            reason = " ".join(str(error).split())
            if self._tier is not None and "unexpected keyword argument 'tier'" in reason:
                raise UsageError(f"{path}: --tier: a file of format {form.name} has no tiers") from None
            raise UsageError(f"{path}: not a complete file of format {form.name} ({reason[:100]})") from None


class _Owners:
    """Find the recording that a name in an annotation means.

    A name is the recording's name or path, or the end of its path, with or without extension. Of an absolute path of
    another computer, the last two parts count.
    """

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._whole: dict[str, set[str]] = {}
        self._by_base: dict[str, set[tuple[str, str]]] = {}  # last part -> (whole path, recording)
        for recording in recordings:
            path = os.path.abspath(recording.path)
            for name in (printable(recording.name), str(recording.path), path):
                for form in {name, os.path.splitext(name)[0]}:
                    self._whole.setdefault(_same(form), set()).add(recording.name)
            for form in {path, os.path.splitext(path)[0]}:
                base = _same(os.path.basename(form))
                self._by_base.setdefault(base, set()).add((_same(form), recording.name))

    def of(self, name: str, source: Path) -> str | None:
        """Return the recording's name, or None if no recording is meant. Raise UsageError if several may be meant."""
        name = _same(name)
        owners = self._whole.get(name, set())
        if not owners:
            parts = [part for part in name.split("/") if part not in ("", ".")]
            end = "/" + "/".join(parts[-2:] if name.startswith("/") or name[1:2] == ":" else parts)
            owners = {owner for path, owner in self._by_base.get(parts[-1] if parts else "", ()) if path.endswith(end)}
        if len(owners) > 1:
            both = " or ".join(sorted(owners)[:2])
            raise UsageError(f"{source}: {printable(name)} may mean {both}: write a longer path")
        return next(iter(owners), None)


def _same(name: str) -> str:
    """Return a name in the form in which names are compared: with /, composed (macOS decomposes letters)."""
    return unicodedata.normalize("NFC", name.replace("\\", "/") if os.sep == "\\" else name)


def _by_stem(folder: Path, forms: Sequence[Format]) -> dict[str, list[tuple[Path, Format]]]:
    """Return the files with segments in a folder by their names without extension."""
    found: dict[str, list[tuple[Path, Format]]] = {}
    try:
        entries = sorted(os.listdir(folder))
    except OSError:
        return found
    endings = [(extension.lower(), form) for form in forms for extension in form.extensions]
    for entry in entries:
        for ending, form in endings:
            if entry.lower().endswith(ending):
                found.setdefault(_same(entry[: -len(ending)]), []).append((folder / entry, form))
    return found


def _channels(names: set[str]) -> dict[str, int]:
    """Return the numbers of channels, from 1, by their names; empty if the names tell nothing."""
    if len(names) < 2:
        return {}
    if all(name.isdecimal() for name in names):
        first = 0 if "0" in names else 1
        return {name: int(name) - first + 1 for name in names}
    if all(len(name) == 1 and name.isalpha() and name.isascii() for name in names):
        return {name: ord(name.upper()) - ord("A") + 1 for name in names}
    return {}


def _formats(name: str | None) -> list[Format]:
    """Return the formats that can be read, or the one of a name. Raise UsageError."""
    from sertool.plugins import load_plugins  # its import alone takes 50 ms

    plugins = load_plugins()
    if name is not None:
        form = plugins.get("formats", name)
        if form.read is None:
            raise UsageError(f"--segments-format {name}: this format can only be written")
        return [form]
    every = (plugins.get("formats", known) for known in plugins.names("formats"))
    return [form for form in every if form.read is not None]
