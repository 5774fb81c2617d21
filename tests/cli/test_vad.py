"""`sertool vad`: the segments that the detector finds, in every format, whatever is among the files."""

import csv
import io
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from sertool import audio
from sertool.bundle import bundled_folder
from sertool.speech.detection import detect
from sertool.speech.detector import probabilities
from sertool.speech.segmenter import Parameters

SPEECH = bundled_folder() / "wav2small" / "samples" / "fast-high.wav"
RATE = 16_000
posix = pytest.mark.skipif(os.name != "posix", reason="signals and /dev as POSIX has them")


@pytest.fixture(scope="module")
def voice():
    """voice(path, seconds of silence before, **how to write): a file with speech in it; its path."""
    speech = audio.read(SPEECH)

    def write(path, pause=1.0, rate=RATE, **how):
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.concatenate(
            [np.zeros(round(pause * RATE), np.float32), speech, np.zeros(RATE, np.float32), speech]
        )
        samples += 1e-4 * np.random.default_rng(0).standard_normal(len(samples), np.float32)
        soundfile.write(path, samples if rate == RATE else audio.resample(samples, RATE, rate), rate, **how)
        return path

    return write


@pytest.fixture
def talks(tmp_path, voice):
    """A folder: two recordings with speech, one without, in sub-folders, under names as people give them."""
    folder = tmp_path / "in"
    voice(folder / "a b.wav", 0.5)
    voice(folder / "sub, dir" / 'ü "q".flac', 2.0)
    (folder / "cover").write_text("no audio by its ending")
    soundfile.write(folder / "z.wav", 0.01 * np.random.default_rng(0).standard_normal(RATE), RATE)
    return folder


NAMES = ["a b.wav", os.path.join("sub, dir", 'ü "q".flac'), "z.wav"]


def segments(path, *parameters):
    """(start, end) in seconds."""
    found = detect(audio.blocks(path), Parameters(*parameters)).segments
    return [(start / RATE, end / RATE) for start, end in found]


def rows(text):
    found = list(csv.reader(io.StringIO(text, newline="")))
    assert found[0] == ["file", "start", "end"]
    return [(file, float(start), float(end)) for file, start, end in found[1:]]


def expected(folder, names=NAMES):
    return [(name, *s) for name in names for s in segments(folder / name)]


def close(got, wanted):
    assert [name for name, *_ in got] == [name for name, *_ in wanted]
    assert len(got) > 1
    np.testing.assert_allclose([times for _, *times in got], [times for _, *times in wanted], atol=6e-7)


def test_csv_has_the_segments_of_each_recording_in_order(talks, command):
    code, out, err = command("vad", talks)
    assert code == 0
    close(rows(out), expected(talks))
    assert "2 with speech, 1 without, 0 failed" in err
    assert command("vad", talks, "--quiet").err == ""


def test_a_single_recording_says_nothing_beside_its_segments(talks, command):
    code, out, err = command("vad", talks / "a b.wav")
    assert (code, err) == (0, "")
    close(rows(out), [(str(talks / "a b.wav"), *s) for s in segments(talks / "a b.wav")])


