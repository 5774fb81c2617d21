"""`label` and `vad` with channels, given segments, and formats of segments."""

import csv
import io
import json
import os
import re

import numpy as np
import pytest
import soundfile

from sertool import audio, bundle

RATE = 16_000
SAMPLES = bundle.bundled_folder() / "wav2small" / "samples"


@pytest.fixture
def calls(tmp_path):
    """A folder with two stereo calls of 12 s, each with a voice on each channel, and subtitles beside them."""
    folder = tmp_path / "calls"
    (folder / "sub").mkdir(parents=True)
    voices = [audio.read(SAMPLES / name) for name in ("plain.wav", "slow-low.wav")]
    for name in ("a.wav", "sub/ü b.wav"):
        stereo = np.zeros((12 * RATE, 2), np.float32)
        stereo[RATE : RATE + len(voices[0]), 0] = voices[0]
        stereo[6 * RATE : 6 * RATE + len(voices[1]), 1] = voices[1]
        soundfile.write(folder / name, stereo, RATE)
        lines = ((1, 1 + len(voices[0]) / RATE, "Hello"), (6, 6 + len(voices[1]) / RATE, "Good bye"))
        cues = [
            f"{i}\n00:00:{s:06.3f} --> 00:00:{e:06.3f}\n{text}\n".replace(".", ",")
            for i, (s, e, text) in enumerate(lines, 1)
        ]
        (folder / name).with_suffix(".srt").write_text("\n".join(cues))
    return folder


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_row_for_each_channel(calls, command):
    code, out, err = command("label", calls, "-m", "wav2small", "--channel", "each", "--ordered")
    assert (code, "failed" in err) == (0, True)
    assert [(row["file"], row["channel"]) for row in rows(out)] == [
        ("a.wav", "1"),
        ("a.wav", "2"),
        ("sub/ü b.wav", "1"),
        ("sub/ü b.wav", "2"),
    ]
    assert command("label", calls / "a.wav", "-m", "wav2small", "--channel", "left").out != (
        command("label", calls / "a.wav", "-m", "wav2small", "--channel", "right").out
    )


def test_subtitles_in_and_out(calls, command, tmp_path):
    output = tmp_path / "out"
    arguments = ["label", calls, "-m", "wav2small", "--segments", calls, "--format", "srt", "-o", output]
    code, out, _ = command(*arguments)
    assert (code, out) == (0, "")
    text = (output / "sub" / "ü b.srt").read_text(encoding="utf-8")
    assert text.startswith("1\n00:00:01,000 --> 00:00:")
    assert "\nHello [arousal 0." in text
    assert "\nGood bye [arousal 0." in text
    # A run that is resumed leaves finished files alone, with their corrections, and writes those that are missing.
    (output / "a.srt").unlink()
    (output / "sub" / "ü b.srt").write_text("corrected")
    assert command(*arguments, "--resume").err.count("(2 of them before)") == 1
    assert (output / "sub" / "ü b.srt").read_text() == "corrected"
    assert "Hello [" in (output / "a.srt").read_text()
    # Changed subtitles are labelled again.
    (calls / "a.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nChanged\n")
    assert command(*arguments, "--resume").err.count("(1 of them before)") == 1
    assert "Changed [" in (output / "a.srt").read_text()
    assert "exists: --resume continues it" in command(*arguments).err


def test_annotations_are_not_overwritten(calls, command):
    before = (calls / "a.srt").read_text()
    for arguments in (
        ["label", calls, "--segments", calls, "--format", "srt", "-o", calls, "--restart"],
        ["label", calls / "a.wav", "--segments", calls / "a.srt", "-o", calls / "a.srt", "--restart"],
        ["vad", calls / "a.wav", "--segments", calls / "a.srt", "-o", calls / "a.srt", "--overwrite"],
    ):
        code, _, err = command(*arguments)
        assert code == 2
        assert "a.srt is one of the files that are read: choose another -o" in err
    assert (calls / "a.srt").read_text() == before


def test_resume_keeps_the_rows_of_recordings_that_are_not_listed_again(calls, command, tmp_path):
    common = ["-m", "wav2small", "--segments", calls, "-o", tmp_path / "r.csv"]
    assert command("label", calls, *common, "--glob", "a*").code == 0
    before = (tmp_path / "r.csv").read_text(encoding="utf-8")
    code, _, err = command("label", calls, *common, "--glob", "ü*", "--resume")
    assert (code, "(1 of them before)" in err) == (0, True)
    assert set(before.splitlines()) < set((tmp_path / "r.csv").read_text(encoding="utf-8").splitlines())


