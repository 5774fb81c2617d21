"""Columns NAME.relative: a voice compared with itself."""

import csv
import io
import json
import os
import signal
import sqlite3
import time

import numpy as np
import pytest
import soundfile

import sertool
from sertool import Plan, Relative, Segment, UsageError
from sertool.cli import outputs
from sertool.cli.terminal import Bar
from sertool.labelling import Labeller

NAMES = ("arousal", "dominance", "valence")
HEAD = "file,start,end,arousal,dominance,valence,error\n"


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def numbers(rows, name):
    return [float(row[name]) if row[name] else None for row in rows]


def expected(values):
    """By hand: the definition, with numpy's median."""
    values = np.array(values)
    median = np.median(values)
    return (values - median) / (1.4826 * np.median(abs(values - median)))


@pytest.fixture(scope="module")
def small():
    return sertool.load("wav2small", vad=False, window=0.5)


@pytest.fixture
def talks(clip, tmp_path):
    """Two recordings with seven segments each, of two speakers who are in both."""
    lines = []
    for number in range(2):
        clip(tmp_path / "talks" / f"{number}.wav", 4.0, seed=number)
        for turn in range(7):
            speaker = "anna" if turn % 2 else "ben"
            lines.append(f"SPEAKER {number} 1 {turn * 0.5:.2f} 0.45 <NA> <NA> {speaker} <NA> <NA>")
    (tmp_path / "turns.rttm").write_text("\n".join(lines) + "\n")
    return tmp_path / "talks"


def test_a_file_is_compared_with_itself(command, talks):
    answer = command(
        "label", "-m", "wav2small", talks, "--windows", "--window", "0.5", "--no-vad", "--relative-to", "file"
    )
    rows = rows_of(answer.out)
    assert answer.code == 0
    columns = list(rows[0])
    assert columns[columns.index("typical") + 1 :] == [*(f"{name}.relative" for name in NAMES), "speech", "error"]
    for file in ("0.wav", "1.wav"):
        own = [row for row in rows if row["file"] == file]
        assert len(own) == 8
        for name in NAMES:
            assert np.allclose(numbers(own, f"{name}.relative"), expected(numbers(own, name)), atol=1e-6)


def test_a_speaker_of_given_segments_is_the_same_in_all_recordings(command, talks):
    segments = talks.parent / "turns.rttm"
    answer = command("label", "-m", "wav2small", talks, "--segments", segments, "--relative-to", "speaker")
    rows = rows_of(answer.out)
    assert len(rows) == 14
    for speaker, count in (("anna", 6), ("ben", 8)):
        own = [row for row in rows if row["speaker"] == speaker]
        assert len(own) == count
        assert np.allclose(numbers(own, "arousal.relative"), expected(numbers(own, "arousal")), atol=1e-6)


def test_channels_of_a_file_are_voices_of_their_own(command, clip, tmp_path):
    path = clip(tmp_path / "two.wav", 4.0, channels=2)
    arguments = ["--channel", "each", "--windows", "--window", "0.5", "--no-vad", "--relative-to"]
    for to in ("file", "speaker"):
        rows = rows_of(command("label", "-m", "wav2small", path, *arguments, to).out)
        for channel in "12":
            own = [row for row in rows if row["channel"] == channel]
            assert len(own) == 8
            assert np.allclose(numbers(own, "valence.relative"), expected(numbers(own, "valence")), atol=1e-6)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_table_written_before_is_the_reference(command, talks, tmp_path, form):
    before = tmp_path / f"before.{form}"
    segments = talks.parent / "turns.rttm"
    assert command("label", "-m", "wav2small", talks, "--segments", segments, "-o", before).code == 0
    rows = rows_of(command("label", "-m", "wav2small", talks / "0.wav", "--relative-to", before, "--no-vad").out)
    if form == "csv":
        given = numbers(rows_of(before.read_text()), "arousal")
    else:
        given = [json.loads(line)["arousal"] for line in before.read_text().splitlines()]
    median = np.median(given)
    spread = 1.4826 * np.median(abs(np.array(given) - median))
    assert float(rows[0]["arousal.relative"]) == pytest.approx((float(rows[0]["arousal"]) - median) / spread, abs=1e-6)