# Values that change the segments whatever the network: one that never ends, none long enough, no pause long enough.
OPTIONS = {
    "--threshold": ("0.9", (0.9, 0.75)),
    "--lower": ("0", (0.5, 0)),
    "--shortest-speech": ("60", (0.5, 0.35, 60)),
    "--shortest-silence": ("60", (0.5, 0.35, 0.25, 60)),
    "--padding": ("0.2", (0.5, 0.35, 0.25, 0.1, 0.2)),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_does_what_its_parameter_does(tmp_path, voice, command, option):
    path = voice(tmp_path / "a.wav", 0.3)
    value, parameters = OPTIONS[option]
    code, out, _ = command("vad", path, option, value)
    assert code == 0
    np.testing.assert_allclose([row[1:] for row in rows(out)], segments(path, *parameters), atol=6e-7)
    assert segments(path, *parameters) != segments(path)


def test_lower_follows_a_threshold_of_ones_own(tmp_path, voice, command):
    path = voice(tmp_path / "a.wav")
    for threshold, lower in (("0.9", "0.75"), ("0.1", "0.01"), ("0.005", "0.005")):
        followed, said = (command("vad", path, "--threshold", threshold, *more) for more in ([], ["--lower", lower]))
        assert followed == said


def test_help_shows_the_kernels_defaults(command):
    shown = " ".join(command("vad", "--help").out.split())
    for option, value in (
        ("threshold", Parameters.threshold),
        ("lower", Parameters.lower),
        ("shortest-speech", Parameters.shortest_speech_s),
        ("shortest-silence", Parameters.shortest_silence_s),
        ("padding", Parameters.padding_s),
    ):
        assert f"[default: {value:g}" in shown.partition(f"--{option} ")[2][:120]


# ---- formats ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "rttm", "probabilities"])
def test_formats_of_one_output_hold_all_recordings(tmp_path, talks, command, form):
    output = tmp_path / f"o.{form}"
    options = ["--probabilities", "--format", "csv"] if form == "probabilities" else ["--format", form.upper()]
    assert command("vad", talks, *options, "-o", output).code == 0
    text = output.read_text(encoding="utf-8")
    assert command("vad", talks, *options).out == text
    if form == "rttm":
        fields = [line.split(" ") for line in text.splitlines()]
        got = [(f[1], float(f[3]), float(f[3]) + float(f[4])) for f in fields]
        stems = ["a%20b", 'sub,%20dir/ü%20"q"']
        close(got, [(s, *times) for s, name in zip(stems, NAMES, strict=False) for times in segments(talks / name)])
    elif form == "csv":
        close(rows(text), expected(talks))
    else:
        given = {name: [] for name in NAMES}
        for row in csv.DictReader(io.StringIO(text)):
            given[row["file"]].append(float(row["probability"]))
        for name, values in given.items():
            np.testing.assert_allclose(values, probabilities(audio.read(talks / name)), atol=6e-7)


@pytest.mark.parametrize(("form", "ending"), [("audacity", ".txt"), ("textgrid", ".TextGrid")])
def test_formats_of_one_recording_go_into_a_folder_under_its_name(tmp_path, talks, command, form, ending):
    output = tmp_path / "out"
    (talks / "broken.wav").write_text("text")
    code, out, err = command("vad", talks, "--format", form, "-o", output)
    assert (code, out) == (1, "")
    assert "broken.wav: cannot be read as audio" in err
    written = sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())
    assert written == sorted(os.path.splitext(name)[0] + ending for name in NAMES)
    for name in NAMES:
        text = (output / (os.path.splitext(name)[0] + ending)).read_text(encoding="utf-8")
        assert command("vad", talks / name, "--format", form).out == text
        assert text.count("speech") == len(segments(talks / name)) + (form == "textgrid")


@pytest.mark.parametrize(
    ("name", "begins"),
    [("o.csv", "file,"), ("o.RTTM", "SPEAKER "), ("o.txt", "0."), ("o.TextGrid", "File type")],
)
def test_the_outputs_ending_says_the_format(tmp_path, talks, command, name, begins):
    assert command("vad", talks / "a b.wav", "-o", tmp_path / name).code == 0
    assert (tmp_path / name).read_text().startswith(begins)


def test_an_ending_of_ones_own_for_one_recording(tmp_path, talks, command):
    assert command("vad", talks / "a b.wav", "--format", "audacity", "-o", tmp_path / "o.lab").code == 0
    assert (tmp_path / "o.lab").read_text() == command("vad", talks / "a b.wav", "--format", "audacity").out