def test_resume_with_other_segments_is_refused(calls, command, tmp_path):
    command("label", calls, "-m", "wav2small", "--segments", calls, "-o", tmp_path / "r.csv")
    code, _, err = command("label", calls, "-m", "wav2small", "-o", tmp_path / "r.csv", "--resume", "--by", "segment")
    assert code == 2
    assert "was made with segments = " in err


def test_one_row_per_segment_in_the_order_given(calls, command, tmp_path):
    turns = tmp_path / "turns.csv"
    turns.write_text(
        "file,start,end,speaker,note\na,6,8,ben,second\na,1,3,anna,first\nz,0,1,x,\nsub/ü b.wav,1,2,cem,\n"
    )
    code, out, err = command("label", calls, "-m", "wav2small", "--segments", turns, "--ordered")
    assert code == 0
    assert [(r["file"], r["start"], r["speaker"], r["note"], r["repeats"]) for r in rows(out)] == [
        ("a.wav", "6.0", "ben", "second", "0"),
        ("a.wav", "1.0", "anna", "first", "0"),
        ("sub/ü b.wav", "1.0", "cem", "", "0"),
    ]
    assert "1 segments belong to none of the recordings (to 'z')" in err
    speakers = command("label", calls, "-m", "wav2small", "--segments", turns, "--by", "speaker", "--ordered").out
    assert [(r["speaker"], r["speech"]) for r in rows(speakers)] == [("ben", "2.0"), ("anna", "2.0"), ("cem", "1.0")]


def test_a_recording_without_segments_has_an_error_row(calls, command):
    (calls / "a.srt").unlink()
    code, out, err = command("label", calls, "-m", "wav2small", "--segments", calls, "--ordered")
    assert code == 1
    assert rows(out)[0]["error"] == f"no file with segments called a.* in {calls}"
    assert len(rows(out)) == 3
    assert "a.wav: no file with segments" in err


def test_windows_are_by_window(calls, command):
    one = command("label", calls, "-m", "wav2small", "--windows", "--window", "4", "--ordered").out
    assert one == command("label", calls, "-m", "wav2small", "--by", "window", "--window", "4", "--ordered").out
    assert [row["start"] for row in rows(one)][:3] == ["0.0", "4.0", "8.0"]


@pytest.mark.parametrize("form", ["textgrid", "eaf", "audacity", "vtt"])
def test_a_single_recording_is_written_to_a_file_or_standard_output(calls, command, tmp_path, form):
    output = tmp_path / "labels.out"
    arguments = ["label", calls / "a.wav", "-m", "wav2small", "--by", "segment", "--format", form]
    assert command(*arguments, "-o", output).code == 0
    text = output.read_text(encoding="utf-8")
    assert command(*arguments).out == text
    assert "arousal" in text


@pytest.mark.parametrize("name", ["labels.xlsx", "labels.sqlite", "labels.parquet"])
def test_binary_outputs_appear_when_they_are_complete(calls, command, tmp_path, name):
    assert command("label", calls, "-m", "wav2small", "-o", tmp_path / name).code == 0
    assert (tmp_path / name).stat().st_size > 1000
    left = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert left == [name, f"{name}.journal"]


def test_label_studio(calls, command, tmp_path):
    (calls / "broken.wav").write_text("text")
    assert (
        command("label", calls, "-m", "wav2small", "--by", "segment", "-o", tmp_path / "t.json", "--ordered").code == 1
    )
    tasks = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert [task["data"]["audio"] for task in tasks] == ["a.wav", "broken.wav", "sub/ü b.wav"]
    assert tasks[1]["predictions"] == []


