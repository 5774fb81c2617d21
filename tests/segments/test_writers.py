"""Segments as other tools read them: audformat, Praat itself, praatio, and strict parsers of RTTM and labels."""

import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sertool.errors import UsageError
from sertool.plugins import load_plugins
from sertool.recordings.places import Place
from sertool.recordings.recording import Recording
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


# ---- labels -----------------------------------------------------------------------------------------------------

TABLE = Table(
    ("file", "start", "end", "speaker", "text", "emotion", "angry", "sad", "speech", "error"),
    ("angry", "sad"),
    "emotion",
    ("speaker", "text"),
    "toy 1.0",
)
SAYS = 'say "hi" & <go>'
LABELS = [
    {"start": 0.5, "end": 2.25, "speaker": "anna", "text": SAYS, "emotion": "angry", "angry": 0.8125, "sad": 0.1875},
    {"start": 2.0, "end": 3.125, "speaker": "ben", "text": "", "emotion": "sad", "angry": 0.25, "sad": 0.75},
    {"start": 4.0, "end": 4.001, "speaker": "anna", "text": "ä\n\nö", "error": "silent"},
]


def labels(form, table=TABLE, rows=LABELS, **options):
    stream = io.StringIO(newline="")
    writer = load_plugins().get("formats", form).open(stream, table, **options)
    full = [dict.fromkeys(table.columns) | {"file": "a b.wav"} | row for row in rows]
    writer.write(Annotated("a b.wav", "a b", 10.0, full))
    writer.close()
    return stream.getvalue()


def test_srt_keeps_its_text_and_gains_the_label():
    srt = pytest.importorskip("srt")
    cues = list(srt.parse(labels("srt")))
    times = [(cue.start.total_seconds(), cue.end.total_seconds()) for cue in cues]
    assert times == [(0.5, 2.25), (2, 3.125), (4, 4.001)]
    assert [cue.content for cue in cues] == [f"[anna]: {SAYS} [angry 0.81]", "[ben]: [sad 0.75]", "[anna]: ä\nö"]
    again = Table(("file", "start", "end", "channel", "text"), given=("text",))
    rows = [{"start": 0.5, "end": 2.25, "channel": 2, "text": "Hi\nyou"}, {"start": 3.0, "end": 2.0, "channel": 1}]
    spoken = list(srt.parse(labels("srt", again, rows)))
    assert [cue.content for cue in spoken] == ["[channel 2]: Hi\nyou", "[channel 1]: [speech]"]
    assert all(cue.start <= cue.end for cue in spoken)


def test_vtt_escapes_what_is_markup():
    webvtt = pytest.importorskip("webvtt")
    cues = webvtt.from_string(labels("vtt"), strict=True).captions
    assert [cue.raw_text for cue in cues] == [
        '<v anna>say "hi" &amp; &lt;go&gt; [angry 0.81]',
        "<v ben>[sad 0.75]",
        "<v anna>ä\nö",
    ]
    assert [cue.voice for cue in cues] == ["anna", "ben", "anna"]
    assert (cues[0].start, cues[0].end) == ("00:00:00.500", "00:00:02.250")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{speaker}: {text} ({emotion})", [f"anna: {SAYS} (angry)", "ben: (sad)", "anna: ä ö ()"]),
        ("{angry:.0%}/{confidence}", ["81%/0.81", "25%/0.75", "/"]),
        ("{label}", ["angry 0.81", "sad 0.75", ""]),
        ("{{x}}", ["{x}"] * 3),
    ],
)
def test_templates(template, expected):
    lines = labels("audacity", replace(TABLE, template=template)).splitlines()
    assert [line.split("\t")[2] for line in lines] == expected


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("{emotions}", "there is no field 'emotions'"),
        ("{}", "there is no field"),
        ("{text.upper}", "there is no field 'text.upper'"),
        ("{emotion[0]}", "there is no field"),
        ("{text", "expected '}'"),
        ("{emotion:.2f}", "Unknown format code 'f'"),
    ],
)
def test_wrong_templates_are_errors_at_the_beginning(template, named):
    with pytest.raises(UsageError, match=re.escape(named)):
        replace(TABLE, template=template)


