"""Segments as other tools read them: audformat, Praat itself, praatio, and strict parsers of RTTM and labels."""

import io
import os
from pathlib import Path

import numpy as np
import pytest

from sertool.errors import UsageError
from sertool.plugins import load_plugins
from sertool.recordings.places import Place
from sertool.recordings.scan import Recording
from sertool.recordings.stems import stems
from sertool.segments import Annotated, Table
from sertool.speech.detection import Detected
from sertool.speech.job import Detection, Part

RATE = 16_000
# Names as people have them: blanks of several kinds, quotes, a comma, a percent sign, umlauts.
NAMES = ["ü ß/100 %.tar.flac", 'a "b", c.wav', "plain.wav", "tab\there\u00a0.ogg"]
# Segments that touch the ends, meet, come within a sample, and none at all.
FOUND = [
    Detected([(0, 4000), (4000, 8000), (8001, 20_001)], 20_001, False, np.linspace(0, 1, 126, dtype=np.float32)),
    Detected([(333, 77_777)], 80_000, False, np.full(500, 1 / 3, np.float32)),
    Detected([], 16_003, False, np.zeros(101, np.float32)),
    Detected([(1, 2)], 3, False, np.ones(1, np.float32)),
]
LONG = Detected([(16_000 * 35_990 + 7, 16_000 * 36_000 - 1)], 16_000 * 36_000, False)  # at the end of ten hours


def named(names) -> list[Recording]:
    return [Recording(Path(name), name) for name in names]


def written(form, names=NAMES, found=FOUND) -> str:
    stream, probable = io.StringIO(newline=""), form == "probabilities"
    last = ("probability",) if probable else ()
    writer = (
        load_plugins().get("formats", "csv" if probable else form).open(stream, Table(("file", "start", "end", *last)))
    )
    for recording, one in zip(named(names), found, strict=True):
        detection = Detection(recording, (Part(Place(None, None, {}), one, None),))
        rows = detection.probability_rows() if probable else detection.rows()
        writer.write(Annotated(recording.name, stems(named(names))[recording.name], one.seconds, rows))
    writer.close()
    return stream.getvalue()


def in_samples(*seconds) -> tuple[int, ...]:
    """Times as written, to the sample they stand for; they must be within a microsecond of one."""
    exact = np.array([float(time) for time in seconds]) * RATE
    assert np.abs(exact - exact.round()).max() <= 0.0161
    return tuple(exact.round().astype(int).tolist())


# ---- csv --------------------------------------------------------------------------------------------------------


def test_csv_is_audformats_segmented_index(tmp_path):
    audformat = pytest.importorskip("audformat")
    (tmp_path / "a.csv").write_text(written("csv"), encoding="utf-8", newline="")
    index = audformat.utils.read_csv(tmp_path / "a.csv")
    audformat.assert_index(index)
    got = [(file, *in_samples(start.total_seconds(), end.total_seconds())) for file, start, end in index]
    assert got == [(name, *s) for name, found in zip(NAMES, FOUND, strict=True) for s in found.segments]


def test_probabilities_are_a_segment_every_10_ms(tmp_path):
    audformat = pytest.importorskip("audformat")
    (tmp_path / "a.csv").write_text(written("probabilities"), encoding="utf-8", newline="")
    table = audformat.utils.read_csv(tmp_path / "a.csv")
    for name, found in zip(NAMES, FOUND, strict=True):
        part = table[name]
        times = [in_samples(start.total_seconds(), end.total_seconds()) for start, end in part.index]
        assert times == [(at, min(at + 160, found.samples)) for at in range(0, found.samples, 160)]
        np.testing.assert_allclose(part, found.probabilities, atol=1e-6)


# ---- RTTM -------------------------------------------------------------------------------------------------------


def rttm(text) -> list[tuple]:
    """(file, start, end), as NIST's evaluation plan has the ten fields of a SPEAKER line."""
    got = []
    for line in text.splitlines():
        kind, file, channel, onset, duration, orthography, subtype, speaker, confidence, lookahead = line.split()
        assert (kind, channel, speaker) == ("SPEAKER", "1", "speech")
        assert orthography == subtype == confidence == lookahead == "<NA>"
        start, length = in_samples(onset, duration)
        got.append((file, start, start + length))
    return got


def test_rttm_has_ten_fields_whatever_the_names():
    files = ["ü%20ß/100%20%25.tar", 'a%20"b",%20c', "plain", "tab%09here%C2%A0"]
    assert rttm(written("rttm")) == [(f, *s) for f, found in zip(files, FOUND, strict=True) for s in found.segments]


