"""Write segments of speech for other tools: audformat, RTTM, Audacity labels, Praat TextGrid."""

import csv
import io
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from sertool.errors import UsageError
from sertool.features.mel import SAMPLE_RATE
from sertool.recordings.scan import Recording, printable
from sertool.speech.detection import Detected
from sertool.speech.detector import FRAME

#: File extension by format.
ENDINGS = {"csv": ".csv", "rttm": ".rttm", "audacity": ".txt", "textgrid": ".TextGrid", "probabilities": ".csv"}
#: Formats whose files hold a single recording.
SINGLE = ("audacity", "textgrid")

_SPEECH = "speech"
_HEADS = {"csv": "file,start,end\n", "probabilities": "file,start,end,probability\n"}


class Writer:
    """Write recordings (one for SINGLE formats) to a text stream in a format of ENDINGS; ``stems`` is from ``stems()``.

    csv: audformat's segmented index, times in seconds; probabilities: the same with a row every 10 ms. rttm: NIST's
    RT-09 evaluation plan, appendix A; the file is the stem with whitespace, which separates fields, and %
    percent-encoded. audacity: its manual, "Importing and Exporting Labels". textgrid: Praat's manual, "TextGrid file
    formats", long; one interval tier without gaps, with empty labels for non-speech.
    """

    def __init__(self, form: str, stream: TextIO, stems: dict[str, str]) -> None:
        self._lines, self._stream, self._stems = _LINES[form], stream, stems
        stream.write(_HEADS.get(form, ""))
        stream.flush()

    def write(self, name: str, found: Detected) -> None:
        """Write the result for the recording of this name."""
        self._stream.writelines(self._lines(printable(name), printable(self._stems[name]), found))
        self._stream.flush()


class Files:
    """Write each recording to its own file, atomically; ``targets`` maps names to paths. Otherwise as Writer."""

    def __init__(self, form: str, targets: dict[str, Path], stems: dict[str, str]) -> None:
        self._form, self._targets, self._stems = form, targets, stems

    def write(self, name: str, found: Detected) -> None:
        """Write the result for the recording of this name."""
        path = self._targets[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{os.getpid()}.part")  # short, because the name itself may have the maximum length
        try:
            with open(beside, "w", encoding="utf-8", newline="") as stream:
                Writer(self._form, stream, self._stems).write(name, found)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def stems(recordings: list[Recording], folder: str | None = None) -> dict[str, str]:
    """Map names of recordings to stems: the path relative to ``folder`` without extension, with /.

    ``folder`` defaults to the deepest common folder. Recordings with the same stem keep their extensions. Raises
    UsageError if stems are not unique even then.
    """
    places = {recording.name: os.path.abspath(recording.path) for recording in recordings}
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


def _csv(name: str, stem: str, found: Detected) -> Iterator[str]:
    file = _quoted(name)
    for start, end in found.segments:
        yield f"{file},{_time(start)},{_time(end)}\n"


def _probabilities(name: str, stem: str, found: Detected) -> Iterator[str]:
    assert found.probabilities is not None
    file = _quoted(name)
    for start, probability in zip(range(0, found.samples, FRAME), found.probabilities.tolist(), strict=True):
        yield f"{file},{_time(start)},{_time(min(start + FRAME, found.samples))},{probability:.6f}\n"


def _rttm(name: str, stem: str, found: Detected) -> Iterator[str]:
    file = "".join(quote(c) if c.isspace() or c == "%" else c for c in stem)
    for start, end in found.segments:
        yield f"SPEAKER {file} 1 {_time(start)} {_time(end - start)} <NA> <NA> {_SPEECH} <NA> <NA>\n"


def _audacity(name: str, stem: str, found: Detected) -> Iterator[str]:
    for start, end in found.segments:
        yield f"{_time(start)}\t{_time(end)}\t{_SPEECH}\n"


def _textgrid(name: str, stem: str, found: Detected) -> Iterator[str]:
    borders = [0, *(sample for segment in found.segments for sample in segment), found.samples]
    intervals = [(a, b, i % 2) for i, (a, b) in enumerate(itertools.pairwise(borders)) if a < b]
    last = _time(found.samples)
    yield f"""File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = {last}
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "{_SPEECH}"
        xmin = 0
        xmax = {last}
        intervals: size = {len(intervals)}
"""
    for i, (start, end, spoken) in enumerate(intervals, 1):
        yield f"""        intervals [{i}]:
            xmin = {_time(start)}
            xmax = {_time(end)}
            text = "{_SPEECH if spoken else ""}"
"""


_LINES = {
    "csv": _csv,
    "rttm": _rttm,
    "audacity": _audacity,
    "textgrid": _textgrid,
    "probabilities": _probabilities,
}


def _time(samples: int) -> str:
    return f"{samples / SAMPLE_RATE:.6f}"


def _quoted(text: str) -> str:
    """Return a field of a CSV file."""
    field = io.StringIO(newline="")
    csv.writer(field, lineterminator="").writerow([text])
    return field.getvalue()
