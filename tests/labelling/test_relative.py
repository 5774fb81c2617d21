"""Columns NAME.relative: a voice compared with itself."""

import csv
import io
import json

import numpy as np
import pytest

from sertool.errors import UsageError
from sertool.labelling import relative
from sertool.labelling.plan import Plan

NAMES = ("arousal", "dominance", "valence")


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def numbers(rows, name):
    return [float(row[name]) if row[name] else None for row in rows]


def expected(values):
    """By hand: the definition, with numpy's median."""
    values = np.array(values)
    median = np.median(values)
    return (values - median) / (1.4826 * np.median(abs(values - median)))


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
            assert np.allclose(numbers(own, f"{name}.relative"), expected(numbers(own, name)), atol=2e-3)


def test_a_speaker_of_given_segments_is_the_same_in_all_recordings(command, talks):
    segments = talks.parent / "turns.rttm"
    answer = command("label", "-m", "wav2small", talks, "--segments", segments, "--relative-to", "speaker")
    rows = rows_of(answer.out)
    assert len(rows) == 14
    for speaker, count in (("anna", 6), ("ben", 8)):
        own = [row for row in rows if row["speaker"] == speaker]
        assert len(own) == count
        assert np.allclose(numbers(own, "arousal.relative"), expected(numbers(own, "arousal")), atol=2e-3)


def test_channels_of_a_file_are_voices_of_their_own(command, clip, tmp_path):
    path = clip(tmp_path / "two.wav", 4.0, channels=2)
    arguments = ["--channel", "each", "--windows", "--window", "0.5", "--no-vad", "--relative-to"]
    for to in ("file", "speaker"):
        rows = rows_of(command("label", "-m", "wav2small", path, *arguments, to).out)
        for channel in "12":
            own = [row for row in rows if row["channel"] == channel]
            assert len(own) == 8
            assert np.allclose(numbers(own, "valence.relative"), expected(numbers(own, "valence")), atol=2e-3)


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
    assert float(rows[0]["arousal.relative"]) == pytest.approx((float(rows[0]["arousal"]) - median) / spread, abs=2e-3)


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
    assert "speaker carla: not in" in answer.err


def test_too_few_rows_and_no_spread_leave_cells_empty(command, clip, tmp_path):
    short = clip(tmp_path / "in" / "short.wav", 0.4)
    same = tmp_path / "in" / "same.wav"
    import soundfile

    samples, rate = soundfile.read(short)
    soundfile.write(same, np.tile(samples[: rate // 5], 6), rate)
    arguments = ["--windows", "--window", "0.2", "--no-vad", "--relative-to", "file", "-o", tmp_path / "o.csv"]
    answer = command("label", "-m", "wav2small", tmp_path / "in", *arguments)
    rows = rows_of((tmp_path / "o.csv").read_text())
    assert len(rows) == 8
    assert all(row["arousal"] and not row["arousal.relative"] for row in rows)
    assert "short.wav: 2 labelled rows, too few for columns .relative (5)" in answer.err
    assert "same.wav: no spread of arousal, dominance, valence" in answer.err


def test_a_resumed_run_compares_with_all_rows(command, talks, tmp_path):
    segments, output = talks.parent / "turns.rttm", tmp_path / "o.csv"
    arguments = ["label", "-m", "wav2small", "--segments", segments, "-o", output]
    assert command(*arguments, talks).code == 0
    assert "relative" not in output.read_text()
    again = command(*arguments, talks, "--relative-to", "speaker", "--resume")
    assert again.code == 0
    rows = rows_of(output.read_text())
    own = [row for row in rows if row["speaker"] == "ben"]
    assert np.allclose(numbers(own, "arousal.relative"), expected(numbers(own, "arousal")), atol=2e-3)
    assert command(*arguments, talks, "--relative-to", "file", "--resume").code == 0
    first = [row for row in rows_of(output.read_text()) if row["file"] == "0.wav"]
    assert np.allclose(numbers(first, "arousal.relative"), expected(numbers(first, "arousal")), atol=2e-3)


def test_rows_with_an_error_and_other_formats(command, talks, tmp_path):
    (talks / "broken.wav").write_text("no audio")
    for form in ("jsonl", "parquet"):
        output = tmp_path / f"o.{form}"
        arguments = ["--windows", "--window", "0.5", "--no-vad", "--relative-to", "file", "-o", output]
        assert command("label", "-m", "wav2small", talks, *arguments).code == 1
        if form == "jsonl":
            rows = [json.loads(line) for line in output.read_text().splitlines()]
        else:
            rows = pytest.importorskip("pyarrow.parquet").read_table(output).to_pylist()
        for row in rows:
            assert isinstance(row["arousal.relative"], float) == (row["error"] is None)


def test_a_given_column_of_that_name_is_renamed(command, clip, tmp_path):
    path = clip(tmp_path / "a.wav", 4.0)
    table = tmp_path / "s.csv"
    lines = ["file,start,end,arousal.relative"] + [f"a.wav,{turn * 0.5},{turn * 0.5 + 0.4},mine" for turn in range(7)]
    table.write_text("\n".join(lines) + "\n")
    rows = rows_of(command("label", "-m", "wav2small", path, "--segments", table, "--relative-to", "file").out)
    assert {row["arousal.relative.given"] for row in rows} == {"mine"}
    assert all(float(row["arousal.relative"]) is not None for row in rows)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        ("", "no rows in it"),
        ("file,start\na,0\n", "no column 'arousal'"),
        ("file,arousal,dominance,valence,error\n" + "a,.1,.2,.3,\n" * 4, "fewer than 5 labelled rows"),
        ("file,arousal,dominance,valence,error\n" + "a,x,.2,.3,\n" * 6, "a row without numbers"),
        ("\x00", "no column"),
    ],
)
def test_a_reference_that_cannot_be_used_is_refused_in_a_line(command, clip, tmp_path, content, said):
    path = clip(tmp_path / "a.wav", 0.5)
    if content is not None:
        (tmp_path / "ref.csv").write_text(content)
    answer = command("label", "-m", "wav2small", path, "--relative-to", tmp_path / "ref.csv")
    assert answer.code == 2
    assert said in answer.err or "no rows in it" in answer.err
    assert len(answer.err.strip().splitlines()) == 1


def test_speakers_are_needed():
    with pytest.raises(UsageError, match="the rows have no speakers"):
        relative.Relative("speaker", NAMES, Plan("window"))


def test_a_file_with_one_row_is_not_compared_with_itself(command, talks):
    answer = command("label", "-m", "wav2small", talks, "--relative-to", "file")
    assert answer.code == 2
    assert "add --windows or --by segment" in answer.err
