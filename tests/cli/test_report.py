"""`sertool report`, and `sertool label` with --report and --plot."""

import csv
import re
import shutil

import pytest

from sertool import bundle

SAMPLES = bundle.bundled_folder() / "wav2small" / "samples"


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "Töne und so"
    for number in range(3):
        path = folder / f"s{number}" / f"Ton {number} ä.wav"
        path.parent.mkdir(parents=True)
        shutil.copy(SAMPLES / "plain.wav", path)
    (folder / "broken.wav").write_bytes(b"RIFF")
    return folder


def table_of(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_table_and_its_recordings(command, recordings, tmp_path):
    assert command("label", recordings, "-m", "wav2small", "-o", tmp_path / "labels.csv").code == 1
    answer = command("report", tmp_path / "labels.csv", "--audio", recordings, "-o", tmp_path / "report.html")
    assert answer.code == 0
    assert re.fullmatch(r"wrote \S*report.html: 0\.\d+ MB; open it in a browser\n", answer.err)
    missing = command("report", tmp_path / "labels.csv", "-o", tmp_path / "report.html")
    assert missing.code == 0
    assert "none of the recordings found: name their folder with --audio" in missing.err


def test_a_folder_is_labelled_first_and_continued(command, recordings, tmp_path):
    answer = command("report", recordings, "-m", "wav2small", "-o", tmp_path / "r.html")
    assert answer.code == 1  # one is broken
    assert (tmp_path / "r.html").is_file()
    rows = table_of(tmp_path / "r.csv")
    assert {row["file"] for row in rows} == {"broken.wav", *(f"s{n}/Ton {n} ä.wav" for n in range(3))}
    shutil.copy(recordings / "s0" / "Ton 0 ä.wav", recordings / "new.wav")
    answer = command("report", recordings, "-m", "wav2small", "-o", tmp_path / "r.html")
    assert len(table_of(tmp_path / "r.csv")) == 5
    assert "4 labelled (3 of them before)" in answer.err


def test_embedded_audio_is_named(command, recordings, tmp_path):
    answer = command(
        "label", recordings, "-m", "wav2small", "-o", tmp_path / "l.csv", "--report", tmp_path / "r.html", "--embed"
    )
    assert "MB of audio" in answer.err
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<script type="text/plain" id="a\d+">', text)) == 3


def test_wrong_usage_is_one_line(command, recordings, tmp_path):
    (tmp_path / "a.csv").write_text("file,arousal\na.wav,0.1\n")
    page = tmp_path / "r.html"
    for arguments, reason in (
        ((tmp_path / "a.csv", tmp_path / "a.csv", "-o", page), "one table; --compare"),
        (("--compare", tmp_path / "a.csv", "-o", page), "--compare takes two tables"),
        ((tmp_path / "none.csv", "-o", page), "No such file"),
        ((tmp_path / "a.csv", "-o", tmp_path / "no" / "r.html"), "there is no folder"),
        ((tmp_path / "a.csv", "-o", tmp_path / "a.csv"), "is one of the"),
    ):
        answer = command("report", *arguments)
        assert answer.code == 2
        assert reason in answer.err
        assert answer.err.count("\n") == 1
    answer = command("label", recordings, "--embed")
    assert "--embed is for the page of --report" in answer.err
    assert not page.exists()


def test_plots_of_one_and_of_several(command, recordings, tmp_path):
    one = recordings / "s0" / "Ton 0 ä.wav"
    for model in ("wav2small", "wav2small-emotion"):
        for paths in ((one,), (recordings,)):
            picture = tmp_path / f"{model}.svg"
            command("label", *paths, "-m", model, "--plot", picture, "-o", tmp_path / "l.csv", "--restart")
            text = picture.read_text(encoding="utf-8")
            assert "<svg" in text
            picture.unlink()
    answer = command("label", one, "-m", "wav2small", "--plot", tmp_path / "x.wav")
    assert answer.code == 2
    assert "name it .png, .pdf or .svg" in answer.err


def test_without_labels_there_is_still_a_page(command, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    answer = command(
        "label",
        tmp_path / "broken.wav",
        "-m",
        "wav2small",
        "--report",
        tmp_path / "r.html",
        "--plot",
        tmp_path / "p.png",
    )
    assert answer.code == 1
    assert (tmp_path / "r.html").is_file()
    assert (tmp_path / "p.png").is_file()