def test_a_speaker_that_the_reference_lacks_has_empty_cells(command, talks, tmp_path):
    segments = talks.parent / "turns.rttm"
    command("label", "-m", "wav2small", talks, "--segments", segments, "-o", tmp_path / "before.csv")
    other = tmp_path / "other.rttm"
    other.write_text(segments.read_text().replace("anna", "carla"))
    answer = command(
        "label",
        "-m",
        "wav2small",
        talks,
        "--segments",
        other,
        "--relative-to",
        tmp_path / "before.csv",
        "-o",
        tmp_path / "o.csv",
    )
    rows = rows_of((tmp_path / "o.csv").read_text())
    assert {row["speaker"] for row in rows if not row["arousal.relative"]} == {"carla"}
    assert "carla: not in" in answer.err


def test_too_few_rows_and_no_spread_leave_cells_empty(command, clip, tmp_path):
    short = clip(tmp_path / "in" / "short.wav", 0.4)
    same = tmp_path / "in" / "same.wav"
    samples, rate = soundfile.read(short)
    soundfile.write(same, np.tile(samples[: rate // 5], 6), rate)
    arguments = ["--windows", "--window", "0.2", "--no-vad", "--relative-to", "file", "-o", tmp_path / "o.csv"]
    answer = command("label", "-m", "wav2small", tmp_path / "in", *arguments)
    rows = rows_of((tmp_path / "o.csv").read_text())
    assert len(rows) == 8
    assert all(row["arousal"] and not row["arousal.relative"] for row in rows)
    assert "short.wav: fewer than 5 labelled rows, so no .relative" in answer.err
    assert "same.wav: no spread of arousal, dominance, valence, so no .relative" in answer.err


def test_a_resumed_run_compares_with_all_rows(command, talks, tmp_path):
    segments, output = talks.parent / "turns.rttm", tmp_path / "o.csv"
    arguments = ["label", "-m", "wav2small", "--segments", segments, "-o", output]
    assert command(*arguments, talks).code == 0
    assert "relative" not in output.read_text()
    again = command(*arguments, talks, "--relative-to", "speaker", "--resume")
    assert again.code == 0
    rows = rows_of(output.read_text())
    own = [row for row in rows if row["speaker"] == "ben"]
    assert np.allclose(numbers(own, "arousal.relative"), expected(numbers(own, "arousal")), atol=1e-6)
    assert "relative" not in output.with_name("o.csv.journal").read_text()
    assert command(*arguments, talks, "--relative-to", "file", "--resume").code == 0
    first = [row for row in rows_of(output.read_text()) if row["file"] == "0.wav"]
    assert np.allclose(numbers(first, "arousal.relative"), expected(numbers(first, "arousal")), atol=1e-6)


def test_rows_with_an_error_and_other_formats(command, talks, tmp_path):
    (talks / "broken.wav").write_text("no audio")
    for form in ("jsonl", "parquet", "xlsx", "sqlite"):
        output = tmp_path / f"o.{form}"
        arguments = ["--windows", "--window", "0.5", "--no-vad", "--relative-to", "file", "-o", output]
        assert command("label", "-m", "wav2small", talks, *arguments).code == 1
        if form == "jsonl":
            rows = [json.loads(line) for line in output.read_text().splitlines()]
        elif form == "parquet":
            rows = pytest.importorskip("pyarrow.parquet").read_table(output).to_pylist()
        elif form == "xlsx":
            head, *lines = pytest.importorskip("openpyxl").load_workbook(output).active.iter_rows(values_only=True)
            rows = [dict(zip(head, line, strict=True)) for line in lines]
        else:
            with sqlite3.connect(output) as database:
                database.row_factory = sqlite3.Row
                rows = [dict(row) for row in database.execute("SELECT * FROM labels")]
        assert len(rows) == 17
        for row in rows:
            assert isinstance(row["arousal.relative"], float) == (row["error"] is None)


def test_a_given_column_of_that_name_is_renamed(command, clip, tmp_path):
    path = clip(tmp_path / "a.wav", 4.0)
    table = tmp_path / "s.csv"
    lines = ["file,start,end,arousal.relative"] + [f"a.wav,{turn * 0.5},{turn * 0.5 + 0.4},mine" for turn in range(7)]
    table.write_text("\n".join(lines) + "\n")
    rows = rows_of(command("label", "-m", "wav2small", path, "--segments", table, "--relative-to", "file").out)
    assert {row["arousal.relative.given"] for row in rows} == {"mine"}
    assert all(row["arousal.relative"] for row in rows)


def test_a_given_column_of_that_name_survives_a_resumed_run(command, clip, tmp_path):
    path, output = clip(tmp_path / "a.wav", 4.0), tmp_path / "o.csv"
    table = tmp_path / "s.csv"
    table.write_text("file,start,end,Arousal.Relative\na.wav,0,0.4,mine\na.wav,1,1.4,mine\n")
    arguments = ["label", "-m", "wav2small", path, "--segments", table, "-o", output]
    assert command(*arguments).code == 0
    assert command(*arguments, "--resume", "--relative-to", "file").code == 0
    for row in rows_of(output.read_text()):
        assert (row["Arousal.Relative.given"], row["arousal.relative"]) == ("mine", "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "neither speaker nor file, and no such file"),
        ("", "there is no column 'start'"),
        ("file,start,end\na,0,1\n", "no column 'arousal'"),
        (HEAD, "no rows in it"),
        (HEAD + "a,0,1,.1,.2,.3,\n" * 4, "fewer than 5 labelled rows"),
        (HEAD + "a,0,1,.1,.2,.3,\n" * 4 + "a,0,1,,,,silent\n" * 9, "fewer than 5 labelled rows"),
        (HEAD + "a,0,1,x,.2,.3,\n" * 6, "a row without numbers"),
        (HEAD + "a,0,1,nan,.2,.3,\n" * 6, "a row without numbers"),
        (HEAD + "a,0,1,.1,.2,inf,\n" * 6, "a row without numbers"),
        ("\x00", "not a text file"),
        ("{", "not a table in jsonl"),
        ('{"arousal": 0.5}\n' * 6, "no column 'dominance'"),
        ('{"arousal": 0.5, "dominance": NaN, "valence": null}\n' * 6, "a row without numbers"),
        ("{}\n[]\n", "not a table in jsonl"),
    ],
)
def test_a_reference_that_cannot_be_used_is_refused_in_a_line(command, clip, tmp_path, content, said):
    path = clip(tmp_path / "a.wav", 0.5)
    if content is not None:
        (tmp_path / "ref.csv").write_text(content)
    answer = command("label", "-m", "wav2small", path, "--relative-to", tmp_path / "ref.csv")
    assert answer.code == 2
    assert said in answer.err
    assert len(answer.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--relative-to", "speaker", "--windows"], "the rows have no speakers"),
        (["--relative-to", "speaker", "--by", "channel"], "there is one: add --windows or --by segment"),
        (["--relative-to", "speaker", "--by", "speaker", "--segmenter", "vad"], "there is one: add --by segment"),
        (["--relative-to", "file"], "add --windows or --by segment"),
        (["--relative-to", "file", "--by", "channel"], "add --windows or --by segment"),
    ],
)
def test_a_voice_without_rows_to_compare_is_refused_in_a_line(command, talks, arguments, said):
    answer = command("label", "-m", "wav2small", talks, *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert len(answer.err.strip().splitlines()) == 1


def test_rows_without_a_speaker_are_nobodys(command, talks, tmp_path):
    segments, output = talks.parent / "turns.csv", tmp_path / "o.csv"
    turns = [f"{n}.wav,{t * 0.5},{t * 0.5 + 0.45},{'anna' if t % 2 else ''}" for n in range(2) for t in range(7)]
    segments.write_text("\n".join(["file,start,end,speaker", *turns]) + "\n")
    arguments = ["label", "-m", "wav2small", talks, "--segments", segments, "-o", output]
    assert command(*arguments, "-q").code == 0
    output.rename(tmp_path / "before.csv")
    for to in ("speaker", tmp_path / "before.csv"):
        answer = command(*arguments, "--restart", "--relative-to", to)
        rows = rows_of(output.read_text())
        assert [row["speaker"] for row in rows if row["arousal.relative"]] == ["anna"] * 6
        own = [row for row in rows if row["speaker"]]
        assert np.allclose(numbers(own, "arousal.relative"), expected(numbers(own, "arousal")), atol=1e-6)
        assert "0.wav: rows without a speaker, so no .relative" in answer.err


def test_each_speaker_is_compared_with_the_reference_of_the_same_name(command, talks, tmp_path):
    segments, before = talks.parent / "turns.rttm", tmp_path / "before.csv"
    arguments = ["label", "-m", "wav2small", "--segments", segments]
    assert command(*arguments, talks, "-o", before).code == 0
    by_itself = rows_of(command(*arguments, talks, "--ordered", "--relative-to", "speaker").out)
    by_reference = rows_of(command(*arguments, talks, "--ordered", "--relative-to", before).out)
    assert by_itself == by_reference


def test_a_speaker_of_whom_the_reference_has_few_rows_has_empty_cells(command, talks, tmp_path):
    segments, before = talks.parent / "turns.rttm", tmp_path / "before.csv"
    arguments = ["label", "-m", "wav2small", "--segments", segments]
    assert command(*arguments, talks, "-o", before).code == 0
    lines = before.read_text().splitlines(keepends=True)
    of_anna = [line for line in lines if ",anna," in line]
    before.write_text("".join(line for line in lines if line not in of_anna[:2]))
    answer = command(*arguments, talks, "--relative-to", before, "-o", tmp_path / "o.csv")
    empty = [row["speaker"] for row in rows_of((tmp_path / "o.csv").read_text()) if not row["arousal.relative"]]
    assert empty == ["anna"] * 6
    assert f"anna, {before}: fewer than 5 labelled rows, so no .relative" in answer.err


def test_a_reference_may_be_of_any_dialect_and_name(command, talks, tmp_path):
    segments = talks.parent / "turns.rttm"
    arguments = ["label", "-m", "wav2small", "--segments", segments]
    told = set()
    for form, name in (("csv", "b.csv"), ("csv:dialect=excel", "excel.csv"), ("csv", "b.tsv"), ("jsonl", "b.txt")):
        assert command(*arguments, talks, "--format", form, "-o", tmp_path / name).code == 0
        told.add(command("label", "-m", "wav2small", talks / "0.wav", "--relative-to", tmp_path / name, "--no-vad").out)
    assert len(told) == 1
    assert rows_of(told.pop())[0]["valence.relative"]


def test_the_reference_is_not_overwritten(command, talks, tmp_path):
    arguments = [
        "label",
        "-m",
        "wav2small",
        talks,
        "--windows",
        "--window",
        "0.5",
        "--no-vad",
        "-o",
        tmp_path / "o.csv",
    ]
    assert command(*arguments).code == 0
    before = (tmp_path / "o.csv").read_bytes()
    for mode in ("--restart", "--resume"):
        answer = command(*arguments, mode, "--relative-to", tmp_path / "o.csv")
        assert answer.code == 2
        assert "o.csv is one of the files that are read: choose another -o" in answer.err
    assert (tmp_path / "o.csv").read_bytes() == before


def test_channels_are_somebody_in_their_recording_only(command, clip, tmp_path):
    for number in range(2):
        clip(tmp_path / "two" / f"{number}.wav", 4.0, channels=2, seed=number)
    arguments = ["--channel", "each", "--windows", "--window", "0.5", "--no-vad", "--relative-to", "speaker"]
    rows = rows_of(command("label", "-m", "wav2small", tmp_path / "two", *arguments).out)
    assert len(rows) == 32
    for file, channel in ((file, channel) for file in ("0.wav", "1.wav") for channel in "12"):
        own = [row for row in rows if (row["file"], row["channel"]) == (file, channel)]
        assert np.allclose(numbers(own, "arousal.relative"), expected(numbers(own, "arousal")), atol=1e-6)


def test_rows_by_speaker_are_compared_over_recordings(command, clip, tmp_path):
    lines = []
    for number in range(6):
        clip(tmp_path / "calls" / f"{number}.wav", 1.0, seed=number)
        lines += [f"SPEAKER {number} 1 {start} 0.5 <NA> <NA> {who} <NA> <NA>" for start, who in ((0, "a"), (0.5, "b"))]
    (tmp_path / "turns.rttm").write_text("\n".join(lines))
    arguments = ["--segments", tmp_path / "turns.rttm", "--by", "speaker", "--relative-to", "speaker"]
    rows = rows_of(command("label", "-m", "wav2small", tmp_path / "calls", *arguments).out)
    for speaker in "ab":
        own = [row for row in rows if row["speaker"] == speaker]
        assert len(own) == 6
        assert np.allclose(numbers(own, "dominance.relative"), expected(numbers(own, "dominance")), atol=1e-6)


def test_a_model_of_classes_has_a_column_for_each_probability(command, clip, emotion_bundle, tmp_path):
    path = clip(tmp_path / "a.wav", 4.0)
    arguments = ["--windows", "--window", "0.5", "--no-vad", "--relative-to", "file"]
    rows = rows_of(command("label", "-m", emotion_bundle, path, *arguments).out)
    for name in ("angry", "happy", "neutral", "sad"):
        assert np.allclose(numbers(rows, f"{name}.relative"), expected(numbers(rows, name)), atol=1e-4)
    assert "emotion.relative" not in rows[0]


def test_a_template_may_have_the_column(command, clip, tmp_path):
    path, template = clip(tmp_path / "a.wav", 4.0), "{arousal.relative:+.1f}"
    arguments = ["label", "-m", "wav2small", path, "--windows", "--window", "0.5", "--no-vad", "--relative-to", "file"]
    rows = rows_of(command(*arguments).out)
    text = command(*arguments, "--format", "srt", "--template", template).out
    assert text.splitlines()[2::4] == [f"{float(row['arousal.relative']):+.1f}" for row in rows]


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_what_an_interrupted_run_finished_is_compared_and_the_next_run_compares_all(
    command, clip, tmp_path, monkeypatch
):
    lines = []
    for number in range(8):
        clip(tmp_path / "talks" / f"{number}.wav", 4.0, seed=number)
        lines += [f"SPEAKER {number} 1 {turn * 0.5} 0.4 <NA> <NA> anna <NA> <NA>" for turn in range(3)]
    (tmp_path / "turns.rttm").write_text("\n".join(lines))
    calls, rows = [], Labeller.segment_rows

    def interrupted(self, *arguments):
        calls.append(arguments)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)  # until the main thread has noticed
        return rows(self, *arguments)

    output = tmp_path / "o.csv"
    arguments = ["label", "-m", "wav2small", tmp_path / "talks", "--segments", tmp_path / "turns.rttm", "-j", "1"]
    arguments += ["--relative-to", "speaker", "-o", output]
    with monkeypatch.context() as patched:
        patched.setattr(Labeller, "segment_rows", interrupted)
        assert command(*arguments).code == 130
    counts = []
    for _ in range(2):
        written = rows_of(output.read_text())
        assert np.allclose(numbers(written, "valence.relative"), expected(numbers(written, "valence")), atol=1e-6)
        counts.append(len(written))
        assert command(*arguments, "--resume").code == 0
    assert 9 <= counts[0] < counts[1] == 24


def test_the_bar_moves_while_rows_are_held(command, talks, tmp_path, monkeypatch):
    seen, write = [], outputs.Output.write
    monkeypatch.setattr(Bar, "update", lambda self, done, description, total=None: seen.append(done))
    monkeypatch.setattr(outputs.Output, "write", lambda self, *row: (seen.append("row"), write(self, *row)))
    arguments = ["label", "-m", "wav2small", talks, "--segments", talks.parent / "turns.rttm", "-j", "1"]
    assert command(*arguments, "--relative-to", "speaker").code == 0
    assert seen == [1, 2, "row", "row"]
    seen.clear()
    assert command(*arguments, "--relative-to", "file").code == 0
    assert seen == ["row", 1, "row", 2]


def test_in_python(small, talks):
    own = Relative("file", small, "window")
    results = list(own.fill(sertool.label_all(small, sertool.scan(talks), "window")))
    assert [len(result.labels) for result in results] == [8, 8]
    for result in results:
        found = [labels["dominance.relative"] for labels in result.labels]
        assert np.allclose(found, expected([labels.dominance for labels in result.labels]), atol=1e-6)
        assert list(result.labels[0])[-5:] == [*(f"{name}.relative" for name in NAMES), "speech", "error"]
    assert (own.notes, own.files) == ([], [])


def test_speakers_that_are_found_are_somebody_in_their_recording_only(small, talks):
    plan = Plan("segment", segmenter="vad")
    turns = [Segment(turn * 0.5, turn * 0.5 + 0.4, {"speaker": "SPEAKER_00"} if turn < 6 else {}) for turn in range(7)]
    plan.__dict__["find"] = lambda blocks: list(turns)
    own = Relative("speaker", small, plan)
    for result in own.fill(sertool.label_all(small, sertool.scan(talks), plan)):
        *speaker, nobody = result.labels
        found = [labels["arousal.relative"] for labels in speaker]
        assert np.allclose(found, expected([labels.arousal for labels in speaker]), atol=1e-6)
        assert nobody["arousal.relative"] is None
    assert len(own.notes) == 2


def test_speakers_are_needed(small):
    with pytest.raises(UsageError, match="the rows have no speakers"):
        Relative("speaker", small, "window")
