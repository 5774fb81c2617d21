"""What `sertool label` must never do: harm a recording, lose rows, report home, obey a file's name."""

import os
import subprocess
import sys

import pytest

from sertool.labelling.journal import Journal


@pytest.fixture
def three(tmp_path, clip):
    for name in ("a.wav", "b1.wav", "b2.wav"):
        clip(tmp_path / "in" / name, 0.2)
    return tmp_path / "in"


def files_in(path):
    return sorted(line.partition(",")[0] for line in path.read_text().splitlines()[1:])


def test_an_output_that_is_one_of_the_recordings_is_refused(three, command):
    before = (three / "a.wav").read_bytes()
    code, _, err = command("label", three, "-o", three / "a.wav", "--restart", "--format", "csv")
    assert code == 2
    assert "is one of the recordings" in err
    assert (three / "a.wav").read_bytes() == before


def test_an_ending_that_names_no_format_is_refused(three, tmp_path, command):
    code, _, err = command("label", three, "-o", tmp_path / "labels.xlsx")
    assert code == 2
    assert "name it .csv, .jsonl or .parquet" in err
    assert not (tmp_path / "labels.xlsx").exists()
    assert command("label", three, "-o", tmp_path / "labels.txt", "--format", "CSV").code == 0


def test_resume_with_fewer_files_keeps_the_rows_of_the_others(three, tmp_path, command):
    output = tmp_path / "labels.csv"
    assert command("label", three, "-o", output).code == 0
    code, _, err = command("label", three, "-o", output, "--resume", "--glob", "b*")
    assert code == 0
    assert "3 labelled (3 of them before)" in err
    assert files_in(output) == ["a.wav", "b1.wav", "b2.wav"]
    (three / "a.wav").unlink()
    assert command("label", three, "-o", output, "--resume", "--glob", "b*").code == 0
    assert files_in(output) == ["b1.wav", "b2.wav"]


@pytest.mark.skipif(os.name != "posix", reason="files are locked on POSIX systems only")
def test_two_runs_cannot_write_one_output(three, tmp_path, command):
    output = tmp_path / "labels.csv"
    held = Journal(output, {"model": "m"}, "new")
    for option in ("--resume", "--restart"):
        code, _, err = command("label", three, "-o", output, option)
        assert (code, err) == (2, "sertool: another sertool is writing labels.csv\n")
    held.close()
    assert command("label", three, "-o", output, "--restart").code == 0


def test_nothing_is_left_in_the_home_folder(three, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_"))} | {"HOME": str(home)}
    command = [sys.executable, "-m", "sertool", "label", str(three)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert list(home.rglob("*")) == []


def test_decoders_do_not_write_to_the_terminal(tmp_path, encode, tone, process):
    """libmpg123 remarks on a cut MP3 by itself, on file descriptor 2."""
    path = encode(tmp_path / "cut.mp3", tone(3.0, 44_100), 44_100, "libmp3lame", "mp3", 128_000)
    path.write_bytes(path.read_bytes()[:20_000])
    code, _, err = process("label", str(path))
    assert code == 1
    assert err.splitlines()[0].startswith(f"{path}: truncated or damaged: ")
    assert err.splitlines()[1:] == ["0 labelled, 1 failed"]


def test_control_characters_in_names_are_spelt_out(tmp_path, command):
    path = tmp_path / "x\x1b[31m\n.wav"
    path.write_text("text")
    _, _, err = command("label", path)
    assert "\x1b" not in err
    assert "x\\x1b[31m\\n.wav: not audio" in err


def test_a_slip_in_the_path_begins_no_table(tmp_path, command):
    code, _, err = command("label", tmp_path / "interveiws", "-o", tmp_path / "labels.csv")
    assert (code, err) == (2, f"sertool: {tmp_path / 'interveiws'}: no such file or folder\n")
    assert list(tmp_path.iterdir()) == []
