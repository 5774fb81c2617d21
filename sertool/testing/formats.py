"""Checks of a file format."""

import io
import itertools
from pathlib import Path
from typing import Any

from sertool.errors import SertoolError
from sertool.plugins import load_plugins
from sertool.registry import Format
from sertool.segments import Annotated, Segment, Table
from sertool.testing.faults import doing, refused, require

COLUMNS = ("file", "start", "end", "speaker", "text", "emotion", "angry", "happy", "speech", "error")
TABLE = Table(COLUMNS, ("angry", "happy"), "emotion", ("speaker", "text"), "model 1.0")
#: Names and texts as people have them.
AWKWARD = ('a "b", c.wav', "ü ß/100 %.wav", "=1+1.wav", "<b>&amp;.wav", "tab\tline\nfeed.wav")
TEXT = 'say "hi", <i>&amp; ü\n\n1\n00:00:00,000 --> 00:00:01,000'


def check(name: str, folder: Path, options: dict[str, Any]) -> None:
    """Check a file format; see `sertool.testing.check_format`."""
    form, where = load_plugins().get("formats", name), f"format {name!r}"
    path = folder / f"a{form.extensions[0]}"
    if form.open is not None:
        recordings = [sample_recording(file, number) for number, file in enumerate(AWKWARD)]
        for count, recording in enumerate(recordings if form.per_recording else [None]):
            own = [recording] if recording else [*recordings, _failed()]
            again = folder / f"b{count}{form.extensions[0]}"
            _write(form, path, own, options, where)
            _write(form, again, own, options, where)
            if not form.binary:  # containers hold the time at which they were written
                require(path.read_bytes() == again.read_bytes(), where, "the same rows give different files")
                with doing(where, "reading it as UTF-8"):
                    path.read_text(encoding="utf-8")
            if form.read is not None:
                _check_read(form, path, own, where)
        _write(form, path, [], options, where)
        _write(form, path, [sample_recording("empty.wav", 0, rows=0)], options, where)
    if form.read is not None:
        for what, content in (("noise", bytes(range(256)) * 4), ("a missing file", None)):
            other = folder / f"broken{form.extensions[0]}"
            other.unlink(missing_ok=True)
            if content is not None:
                other.write_bytes(content)
            with refused(where, f"reading {what}", SertoolError):
                form.read(other)


def sample_recording(file: str, number: int, rows: int = 3) -> Annotated:
    """Return a recording with rows of TABLE."""
    values = []
    for row in range(rows):
        start = number + row * 1.5
        share = round(0.1 * row + 0.333333, 6)
        emotion = "angry" if share > 0.5 else "happy"
        outputs = {"emotion": emotion, "angry": share, "happy": round(1 - share, 6)}
        given = {"speaker": ("anna", "ben")[row % 2], "text": TEXT if row == 1 else "hello"}
        values.append({"file": file, "start": start, "end": start + 1.25, **given, **outputs, "speech": 1.25})
    return Annotated(file, file.rpartition(".")[0], 20.0, [dict.fromkeys(COLUMNS) | row for row in values])


def _failed() -> Annotated:
    row = dict.fromkeys(COLUMNS) | {"file": "broken.wav", "error": "cannot be read as audio"}
    return Annotated("broken.wav", "broken", 0.0, [row])


def _write(form: Format, path: Path, recordings: list[Annotated], options: dict[str, Any], where: str) -> None:
    assert form.open is not None
    path.unlink(missing_ok=True)
    stream = io.StringIO(newline="")
    with doing(where, f"writing {len(recordings)} recordings"):
        writer = form.open(path if form.binary else stream, TABLE, **options)
        for recording in recordings:
            writer.write(recording)
        writer.close()
    if form.binary:
        require(path.is_file(), where, "close leaves no file")
        return
    require(not stream.closed, where, "close closes the stream: leave that to sertool")
    with doing(where, "encoding it as UTF-8"):
        path.write_bytes(stream.getvalue().encode("utf-8"))


def _check_read(form: Format, path: Path, recordings: list[Annotated], where: str) -> None:
    assert form.read is not None
    with doing(where, "reading what it wrote"):
        segments = form.read(path)
    require(isinstance(segments, list), where, f"read returns {type(segments).__name__}, not a list")
    for segment in segments:
        require(isinstance(segment, Segment), where, f"a segment is a {type(segment).__name__}, not a Segment")
        texts = all(isinstance(text, str) for text in itertools.chain(*segment.columns.items()))
        require(texts, where, f"columns must be text, not {segment.columns!r}")
    rows = [row for recording in recordings for row in recording.rows if row["start"] is not None]
    expected = {(round(row["start"], 3), round(row["end"], 3)) for row in rows}
    got = {(round(segment.start, 3), round(segment.end, 3)) for segment in segments}
    require(expected <= got, where, f"times change by more than a millisecond: {sorted(expected - got)[:1]} is gone")