def test_a_plot_beside_the_segments(tmp_path, talks, command):
    pytest.importorskip("matplotlib")
    code, out, _ = command("vad", talks / "a b.wav", "--plot", tmp_path / "x.png")
    assert code == 0
    assert out == command("vad", talks / "a b.wav").out
    assert (tmp_path / "x.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    (talks / "broken.wav").write_text("text")
    assert command("vad", talks / "broken.wav", "--plot", tmp_path / "y.svg").code == 1
    assert not (tmp_path / "y.svg").exists()


# ---- what is among the files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.5, 25])
@pytest.mark.parametrize("kind", ["zeros", "dither"])
def test_a_silent_file_has_no_segments_and_is_said_to_be_silent(tmp_path, command, kind, seconds):
    n = round(seconds * 44_100)
    samples = np.random.default_rng(0).integers(-1, 2, n) if kind == "dither" else np.zeros(n)
    soundfile.write(tmp_path / "s.wav", samples.astype(np.int16), 44_100)
    code, out, err = command("vad", tmp_path / "s.wav")
    assert (code, rows(out)) == (0, [])
    assert err == f"{tmp_path / 's.wav'}: silent: nothing above -80 dB full scale\n"
    _, out, _ = command("vad", tmp_path / "s.wav", "--format", "textgrid")
    assert out.count("xmin") == 3
    assert 'text = ""' in out


def test_broken_files_are_named_and_the_run_goes_on(tmp_path, talks, clip, process):
    cut = clip(talks / "cut.wav", 1.0)
    cut.write_bytes(cut.read_bytes()[:9999])
    (talks / "empty.wav").touch()
    (talks / "text.mp3").write_text("text\n" * 99)
    code, out, err = process("vad", str(talks), str(tmp_path / "gone.wav"), str(tmp_path / "*.x"))
    assert code == 1
    names = [str(talks / name) for name in NAMES]
    close(rows(out), expected(talks, names))
    lines = err.splitlines()
    for line, (name, reason) in zip(
        lines,
        [
            (talks / "cut.wav", "truncated or damaged"),
            (talks / "empty.wav", "empty: zero bytes"),
            (talks / "text.mp3", "cannot be read as audio"),
            (tmp_path / "gone.wav", "no such file or directory"),
            (tmp_path / "*.x", "no file matches this pattern"),
        ],
        strict=False,
    ):
        assert line.startswith(f"{name}: {reason}")
    assert lines[5].startswith("2 with speech, 1 without, 5 failed; ")
    assert lines[6:] == ["skipped files without an audio extension: 1 without an ending"]
    assert len(lines) == 7


def test_any_rate_and_a_list_on_standard_input(tmp_path, voice, command, monkeypatch):
    paths = [str(voice(tmp_path / f"{rate}.flac", rate=rate)) for rate in (8_000, 44_100)]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(paths).encode())))
    code, out, _ = command("vad", "-")
    assert code == 0
    close(rows(out), [(path, *s) for path in paths for s in segments(path)])


def test_an_empty_folder_is_a_failure_that_is_said(tmp_path, command):
    code, out, err = command("vad", tmp_path)
    assert (code, out) == (1, "")
    assert "no audio files in" in err


# ---- what is refused --------------------------------------------------------------------------------------------

WRONG = [
    ([], "PATH"),
    (["IN", "--threshold", "1.5"], "--threshold"),
    (["IN", "--lower", "0.6"], "lower is 0.6, threshold 0.5"),
    (["IN", "--threshold", "nan"], "threshold"),
    (["IN", "--padding", "-1"], "--padding"),
    (["IN", "--padding", "nan"], "times must be"),
    (["IN", "--format", "ssa"], "there is no 'ssa'"),
    (["IN", "--format", "textgrid"], "writes one file per recording: name a folder with -o"),
    (["IN", "-o", "OUT.TextGrid"], "writes one file per recording: name a folder with -o"),
    (["IN", "-o", "OUT"], "no format has this extension"),
    (["IN", "-o", "IN", "--format", "csv"], "IN is a folder, but must be a file"),
    (["IN", "-o", "IN/cover", "--format", "audacity"], "cover is a file, but must be a folder"),
    (["IN", "-o", "NOWHERE/a.csv"], "there is no folder"),
    (["IN", "-o", "IN/z.wav", "--format", "textgrid"], "is one of the recordings"),
    (["IN/z.wav", "-o", "IN/z.wav", "--format", "csv", "--overwrite"], "is one of the recordings"),
    (["IN", "--plot", "OUT.png"], "--plot draws one channel of one recording"),
    (["IN/z.wav", "--plot", "OUT.wav"], "name it .png"),
    (["IN/z.wav", "--plot", "NOWHERE/a.png"], "there is no folder"),
    (["GONE.wav", "-o", "OUT.csv"], "no such file"),
]