# ---- Audacity ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", [*FOUND, LONG])
def test_audacity_labels_are_start_end_and_text_between_tabs(found):
    lines = written("audacity", ["a b.wav"], [found]).splitlines()
    fields = [line.split("\t") for line in lines]
    assert [label for *_, label in fields] == ["speech"] * len(found.segments)
    assert [in_samples(start, end) for start, end, _ in fields] == found.segments


# ---- TextGrid ---------------------------------------------------------------------------------------------------


def without_gaps(found):
    """[(start, end, text)] over the whole recording."""
    intervals, at = [], 0
    for start, end in found.segments:
        intervals += [(at, start, "")] if at < start else []
        intervals.append((start, end, "speech"))
        at = end
    return intervals + ([(at, found.samples, "")] if at < found.samples else [])


@pytest.mark.parametrize("found", [*FOUND, LONG])
def test_praat_reads_the_textgrid(tmp_path, found):
    parselmouth = pytest.importorskip("parselmouth")
    (tmp_path / "a.TextGrid").write_text(written("textgrid", ["a.wav"], [found]), encoding="utf-8", newline="")
    grid = parselmouth.read(str(tmp_path / "a.TextGrid"))

    def ask(what, *arguments):
        return parselmouth.praat.call(grid, what, *arguments)

    assert (ask("Get number of tiers"), ask("Is interval tier...", 1), ask("Get tier name...", 1)) == (1, 1, "speech")
    assert in_samples(ask("Get start time"), ask("Get end time")) == (0, found.samples)
    intervals = [
        (
            *in_samples(ask("Get start time of interval...", 1, i), ask("Get end time of interval...", 1, i)),
            ask("Get label of interval...", 1, i),
        )
        for i in range(1, ask("Get number of intervals...", 1) + 1)
    ]
    assert intervals == without_gaps(found)


@pytest.mark.parametrize("found", [*FOUND, LONG])
def test_praatio_reads_the_textgrid(tmp_path, found):
    textgrid = pytest.importorskip("praatio.textgrid")
    (tmp_path / "a.TextGrid").write_text(written("textgrid", ["a.wav"], [found]), encoding="utf-8", newline="")
    grid = textgrid.openTextgrid(str(tmp_path / "a.TextGrid"), includeEmptyIntervals=True, reportingMode="error")
    assert grid.tierNames == ("speech",)
    tier = grid.getTier("speech")
    assert in_samples(grid.minTimestamp, grid.maxTimestamp, tier.minTimestamp, tier.maxTimestamp) == (
        (0, found.samples) * 2
    )
    assert [(*in_samples(i.start, i.end), i.label) for i in tier.entries] == without_gaps(found)
    ends = [i.end for i in tier.entries]
    assert [i.start for i in tier.entries] == [0, *ends[:-1]]  # the very same number, or Praat finds a gap


# ---- what they are called ---------------------------------------------------------------------------------------


def test_stems_are_places_below_the_folder_without_their_endings():
    paths = ["in/a.wav", "in/b.c.wav", "in/sub dir/ä.flac", "in/sub dir/none"]
    recordings = [Recording(Path(path), path) for path in paths]
    below = ["a", "b.c", "sub dir/ä", "sub dir/none"]
    assert list(stems(recordings, "in").values()) == below
    assert list(stems(recordings).values()) == below  # the deepest folder that holds all of them
    assert stems(recordings[2:]) == {"in/sub dir/ä.flac": "ä", "in/sub dir/none": "none"}
    assert stems(recordings[2:], "in") == {"in/sub dir/ä.flac": "sub dir/ä", "in/sub dir/none": "sub dir/none"}
    away = [Recording(Path(path), path) for path in ("../x/a.wav", os.path.abspath("../y/a.wav"))]
    assert list(stems(away).values()) == ["x/a", "y/a"]


def test_endings_stay_where_nothing_else_tells_two_recordings_apart():
    assert stems(named(["a.wav", "a.mp3", "b.wav"])) == {"a.wav": "a.wav", "a.mp3": "a.mp3", "b.wav": "b"}


def test_a_recording_named_twice_is_refused():
    with pytest.raises(UsageError, match=r"a\.wav and x/\.\./a\.wav would both be called a\.wav"):
        stems(named(["a.wav", "x/../a.wav"]))
