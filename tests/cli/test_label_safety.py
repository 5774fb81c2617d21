"""What `sertool label` must never do: harm a recording, lose rows, report home, obey a file's name."""

import codecs
import csv
import io
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from sertool.labelling.journal import Journal

posix = pytest.mark.skipif(os.name != "posix", reason="names and descriptors of POSIX systems")


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
    code, _, err = command("label", three, "-o", tmp_path / "labels.doc")
    assert code == 2
    assert "no format has this extension (.csv, .eaf, .json, " in err
    assert not (tmp_path / "labels.doc").exists()
    assert command("label", three, "-o", tmp_path / "labels.doc", "--format", "CSV").code == 0


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


@pytest.mark.slow("takes about a second")
def test_nothing_is_left_in_the_home_folder(three, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_"))} | {"HOME": str(home)}
    command = [sys.executable, "-m", "sertool", "label", str(three)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert list(home.rglob("*")) == []


@pytest.mark.slow("takes about a second")
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
    assert "x\\x1b[31m\\n.wav: cannot be read as audio" in err


def test_a_slip_in_the_path_begins_no_table(tmp_path, command):
    code, _, err = command("label", tmp_path / "interveiws", "-o", tmp_path / "labels.csv")
    assert (code, err) == (2, f"sertool: {tmp_path / 'interveiws'}: no such file or folder\n")
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.parametrize("name", ["a\rb.wav", "a\nb.wav", 'a"b.wav', "a,b.wav", "a\r\nb.wav"])
def test_no_name_tears_the_table(three, tmp_path, command, name):
    (three / "a.wav").rename(three / name)
    output = tmp_path / "labels.csv"
    assert command("label", three, "-o", output).code == 0
    with open(output, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(row["file"] for row in rows) == sorted([name, "b1.wav", "b2.wav"])
    pandas = pytest.importorskip("pandas")
    assert sorted(pandas.read_csv(output, lineterminator="\n")["file"]) == sorted([name, "b1.wav", "b2.wav"])


@posix
@pytest.mark.parametrize("replaced", [True, False])
def test_a_table_that_goes_away_meanwhile_is_said_and_resumed(three, tmp_path, command, monkeypatch, replaced):
    from sertool.labelling import job

    output, label_one = tmp_path / "labels.csv", job.label_one

    def meanwhile(*arguments):
        output.unlink(missing_ok=True)
        if replaced:
            output.write_text("another's")
        return label_one(*arguments)

    monkeypatch.setattr(job, "label_one", meanwhile)
    code, _, err = command("label", three, "-o", output)
    assert code == 1
    assert "was deleted or replaced during the run: --resume writes it again" in err
    monkeypatch.undo()
    assert command("label", three, "-o", output, "--resume").code == 0
    assert files_in(output) == ["a.wav", "b1.wav", "b2.wav"]


def test_resume_from_another_folder_lists_every_file_once(three, tmp_path, command, monkeypatch):
    output = tmp_path / "labels.csv"
    monkeypatch.chdir(tmp_path)
    assert command("label", "in/a.wav", "in/b1.wav", "-o", output).code == 0
    monkeypatch.chdir(three)
    assert command("label", "../in/a.wav", "../in/b1.wav", "-o", output, "--resume").code == 0
    assert files_in(output) == ["../in/a.wav", "../in/b1.wav"]


# ---- standard input and output ----------------------------------------------------------------------------------


def given(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.slow("starts processes")
@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "RF64", "W64"])
def test_a_recording_through_a_pipe_is_labelled(clip, tmp_path, command, monkeypatch, form):
    path = clip(tmp_path / "a", 0.5, format=form)
    alone = command("label", path).out.splitlines()[1].partition(",")[2]
    given(monkeypatch, path.read_bytes())
    code, out, _ = command("label", "-")
    assert code == 0
    assert out.splitlines()[1] == f"-,{alone}"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_list_as_windows_writes_it_is_read(three, command, monkeypatch, encoding):
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    given(monkeypatch, mark + f"{three}/a.wav\r\n{three}/b1.wav\r\n".encode(encoding))
    code, out, _ = command("label", "-")
    assert code == 0
    assert len(out.splitlines()) == 3


@pytest.mark.parametrize(
    "data", [b"\x7fELF\2\1\1", bytes(range(256)) * 40, b"PK\3\4\x14\0\x08\x01 x", b"a\0\x01/\0b\x02\0"]
)
def test_what_is_neither_a_list_nor_audio_is_refused(command, monkeypatch, data):
    given(monkeypatch, data)
    code, out, err = command("label", "-")
    assert (code, out) == (2, "")
    assert err == "sertool: standard input is neither a list of files nor audio of a known kind\n"


def test_a_list_holds_no_patterns_and_not_the_whole_disk(three, command, monkeypatch):
    given(monkeypatch, f"{three}/*.wav\n/\n//\n".encode())
    code, out, _ = command("label", "-")
    assert code == 1
    rows = [line.rpartition(",")[2] for line in out.splitlines()[1:]]
    assert sorted(rows) == [
        "no such file or directory",
        "the list names the whole disk",
        "the list names the whole disk",
    ]


@pytest.mark.slow("takes about a second")
@posix
def test_what_libraries_print_does_not_reach_the_table(three, process, tmp_path):
    """libsndfile writes to standard output when an ALAC packet table in a CAF is damaged."""
    plugin = tmp_path / "plugins" / "loud.py"
    plugin.parent.mkdir()
    plugin.write_text("import os\nos.write(1, b'Ooops!\\n')\n")
    environment = {**os.environ, "SERTOOL_PLUGINS_DIR": str(plugin.parent)}
    code, out, _ = process("label", str(three / "a.wav"), env=environment)
    assert code == 0
    assert "Ooops" not in out
    (tmp_path / "alac.caf").write_bytes(_alac_with_a_damaged_table())
    lines = process("label", str(tmp_path / "alac.caf"), str(three / "a.wav")).out.splitlines()
    assert lines[0].startswith("file,start,end")
    assert len(lines) == 3


def _alac_with_a_damaged_table() -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.random.default_rng(0).normal(0, 0.1, 40_000), 16_000, format="CAF", subtype="ALAC_16")
    data = bytearray(stream.getvalue())
    at = data.index(b"pakt") + 12 + 24
    data[at : at + 200] = b"\xff" * 200
    return bytes(data)


# ---- folders ----------------------------------------------------------------------------------------------------


def test_files_that_are_passed_over_are_counted(three, clip, command):
    for name in ("notes.txt", "more.TXT", "sheet.xlsx", "noending", ".hidden.txt"):
        (three / name).write_text("x")
    code, _, err = command("label", three, "-q")
    assert code == 0
    code, _, err = command("label", three)
    assert "skipped files without an audio extension: 2 .txt, 1 " in err
    assert "1 .xlsx" in err
    assert "1 without an ending" in err


@pytest.mark.parametrize("pattern", ["*.WAV", "b*.wav", "B?.Wav"])
def test_glob_does_not_care_about_case(three, command, pattern):
    (three / "b1.wav").rename(three / "B1.WAV")
    out = command("label", three, "--glob", pattern).out
    assert len(out.splitlines()) == 1 + (3 if pattern == "*.WAV" else 2)


@posix
def test_a_name_as_long_as_there_are_ends_no_run(three, tmp_path, clip, command):
    long = "n" * 251 + ".wav"
    (three / "a.wav").rename(three / long)
    output = tmp_path / "labels.csv"
    assert command("label", three, "-o", output).code == 0
    assert command("label", three, "-o", output, "--resume").code == 0
    assert files_in(output) == ["b1.wav", "b2.wav", long]
    code, _, err = command("vad", three, "-o", tmp_path / "grids", "--format", "textgrid")
    assert code == 1
    assert f"{long}: cannot write its file: the name is too long" in err
    assert sorted(path.name for path in (tmp_path / "grids").iterdir()) == ["b1.TextGrid", "b2.TextGrid"]
    code, _, err = command("augment", three, tmp_path / "out", "--with", "gain:p=1")
    assert code == 0
    clip(three / ("m" * 250 + ".flac"), 0.2, format="FLAC")
    clip(three / ("m" * 250 + ".mp3"), 0.2, format="MP3")
    code, _, err = command("augment", three, tmp_path / "more", "--with", "gain:p=1")
    assert code == 1
    assert err.count("the name of the output file is too long") == 2


def test_a_system_without_threads_left_is_one_line(three, command, monkeypatch):

    from sertool.labelling import job

    def none_left(*arguments, **options):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(job, "label_all", none_left)
    code, _, err = command("label", three)
    assert code == 1
    assert err.splitlines()[-1] == "sertool: the system allows no more threads: process fewer files at once with --jobs"