def test_textgrid_has_tiers_by_column_and_by_speaker(tmp_path):
    parselmouth = pytest.importorskip("parselmouth")
    call = parselmouth.praat.call

    def grid(rows):
        (tmp_path / "a.TextGrid").write_text(labels("textgrid", rows=rows), encoding="utf-8", newline="")
        return parselmouth.read(str(tmp_path / "a.TextGrid"))

    def names(grid):
        return [call(grid, "Get tier name...", i + 1) for i in range(call(grid, "Get number of tiers"))]

    columns = ("emotion", "angry", "sad", "speaker", "text")
    both = grid(LABELS)
    assert names(both) == [f"{column} {who}" for who in ("anna", "ben") for column in columns]
    assert call(both, "Get label of interval...", 1, 2) == "angry"
    assert call(both, "Get label of interval...", 2, 2) == "0.8125"
    assert call(both, "Get label of interval...", 5, 2) == SAYS
    assert call(both, "Get start time of interval...", 6, 2) == 2.0
    assert call(both, "Get label of interval...", 6, 2) == "sad"
    assert call(both, "Get end time") == 10.0
    assert names(grid([LABELS[0], LABELS[2]])) == list(columns)  # one speaker: one set of tiers


def test_rows_of_one_speaker_that_overlap_get_a_numbered_tier(tmp_path):
    textgrid = pytest.importorskip("praatio.textgrid")
    rows = [LABELS[0], {**LABELS[1], "speaker": "anna"}]
    (tmp_path / "a.TextGrid").write_text(labels("textgrid", rows=rows), encoding="utf-8", newline="")
    grid = textgrid.openTextgrid(str(tmp_path / "a.TextGrid"), includeEmptyIntervals=False, reportingMode="error")
    assert [tuple(entry) for entry in grid.getTier("emotion").entries] == [(0.5, 2.25, "angry")]
    assert [tuple(entry) for entry in grid.getTier("emotion (2)").entries] == [(2.0, 3.125, "sad")]


def test_pympi_reads_the_eaf(tmp_path):
    elan = pytest.importorskip("pympi.Elan")
    (tmp_path / "a.eaf").write_text(labels("eaf"), encoding="utf-8", newline="")
    document = elan.Eaf(str(tmp_path / "a.eaf"))
    assert document.get_annotation_data_for_tier("emotion anna") == [(500, 2250, "angry"), (4000, 4001, "")]
    assert document.get_annotation_data_for_tier("sad ben") == [(2000, 3125, "0.75")]
    assert document.get_annotation_data_for_tier("text anna")[0][2] == SAYS
    assert document.media_descriptors[0]["MEDIA_URL"] == "a b.wav"


def test_pyannote_reads_the_rttm(tmp_path):
    util = pytest.importorskip("pyannote.database.util")
    (tmp_path / "a.rttm").write_text(labels("rttm", rows=LABELS[:2]), encoding="utf-8")
    annotation = util.load_rttm(str(tmp_path / "a.rttm"))["a%20b"]
    turns = [(turn.start, round(turn.end, 6), name) for turn, _, name in annotation.itertracks(yield_label=True)]
    assert turns == [(0.5, 2.25, "angry"), (2.0, 3.125, "sad")]
    assert "angry 0.812500 <NA>" in labels("rttm")
    by_speaker = labels("rttm", replace(TABLE, template="{speaker}"))
    assert [line.split()[7] for line in by_speaker.splitlines()] == ["anna", "ben"]
    backwards = [{**LABELS[0], "end": 0.25}, {**LABELS[0], "channel": "left"}]
    assert labels("rttm", rows=backwards).count("\n") == 1  # no line of a negative length