def test_excel(calls, command):
    out = command("label", calls / "a.wav", "-m", "wav2small", "--dialect", "excel").out
    assert out.startswith("\ufefffile;start;end;")
    assert ";0,0;12,0;" in out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["label", "IN", "--channel", "middle"], "'middle' is not mix, left, right, each or a number"),
        (["label", "IN", "--channel", "0"], "'0' is not"),
        (["label", "IN", "--track", "first"], "'first' is not each or a number from 1"),
        (["label", "IN", "--by", "speaker"], "rows by speaker need speakers"),
        (["label", "IN", "--windows", "--by", "file"], "--windows is --by window, not --by file"),
        (["label", "IN", "--tier", "words"], "--segments-format and --tier need --segments"),
        (["label", "IN", "--segments", "NOWHERE"], "does not exist"),
        (["label", "IN", "--segmenter", "magic"], "there is no 'magic'"),
        (["label", "IN", "--segmenter", "vad:x=1"], "unexpected keyword argument 'x'"),
        (
            ["label", "IN", "--template", "{emotion}"],
            "for formats with one text per segment, not for csv",
        ),
        (["label", "IN/a.wav", "--format", "srt", "--template", "{emotion}"], "there is no field 'emotion'"),
        (["label", "IN", "--dialect", "excel", "--format", "jsonl"], "--dialect is for --format csv"),
        (["label", "IN", "--format", "ctm"], "this format can only be read"),
        (["label", "IN", "--format", "csv:separator=x"], "--format csv"),
        (["label", "IN", "--format", "srt"], "writes one file per recording: name a folder"),
        (["label", "IN", "--format", "xlsx"], "needs a file: -o labels.xlsx"),
        (["vad", "IN", "--probabilities", "--format", "srt", "-o", "OUT"], "--probabilities writes a table, not srt"),
        (["vad", "IN/a.wav", "--channel", "each", "--plot", "OUT.png"], "--plot draws one channel"),
        (["vad", "IN", "--longest-speech", "0"], "--longest-speech"),
    ],
)
def test_wrong_usage_ends_with_2_and_names_its_cause(calls, command, tmp_path, arguments, named):
    before = sorted(os.listdir(tmp_path))
    places = {"IN": str(calls), "OUT": str(tmp_path / "out"), "NOWHERE": str(tmp_path / "nowhere")}
    for short, place in places.items():
        arguments = [
            argument.replace(short, place) if argument.startswith(short) else argument for argument in arguments
        ]
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert named in err
    assert sorted(os.listdir(tmp_path)) == before


# ---- vad --------------------------------------------------------------------------------------------------------


def test_speech_by_channel(calls, command):
    found = rows(command("vad", calls / "a.wav", "--channel", "each", "--format", "csv").out)
    assert {row["channel"] for row in found} == {"1", "2"}
    assert all(float(row["end"]) < 6 for row in found if row["channel"] == "1")
    assert all(float(row["start"]) > 5 for row in found if row["channel"] == "2")


def test_speech_within_given_segments(calls, command, tmp_path):
    limits = tmp_path / "limits.csv"
    limits.write_text("start,end,topic\n0,2,greeting\n7,100,farewell\n")
    everything = rows(command("vad", calls / "a.wav", "--format", "csv").out)
    limited = rows(command("vad", calls / "a.wav", "--segments", limits, "--format", "csv").out)
    assert {row["topic"] for row in limited} == {"greeting", "farewell"}
    for row in limited:
        first, last = (0, 2) if row["topic"] == "greeting" else (7, 100)
        assert first <= float(row["start"]) < float(row["end"]) <= last
        assert any(
            float(e["start"]) <= float(row["start"]) and float(row["end"]) <= float(e["end"]) for e in everything
        )
    limits.write_text("start,end\n" + "0,12\n" * 30)  # they overlap: speech is counted once
    err = command("vad", calls / "a.wav", "--segments", limits, "-o", tmp_path / "o.csv").err
    assert 10 < int(re.search(r"are speech \((\d+)%\)", err)[1]) <= 100
    kept = sum(float(row["end"]) - float(row["start"]) for row in limited)
    assert 0 < kept < sum(float(row["end"]) - float(row["start"]) for row in everything)


def test_longest_speech(calls, command):
    found = rows(command("vad", calls, "--longest-speech", "1", "--format", "csv").out)
    assert max(float(row["end"]) - float(row["start"]) for row in found) <= 1.0


def test_a_silent_channel_is_said(calls, command, tmp_path):
    soundfile.write(
        tmp_path / "a.wav", np.stack([audio.read(calls / "a.wav", channel=1), np.zeros(12 * RATE)], 1), RATE
    )
    assert "a.wav: channel 2 is silent" in command("vad", tmp_path / "a.wav", "--channel", "each").err
    assert (
        "a.wav: channel 2 is silent" in command("label", tmp_path / "a.wav", "-m", "wav2small", "--by", "channel").err
    )
