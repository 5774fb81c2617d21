"""What a person at a terminal sees: a table for the eye, a progress bar, machine formats when asked for."""

import os
import pty
import re
import subprocess
import sys

import pytest


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
    apart = process.stdout.read().decode() if process.stdout else None
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
    assert head.split() == ["file", "start", "end", "arousal", "dominance", "valence"]
    assert re.fullmatch(r".*c\.wav +0\.000 +0\.400( +-?\d\.\d\d){3}", row)
    assert not rest


def test_a_model_of_classes_shows_the_emotion_beside_its_probabilities(folder, emotion_bundle):
    code, text, _ = on_terminal("label", "--model", emotion_bundle, folder / "c.wav")
    head, row, *rest = text.splitlines()
    assert code == 0
    assert head.split() == ["file", "start", "end", "emotion", "angry", "happy", "neutral", "sad"]
    assert re.fullmatch(r".*c\.wav +0\.000 +0\.400 +(angry|happy|neutral|sad)( +\d\.\d\d){4}", row)
    assert head.index("emotion") + len("emotion") == re.search(r"(angry|happy|neutral|sad)(?= )", row).end()  # aligned
    assert not rest


def test_a_folder_shows_progress_rows_and_a_summary(folder):
    code, text, _ = on_terminal("label", folder)
    assert code == 1
    assert re.search(r"labelling .*4/4 files", text)
    assert "broken.wav  not audio that can be read" in text
    assert re.search(r"^3 labelled, 1 failed; 1\.2 s in .*real-time factor", text, re.MULTILINE)


def test_the_bar_stays_out_of_the_table_that_goes_elsewhere(folder):
    code, text, table = on_terminal("label", folder, "--ordered", stdout_too=False)
    assert code == 1
    assert re.search(r"wav2small \S+ \(fp32\), \d+ workers", text)
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
    assert text.startswith("file,start,end,arousal,dominance,valence,speech,error\n")


def test_quiet_shows_no_bar_and_no_summary(folder):
    code, text, table = on_terminal("label", folder, "-q", stdout_too=False)
    assert code == 1
    assert text == ""
    assert len(table.splitlines()) == 5