@pytest.mark.parametrize(("arguments", "named"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_wrong_usage_ends_with_2_names_its_cause_and_writes_nothing(
    tmp_path, talks, command, monkeypatch, arguments, named
):
    (tmp_path / "in").rename(tmp_path / "IN")
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, out, err = command("vad", *arguments)
    assert (code, out) == (2, "")
    assert named in err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("output", ["o.csv", "folder"])
def test_output_that_is_there_is_kept_unless_told(tmp_path, talks, command, output):
    target = tmp_path / output
    if output == "folder":
        (target / "sub, dir").mkdir(parents=True)
    corrected = target / "sub, dir" / 'ü "q".TextGrid' if output == "folder" else target
    corrected.write_text("mine")
    call = ["vad", talks, "-o", target] + (["--format", "textgrid"] if output == "folder" else [])
    code, _, err = command(*call)
    assert code == 2
    assert f"{corrected} exists: --overwrite replaces it" in err
    assert corrected.read_text() == "mine"
    assert len([path for path in target.rglob("*") if path.is_file()]) == (output == "folder")
    assert command(*call, "--overwrite").code == 0
    assert corrected.read_text().startswith("fi" if output == "o.csv" else "File type")


def test_annotations_never_replace_a_recording(talks, command):
    (talks / "z.wav").rename(talks / "z.txt")
    before = (talks / "z.txt").read_bytes()
    code, _, err = command(
        "vad", talks / "z.txt", talks / "a b.wav", "-o", talks, "--format", "audacity", "--overwrite"
    )
    assert code == 2
    assert "z.txt is one of the recordings" in err
    assert (talks / "z.txt").read_bytes() == before


# ---- runs that are cut off --------------------------------------------------------------------------------------


@pytest.mark.slow("starts processes")
@posix
@pytest.mark.parametrize("form", ["csv", "textgrid"])
def test_ctrl_c_ends_with_130_and_keeps_what_is_finished(tmp_path, form):
    speech = audio.resample(np.tile(audio.read(SPEECH), 8), RATE, 44_100)
    soundfile.write(tmp_path / "long.flac", speech, 44_100)
    (tmp_path / "in").mkdir()
    for i in range(200):
        os.link(tmp_path / "long.flac", tmp_path / "in" / f"{i:03}.flac")
    output = tmp_path / ("o.csv" if form == "csv" else "out")
    child = subprocess.Popen(
        [sys.executable, "-m", "sertool", "vad", tmp_path / "in", "--format", form, "-o", output, "-j", "1"],
        stderr=subprocess.PIPE,
    )

    def finished():
        if form == "textgrid":
            return sorted(path.stem for path in output.glob("*.TextGrid"))
        return sorted({row[0].removesuffix(".flac") for row in rows(output.read_text() or "file,start,end\n")})

    until = time.monotonic() + 60
    while not output.exists() or len(finished()) < 3:
        assert time.monotonic() < until
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    done = finished()
    assert child.returncode == 130
    assert 3 <= len(done) < 200
    assert done == [f"{i:03}" for i in range(len(done))]
    assert f"interrupted: {len(done)} files done, {200 - len(done)} to go" in err.decode()
    if form == "csv":
        counts = {}
        for name, *_ in rows(output.read_text()):
            counts[name] = counts.get(name, 0) + 1
        assert len(set(counts.values())) == 1  # of each that was begun, all of it
    else:
        assert len({path.read_bytes() for path in output.iterdir()}) == 1
        assert len(list(output.iterdir())) == len(done)


@posix
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_ends_with_3_and_one_line(talks, process):
    with open("/dev/full", "wb") as full:
        code, _, err = process("vad", str(talks), stdout=full)
    assert code == 3
    assert len(err.splitlines()) == 1
    assert "No space left on device" in err
