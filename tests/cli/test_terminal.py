"""What a person at a terminal sees: a table for the eye, a progress bar, machine formats when asked for."""

import os
import pty
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from sertool import audio
from sertool.bundle import bundled_folder
from sertool.speech.detection import detect


def on_terminal(*arguments, stdout_too=True):
    """(exit code, what the terminal shows, colours and cursor movements removed, standard output if kept apart)."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "sertool", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=theirs if stdout_too else subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # Linux's way to say that the other side has closed
        pass
    os.close(ours)
    apart = None
    if process.stdout:
        with process.stdout:
            apart = process.stdout.read().decode()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).replace("\r\n", "\n")
    return process.wait(), text, apart


@pytest.fixture
def folder(tmp_path, clip):
    for name in ("a b.wav", "c.wav", "ü.wav"):
        clip(tmp_path / "talks" / name, 0.4)
    (tmp_path / "talks" / "broken.wav").write_text("text")
    return tmp_path / "talks"


def test_a_single_file_prints_a_table_for_the_eye_and_nothing_else(folder):
    code, text, _ = on_terminal("label", folder / "c.wav")
    head, row, *rest = text.splitlines()
    assert code == 0
    assert head.split() == ["file", "start", "end", "arousal", "dominance", "valence", "typical", "speech"]
    assert re.fullmatch(r".*c\.wav +0\.000 +0\.400( +-?\d\.\d\d){4} +0\.00", row)
    assert not rest


def test_a_model_of_classes_shows_the_emotion_beside_its_probabilities(folder, emotion_bundle):
    code, text, _ = on_terminal("label", "--model", emotion_bundle, folder / "c.wav")
    head, row, *rest = text.splitlines()
    assert code == 0
    assert head.split() == ["file", "start", "end", "emotion", "angry", "happy", "neutral", "sad", "speech"]
    assert re.fullmatch(r".*c\.wav +0\.000 +0\.400 +(angry|happy|neutral|sad)( +\d\.\d\d){5}", row)
    assert head.index("emotion") + len("emotion") == re.search(r"(angry|happy|neutral|sad)(?= )", row).end()  # aligned
    assert not rest


def test_a_folder_shows_progress_rows_and_a_summary(folder):
    code, text, _ = on_terminal("label", folder)
    assert code == 1
    assert re.search(r"labelling .*4/4 files", text)
    assert "broken.wav  cannot be read as audio" in text
    assert re.search(r"^3 labelled, 1 failed; 1\.2 s in .*real-time factor", text, re.MULTILINE)


@pytest.mark.slow("takes about a second")
def test_the_bar_stays_out_of_the_table_that_goes_elsewhere(folder):
    code, text, table = on_terminal("label", folder, "--ordered", stdout_too=False)
    assert code == 1
    assert re.search(r"mobile \S+ \(int8\), \d+ workers", text)
    assert "4/4 files" in text
    assert [line.partition(",")[0] for line in table.splitlines()] == [
        "file",
        "a b.wav",
        "broken.wav",
        "c.wav",
        "ü.wav",
    ]


def test_a_format_asked_for_is_printed_on_a_terminal_too(folder):
    code, text, _ = on_terminal("label", folder / "c.wav", "--format", "csv")
    assert code == 0
    assert text.startswith("file,start,end,arousal,arousal.low,arousal.high,dominance,")


@pytest.mark.slow("takes about a second")
def test_quiet_shows_no_bar_and_no_summary(folder):
    code, text, table = on_terminal("label", folder, "-q", stdout_too=False)
    assert code == 1
    assert text == ""
    assert len(table.splitlines()) == 5


@pytest.fixture
def talks(tmp_path):
    """Two recordings with speech, the same; a silent and a broken one."""
    samples = bundled_folder() / "wav2small" / "samples"
    (tmp_path / "talks").mkdir()
    for name in ("a b.wav", "ü.wav"):
        shutil.copy(samples / "fast-high.wav", tmp_path / "talks" / name)
    soundfile.write(tmp_path / "talks" / "quiet.wav", np.zeros(16_000), 16_000)
    (tmp_path / "talks" / "broken.wav").write_text("text")
    return tmp_path / "talks"


def without_bar(text) -> list[str]:
    """The lines that stay."""
    return [line for line in re.sub(r"\r?detecting .*?\bleft|\r", "", text).splitlines() if line.strip()]


def test_vad_of_one_recording_lists_its_segments(talks):
    code, text, _ = on_terminal("vad", talks / "ü.wav")
    head, *rows, summary = text.splitlines()
    found = detect(audio.blocks(talks / "ü.wav"))
    assert code == 0
    assert head.split() == ["file", "start", "end", "length"]
    for row, (start, end) in zip(rows, found.segments, strict=True):
        assert row.endswith("ü.wav" + "".join(f"{s / 16_000:>10.3f}" for s in (start, end, end - start)))
    share = f"{found.speech:.1f} s of {found.seconds:.1f} s are speech ({found.speech / found.seconds:.0%}); "
    assert summary.startswith(share)


def test_vad_of_a_folder_has_a_row_a_recording_with_the_share_of_speech(talks):
    code, text, _ = on_terminal("vad", talks)
    found = detect(audio.blocks(talks / "ü.wav"))
    assert code == 1
    assert re.search(r"detecting .*4/4 files", text)
    lines = without_bar(text)
    assert lines[0].split() == ["file", "length", "segments", "speech", "share"]
    numbers = [f"{found.seconds:.3f}", str(len(found.segments)), f"{found.speech:.3f}"]
    numbers.append(f"{found.speech / found.seconds:.0%}")
    rows = {line[:10].rstrip(): line[10:].split() for line in lines[1:-1]}
    assert rows["a b.wav"] == rows["ü.wav"] == numbers
    assert "quiet.wav   silent: nothing above -80 dB full scale" in lines
    assert any(line.startswith("broken.wav  cannot be read as audio") for line in lines)
    assert lines[-1].startswith("2 with speech, 1 without, 1 failed; ")


@pytest.mark.slow("takes about a second")
def test_vad_names_what_failed_above_the_bar_when_its_table_goes_elsewhere(talks, tmp_path):
    code, text, table = on_terminal("vad", talks, stdout_too=False)
    assert code == 1
    assert "4/4 files" in text
    lines = without_bar(text)
    assert lines[0].startswith("broken.wav: cannot be read as audio")
    assert lines[1].startswith("quiet.wav: silent: ")
    assert len(lines) == 3
    assert {line.partition(",")[0] for line in table.splitlines()} == {"file", "a b.wav", "ü.wav"}
    code, text, table = on_terminal("vad", talks, "-q", stdout_too=False)
    assert (code, len(text.splitlines())) == (1, 1)
    assert text.startswith("broken.wav: cannot be read as audio")