def test_label_studio_gets_regions():
    (task,) = json.loads(labels("labelstudio"))
    assert task["data"] == {"audio": "a b.wav"}
    (prediction,) = task["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("toy 1.0", 0.78125)
    assert prediction["result"][0] == {
        "id": "r1",
        "from_name": "emotion",
        "to_name": "audio",
        "type": "labels",
        "original_length": 10.0,
        "value": {"start": 0.5, "end": 2.25, "channel": 0, "labels": ["angry"]},
        "score": 0.8125,
    }
    parts = [(part["id"], part["type"]) for part in prediction["result"]]
    assert parts == [("r1", "labels"), ("r1", "textarea"), ("r2", "labels"), ("r3", "textarea")]
    numbers = Table(("file", "start", "end", "arousal", "error"), ("arousal",), model="toy 1.0")
    (task,) = json.loads(labels("labelstudio", numbers, [{"start": 0.5, "end": 1.0, "arousal": 0.25}]))
    assert task["predictions"][0]["result"][0]["value"] == {"start": 0.5, "end": 1.0, "channel": 0, "number": 0.25}


def test_csv_for_excel():
    text = labels("csv", rows=LABELS[:1], dialect="excel")
    assert text.startswith("\ufefffile;start;end;speaker;text;")
    assert '\r\na b.wav;0,5;2,25;anna;"say ""hi"" & <go>";angry;0,8125;0,1875;;\r\n' in text
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(io.StringIO(text.removeprefix("\ufeff")), sep=";", decimal=",")
    assert frame["angry"].tolist() == [0.8125]


def test_a_workbook_holds_no_formulas(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    table = Table(("file", "start", "end", "text", "error"), given=("text",))
    writer = load_plugins().get("formats", "xlsx").open(tmp_path / "a.xlsx", table)
    texts = ["=1+1", "+1", "@SUM(A1)", "\x00\x1f", "x" * 40_000]
    rows = [{"file": "=cmd|' /C calc'!A0", "start": 0.5, "end": 1.0, "text": text} for text in texts]
    writer.write(Annotated("a", "a", 1.0, rows))
    writer.close()
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx").active
    cells = [sheet.cell(row, column) for row in range(2, 7) for column in (1, 4)]
    assert {cell.data_type for cell in cells} == {"s"}
    assert sheet["A2"].value == "=cmd|' /C calc'!A0"
    assert len(sheet["D6"].value) == 32_767


@pytest.mark.parametrize("form", ["csv", "srt", "vtt", "textgrid", "eaf", "audacity", "rttm"])
def test_what_is_written_reads_back_equal(tmp_path, form):
    """Times and the columns that the format has, of given segments of two speakers."""
    table = Table(("file", "start", "end", "speaker", "text"), given=("speaker", "text"))
    rows = [
        {"start": 0.0, "end": 1.25, "speaker": "anna", "text": "hello ü & <you>"},
        {"start": 1.25, "end": 2.001, "speaker": "ben", "text": '"quoted", so; to say'},
        {"start": 3601.5, "end": 3602.999, "speaker": "anna", "text": "two words"},
    ]
    columns = {"csv": ("speaker", "text"), "srt": ("speaker", "text"), "vtt": ("speaker", "text"), "rttm": ("speaker",)}
    kept = columns.get(form, ("text",))
    chosen = load_plugins().get("formats", form)
    if form == "audacity":
        table = replace(table, template="{text}")
    (tmp_path / "a.x").write_text(labels(form, table, rows), encoding="utf-8", newline="")
    options = {"textgrid": {"anna": "text anna", "ben": "text ben"}, "eaf": {"anna": "text anna", "ben": "text ben"}}
    segments = []
    for tier in options[form].values() if form in options else [None]:
        segments += chosen.read(tmp_path / "a.x", **({"tier": tier} if tier else {}))
    found = sorted((s.start, round(s.end, 6), tuple(s.columns.get(name) for name in kept)) for s in segments)
    assert found == [(row["start"], row["end"], tuple(row[name] for name in kept)) for row in rows]
