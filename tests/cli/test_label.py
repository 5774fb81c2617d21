"""`sertool label` as a person, a script and a pipe meet it."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from sertool.bundle import bundled_folder
from sertool.labelling import Labeller, log

NUMBERS = [f"{name}{end}" for name in ("arousal", "dominance", "valence") for end in ("", ".low", ".high")]
COLUMNS = ["file", "start", "end", *NUMBERS, "typical", "speech", "error"]
posix = pytest.mark.skipif(os.name != "posix", reason="signals, /dev and links as POSIX has them")


def read_csv(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def table_in(path):
    """Rows of a table file, as sorted lists of values that can be compared between formats."""
    if path.suffix == ".parquet":
        rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        with open(path, newline="") as stream:
            rows = [
                {k: None if not v else v if k in ("file", "error") else float(v) for k, v in row.items()}
                for row in csv.DictReader(stream)
            ]
    assert all(list(row) == COLUMNS for row in rows)
    return sorted(rows, key=lambda row: (row["file"], row["start"] or 0))


def standard_input(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.fixture
def three(tmp_path, clip):
    """A folder with three short clips."""
    for i in range(3):
        clip(tmp_path / "in" / f"{i}.wav", 0.1 * (i + 1), seed=i)
    return tmp_path / "in"


@pytest.mark.slow("starts processes")
def test_each_of_a_thousand_files_gives_exactly_one_row_though_every_tenth_is_broken(tmp_path, clip, process):
    clips = [clip(tmp_path / f"{i}.wav", 0.1, seed=i).read_bytes() for i in range(5)]
    folder = tmp_path / "in"
    for i in range(1000):
        path = folder / f"{i // 100}" / f"{i:03}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"broken" if i % 10 == 7 else clips[i % 5])
    code, out, err = process("label", str(folder))
    rows = read_csv(out)
    assert code == 1
    assert out.startswith(",".join(COLUMNS) + "\n")
    assert sorted(row["file"] for row in rows) == [os.path.join(f"{i // 100}", f"{i:03}.wav") for i in range(1000)]
    by_clip = {}
    for row in rows:
        i = int(row["file"].split(os.sep)[1][:3])
        assert bool(row["error"]) == (i % 10 == 7) == (not row["arousal"])
        if not row["error"]:
            by_clip.setdefault(i % 5, set()).add((row["arousal"], row["dominance"], row["valence"]))
    assert sum(bool(row["error"]) for row in rows) == 100
    assert [len(found) for found in by_clip.values()] == [1] * 5  # one clip, one label, wherever it lies
    assert "900 labelled, 100 failed" in err
    assert "... and 95 more" in err


def test_the_command_writes_what_the_function_returns(three, command):
    code, out, _ = command("label", three, "--windows", "--window", "0.1", "--ordered", "--no-vad")
    rows = read_csv(out)
    labeller = Labeller(window=0.1, vad=False)
    expected = [(p.name, r) for p in sorted(three.iterdir()) for r in list(labeller.windows(p))]
    assert code == 0
    assert len(rows) == len(expected) == 1 + 2 + 3
    for row, (name, label) in zip(rows, expected, strict=True):
        assert row["file"] == name
        for column in ("start", "end", "arousal", "dominance", "valence"):
            assert float(row[column]) == pytest.approx(label[column], abs=6e-7)


def test_ordered_gives_the_rows_in_the_order_of_the_files(tmp_path, clip, command):
    for i in range(30):  # the first take longest
        clip(tmp_path / "in" / f"{i:02}.wav", 1.0 if i < 4 else 0.05, seed=i)
    _, out, _ = command("label", tmp_path / "in", "--ordered", "--jobs", "4")
    assert [row["file"] for row in read_csv(out)] == [f"{i:02}.wav" for i in range(30)]


def test_csv_jsonl_and_parquet_hold_the_same_rows(tmp_path, three, command):
    (three / "broken.wav").write_text("broken")
    tables = {}
    for form in ("csv", "jsonl", "parquet"):
        if form == "parquet":
            pytest.importorskip("pyarrow")
        assert command("label", three, "-o", tmp_path / f"labels.{form}").code == 1
        tables[form] = table_in(tmp_path / f"labels.{form}")
    assert tables["csv"] == tables["jsonl"] == tables["parquet"]
    assert [row["file"] for row in tables["csv"]] == ["0.wav", "1.wav", "2.wav", "broken.wav"]


def test_format_goes_before_the_outputs_ending(tmp_path, three, command):
    command("label", three, "--format", "jsonl", "-o", tmp_path / "labels.csv")
    assert list(json.loads((tmp_path / "labels.csv").read_text().splitlines()[0])) == COLUMNS


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_a_list_on_standard_input(three, command, monkeypatch, end):
    paths = [str(three / f"{i}.wav") for i in range(3)]
    standard_input(monkeypatch, b"".join(os.fsencode(path) + end for path in paths))
    code, out, _ = command("label", "-", "--ordered")
    assert code == 0
    assert [row["file"] for row in read_csv(out)] == paths


@posix
def test_a_path_with_a_line_feed(three, clip, command, monkeypatch):
    path = str(clip(three / "two\nlines.wav", 0.1))
    standard_input(monkeypatch, os.fsencode(path) + b"\0" + os.fsencode(three / "0.wav") + b"\0")
    code, out, _ = command("label", "-", "--ordered")
    assert code == 0
    assert [row["file"] for row in read_csv(out)] == [path, str(three / "0.wav")]


@pytest.mark.slow("starts processes")
@posix
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_names_that_are_not_utf_8_are_shown_with_their_bytes(tmp_path, clip, command, form):
    clip(tmp_path / "in" / os.fsdecode(b"caf\xe9.wav"), 0.5)
    cut = clip(tmp_path / "in" / os.fsdecode(b"cut\xe9.wav"), 0.5)
    cut.write_bytes(cut.read_bytes()[:5000])
    output = tmp_path / f"labels.{form}"
    code, _, err = command("label", tmp_path / "in", "-o", output)
    rows = table_in(output)
    assert code == 1
    assert [row["file"] for row in rows] == ["caf\\xe9.wav", "cut\\xe9.wav"]
    assert "cut\\xe9.wav" in rows[1]["error"]
    assert "cut\\xe9.wav: truncated" in err
    assert command("label", tmp_path / "in", "-o", output, "--resume").err.count("1 of them before") == 1


@pytest.mark.slow("starts processes")
def test_bad_input_is_a_row_with_its_reason_and_never_a_traceback(tmp_path, clip, tone, process):
    folder = tmp_path / "in"
    reasons = {
        "good.wav": None,
        "cut.wav": "truncated or damaged: ",
        "empty.wav": "empty: zero bytes",
        "nan.wav": "NaN or infinity at 0.100 s",
        "none.wav": "empty: the file holds no audio",
        "short.wav": "too short: 20 samples",
        "silent.wav": "silent: ",
        "text.mp3": "cannot be read as audio",
        "text.m4a": "cannot decode MP4",
    }
    clip(folder / "good.wav", 0.2)
    cut = clip(folder / "cut.wav", 1.0)
    cut.write_bytes(cut.read_bytes()[:9999])
    (folder / "empty.wav").touch()
    samples = tone(0.2)
    samples[1600] = np.nan
    soundfile.write(folder / "nan.wav", samples, 16_000, subtype="FLOAT")
    soundfile.write(folder / "none.wav", np.zeros(0), 16_000)
    soundfile.write(folder / "short.wav", tone(0.2)[:20], 16_000)
    soundfile.write(folder / "silent.wav", np.zeros(16_000), 16_000)
    (folder / "text.mp3").write_text("text\n" * 99)
    (folder / "text.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + b"no audio " * 99)
    if os.name == "posix":
        (folder / "link.wav").symlink_to(tmp_path / "gone")
        (folder / "loop.wav").symlink_to(folder / "loop.wav")
        os.mkfifo(folder / "pipe.wav")
        reasons |= {"link.wav": "no such file", "loop.wav": "too many levels", "pipe.wav": "not a regular file"}
    given = {os.path.join(str(folder), name): reason for name, reason in reasons.items()}
    given |= {str(tmp_path / "gone.wav"): "no such file or directory", str(tmp_path / "*.x"): "no file matches"}
    code, out, err = process("label", str(folder), str(tmp_path / "gone.wav"), str(tmp_path / "*.x"))
    rows = {row["file"]: row for row in read_csv(out)}
    assert code == 1
    assert rows.keys() == given.keys()
    for name, reason in given.items():
        if reason is None:
            assert not rows[name]["error"]
            assert rows[name]["arousal"]
        else:
            assert rows[name]["error"].startswith(reason)
            assert not rows[name]["arousal"]
            assert not rows[name]["end"]
    assert f"1 labelled, {len(given) - 1} failed" in err


@pytest.fixture(scope="module")
def silence(tmp_path_factory):
    """Digital zeros and 16-bit dither, shorter and longer than a window, at 16 and 44.1 kHz: a folder."""
    folder = tmp_path_factory.mktemp("silence")
    rng = np.random.default_rng(0)
    for seconds in (0.01, 1, 8.5, 21):
        for rate in (16_000, 44_100):
            n = round(seconds * rate)
            triangular = rng.integers(-1, 1, (2, n), endpoint=True).sum(axis=0)  # at most 2 steps
            for kind, samples in (("zeros", np.zeros(n)), ("dither", triangular)):
                soundfile.write(folder / f"{kind}-{seconds}-{rate}.wav", samples.astype(np.int16), rate)
    return folder


@pytest.mark.slow("starts processes")
@pytest.mark.parametrize("windows", [[], ["--windows"]], ids=["files", "windows"])
@pytest.mark.parametrize("vad", [[], ["--no-vad"]], ids=["vad", "no-vad"])
def test_the_silence_of_a_silent_file_is_reported_not_labelled(silence, command, vad, windows):
    code, out, err = command("label", silence, *vad, *windows)
    rows = read_csv(out)
    assert (code, len(rows)) == (1, 16)
    for row in rows:
        assert row["error"] == "silent: nothing above -80 dB full scale", row["file"]
        assert not any(row[name] for name in COLUMNS if name not in ("file", "error"))
    assert "0 labelled, 16 failed" in err


WRONG = [
    (["label"], "PATH"),
    (["label", "IN", "--bogus"], "--bogus"),
    (["label", "IN", "--window", "0"], "--window"),
    (["label", "IN", "--window", "0.001"], "window 0.001 s"),
    (["label", "IN", "--window", "inf"], "window inf s"),
    (["label", "IN", "--jobs", "0"], "--jobs"),
    (["label", "IN", "--format", "xml"], "xml"),
    (["label", "IN", "--format", "parquet"], "-o labels.parquet"),
    (["label", "IN", "--resume"], "-o labels.csv"),
    (["label", "IN", "--restart"], "-o labels.csv"),
    (["label", "IN", "-o", "OUT", "--resume", "--restart"], "exclude each other"),
    (["label", "IN", "-o", "NOWHERE"], "there is no folder"),
    (["label", "IN", "-o", "IN"], "is a folder: choose a format"),
    (["label", "IN", "-m", "no-such-model"], "no-such-model"),
    (["label", "IN", "--variant", "int7"], "int7"),
    (["no-such-command"], "no-such-command"),
]


@pytest.mark.parametrize(("arguments", "named"), WRONG, ids=[" ".join(a) for a, _ in WRONG])
def test_wrong_usage_ends_with_2_names_its_cause_and_writes_nothing(tmp_path, three, command, arguments, named):
    there = {"IN": str(three), "OUT": str(tmp_path / "t.csv"), "NOWHERE": str(tmp_path / "nowhere" / "t.csv")}
    code, out, err = command(*(there.get(a, a) for a in arguments))
    assert (code, out) == (2, "")
    assert named in err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_exit_codes_of_runs_that_end(tmp_path, three, command):
    assert command("label", three).code == 0
    (three / "z.wav").touch()
    assert command("label", three).code == 1
    assert command("label", three / "gone.wav").code == 1


def test_an_empty_folder_is_a_failure_that_is_said(tmp_path, command):
    code, out, err = command("label", tmp_path)
    assert (code, out) == (1, "")
    assert "no audio files in" in err


def test_quiet_says_nothing_and_the_table_everything(three, command):
    (three / "z.wav").touch()
    code, out, err = command("label", three, "--quiet")
    assert (code, err) == (1, "")
    assert len(read_csv(out)) == 4


def test_an_existing_output_is_kept_unless_told(tmp_path, three, command):
    output = tmp_path / "labels.csv"
    output.write_text("mine\n")
    for more in ([], ["--resume"]):  # there is no journal: it is none of sertool's
        code, _, err = command("label", three, "-o", output, *more)
        assert code == 2
        assert "--restart" in err
        assert output.read_text() == "mine\n"
    assert command("label", three, "-o", output, "--restart").code == 0
    assert len(table_in(output)) == 3
    assert command("label", three, "-o", output).code == 2


@pytest.mark.slow("starts processes")
@posix
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("to", ["standard output", "file"])
def test_a_full_disk_ends_with_3_and_one_line(tmp_path, three, process, to):
    if to == "file":
        (tmp_path / "labels.csv").symlink_to("/dev/full")
        code, _, err = process("label", str(three), "-o", str(tmp_path / "labels.csv"), "--restart")
    else:
        with open("/dev/full", "wb") as full:
            code, _, err = process("label", str(three), stdout=full)
    assert code == 3
    assert len(err.splitlines()) == 1
    named = str(tmp_path / "labels.csv") if to == "file" else "cannot write the output"
    assert err == f"sertool: {named}: No space left on device\n"


@pytest.mark.slow("takes about a second")
@posix
def test_a_reader_that_leaves_early_leaves_no_traceback(tmp_path, clip):
    first = clip(tmp_path / "in/000.wav", 0.1)
    for i in range(1, 3000):  # more rows than a pipe holds
        os.link(first, tmp_path / f"in/{i:04}.wav")
    child = subprocess.Popen(
        [sys.executable, "-m", "sertool", "label", tmp_path / "in"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout.readline().decode() == ",".join(COLUMNS) + "\n"
    child.stdout.close()
    err = child.stderr.read().decode()
    child.stderr.close()
    assert (child.wait(60), err) == (141, "")  # as a shell reports one that SIGPIPE ended


# Runs that are cut off


@pytest.fixture(scope="module")
def many(tmp_path_factory, clip):
    """250 recordings of 0.7 to 0.9 s (links to a few), two of which are broken, and the rows of an unbroken run."""
    folder = tmp_path_factory.mktemp("many")
    clips = [clip(folder / "clips" / f"{i}.wav", 0.7 + 0.05 * i, seed=i) for i in range(5)]
    (folder / "in").mkdir()
    for i in range(250):
        os.link(clips[i % 5], folder / "in" / f"{i:03}.wav")
    for name in ("000.wav", "100.wav"):
        (folder / "in" / name).unlink()
        (folder / "in" / name).write_bytes(b"broken")
    output = folder / "unbroken.jsonl"
    subprocess.run([sys.executable, "-m", "sertool", "label", folder / "in", "-q", "-o", output], timeout=120)
    rows = table_in(output)
    assert len(rows) == 250
    return folder / "in", rows


def cut_off(folder, output, number):
    """Label until a few rows are there, then send the signal; (exit code, standard error)."""
    child = subprocess.Popen(
        [sys.executable, "-m", "sertool", "label", folder, "-o", output, "-j", "1"],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # nohup has it ignored, and so would sertool
    )
    until = time.monotonic() + 60
    while not output.exists() or output.read_bytes().count(b"\n") < 6:
        assert time.monotonic() < until
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    return child.returncode, err.decode()


@pytest.mark.slow("starts processes")
@posix
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_sigint_ends_with_130_says_how_to_go_on_and_resume_completes_the_table(tmp_path, many, command, form):
    folder, unbroken = many
    output = tmp_path / f"labels.{form}"
    code, err = cut_off(folder, output, signal.SIGINT)
    assert code == 130
    assert "Traceback" not in err
    rows = table_in(output)  # whole rows only
    assert 5 <= len(rows) < 250
    assert f"interrupted: {len(rows)} files done, {250 - len(rows)} to go; add --resume to the same command" in err
    labelled = sum(row["error"] is None for row in rows)

    code, _, err = command("label", folder, "-o", output, "--resume")
    assert code == 1  # for the two that are broken
    assert f"248 labelled ({labelled} of them before), 2 failed" in err
    assert table_in(output) == unbroken


@pytest.mark.slow("starts processes")
@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_that_end_a_run_leave_whole_rows_and_a_summary(tmp_path, many, command, number):
    folder, unbroken = many
    output = tmp_path / "labels.csv"
    code, err = cut_off(folder, output, number)
    assert code == 130
    assert f"interrupted: {len(table_in(output))} files done" in err
    assert command("label", folder, "-o", output, "--resume").code == 1
    assert table_in(output) == unbroken


@pytest.mark.slow("starts processes")
@posix
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_after_sigkill_resume_completes_the_table(tmp_path, many, command, form):
    folder, unbroken = many
    output = tmp_path / f"labels.{form}"
    code, _ = cut_off(folder, output, signal.SIGKILL)
    assert code == -signal.SIGKILL
    found = [one for one in log.read(output.with_name(output.name + ".journal")) if one]
    labelled = sum(isinstance(one.thing, log.Entry) and not one.thing.failed for one in found)
    assert 4 <= labelled < 248

    code, _, err = command("label", folder, "-o", output, "--resume")
    assert code == 1
    assert f"248 labelled ({labelled} of them before), 2 failed" in err
    assert table_in(output) == unbroken


@pytest.mark.slow("starts processes")
@posix
def test_sigint_while_resuming_loses_nothing(tmp_path, many, command):
    folder, unbroken = many
    output = tmp_path / "labels.csv"
    cut_off(folder, output, signal.SIGKILL)
    shutil.copy(output.with_name("labels.csv.journal"), tmp_path / "before")
    done = len(list(log.read(tmp_path / "before"))) - 1
    child = subprocess.Popen(
        [sys.executable, "-m", "sertool", "label", folder, "-o", output, "-j", "1", "--resume"],
        stderr=subprocess.DEVNULL,
    )
    while output.read_bytes().count(b"\n") < done + 3 and child.poll() is None:
        time.sleep(0.005)
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 130
    assert len(list(log.read(output.with_name("labels.csv.journal")))) - 1 > done
    code, _, _ = command("label", folder, "-o", output, "--resume")
    assert code == 1
    assert table_in(output) == unbroken


def test_resume_labels_a_changed_file_and_only_that(tmp_path, three, clip, command):
    output = tmp_path / "labels.csv"
    command("label", three, "-o", output)
    before = table_in(output)
    clip(three / "1.wav", 0.4, seed=77)
    code, _, err = command("label", three, "-o", output, "--resume")
    after = table_in(output)
    assert code == 0
    assert "3 labelled (2 of them before)" in err
    assert (after[0], after[2]) == (before[0], before[2])
    assert (after[1]["end"], before[1]["end"]) == (0.4, 0.2)


def test_resume_labels_files_that_failed_before_and_those_that_are_new(tmp_path, three, clip, command):
    output = tmp_path / "labels.csv"
    (three / "1.wav").write_text("broken")
    assert command("label", three, "-o", output).code == 1
    clip(three / "1.wav", 0.2, seed=1)
    clip(three / "new.wav", 0.2, seed=4)
    code, _, err = command("label", three, "-o", output, "--resume")
    assert code == 0
    assert "4 labelled (2 of them before), 0 failed" in err
    assert [(row["file"], row["error"]) for row in table_in(output)] == [
        (name, None) for name in ("0.wav", "1.wav", "2.wav", "new.wav")
    ]


def test_resume_drops_the_row_of_a_file_that_is_gone(tmp_path, three, command):
    output = tmp_path / "labels.csv"
    command("label", three, "-o", output)
    (three / "1.wav").unlink()
    assert command("label", three, "-o", output, "--resume").code == 0
    assert [row["file"] for row in table_in(output)] == ["0.wav", "2.wav"]


def test_a_table_for_a_person_loads_no_plugins(three, command, monkeypatch):
    def refuse():
        raise AssertionError

    monkeypatch.setattr("sertool.plugins.load_plugins", refuse)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    answer = command("label", three / "0.wav", "-m", "wav2small", "--no-vad")
    assert (answer.code, answer.out.split()[:3]) == (0, ["file", "start", "end"])
    with pytest.raises(AssertionError):
        command("label", three / "0.wav", "-m", "wav2small", "--no-vad", "--format", "csv")


@pytest.mark.slow("starts processes")
@pytest.mark.parametrize(
    ("option", "named"), [(["--window", "0.1"], "window"), (["--hop", "4"], "hop"), (["--windows"], "by")]
)
def test_resume_with_other_settings_is_refused_and_names_them(tmp_path, three, command, option, named):
    output = tmp_path / "labels.csv"
    command("label", three, "-o", output)
    before = output.read_bytes()
    code, _, err = command("label", three, "-o", output, "--resume", *option)
    assert code == 2
    assert named in err
    assert "--restart" in err
    assert output.read_bytes() == before


def test_resume_with_another_model_is_refused(tmp_path, three, command, bundle_copy):
    output = tmp_path / "labels.csv"
    command("label", three, "-o", output)
    manifest = json.loads((bundle_copy / "bundle.json").read_text())
    (bundle_copy / "bundle.json").write_text(json.dumps({**manifest, "version": "9.9"}))
    code, _, err = command("label", three, "-o", output, "--resume", "-m", bundle_copy)
    assert code == 2
    assert "made with model = " in err
    assert "9.9" in err


# What it is made of


@posix
def test_on_a_terminal_a_table_that_a_person_can_read(three):
    import pty

    parent, child = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "sertool", "label", three / "0.wav"], stdout=child, stderr=subprocess.PIPE, timeout=60
    )
    os.close(child)
    lines = os.read(parent, 10_000).decode().splitlines()
    os.close(parent)
    assert done.returncode == 0
    assert lines[0].split() == ["file", "start", "end", "arousal", "dominance", "valence", "typical", "speech"]
    assert lines[1].split()[:3] == [str(three / "0.wav")[-47:].rjust(48, "…"), "0.000", "0.100"]
    assert len(lines) == 2


def modules_after(*arguments):
    """Names of the modules that a process has imported when the command is done."""
    script = (
        "import sys\nfrom sertool.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, timeout=60, check=True)
    return set(done.stderr.decode().split())


@pytest.mark.slow("starts processes")
@pytest.mark.parametrize("runtime", ["onnx", "native"])
def test_labelling_imports_what_runs_the_model_and_no_training_library(three, native_bundle, runtime):
    modules = modules_after("label", three, "--quiet", "-m", native_bundle(), "--runtime", runtime)
    assert ("onnxruntime" in modules) == (runtime == "onnx")
    heavy = {"torch", "onnx", "transformers", "timm", "librosa", "scipy", "av", "pyarrow", "rich"}
    assert not modules & heavy


def test_the_runtime_is_chosen_and_named(three, native_bundle, command, tmp_path):
    found = {}
    for options in ([], ["--runtime", "native"], ["--runtime", "onnx"], ["--variant", "native-int8"]):
        output = tmp_path / f"{len(found)}.jsonl"
        assert command("label", three, "-m", native_bundle(), "-o", output, "--ordered", "-q", *options).code == 0
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        found[len(found)] = np.array([[row[name] for name in ("arousal", "dominance", "valence")] for row in rows])
    default, native, onnx, small = found.values()
    assert np.array_equal(default, native)
    assert 0 <= np.abs(native - onnx).max() < 1e-5
    assert 1e-5 < np.abs(native - small).max() < 0.05


def test_a_runtime_that_a_bundle_has_nothing_for_is_one_line(three, native_bundle, command):
    code, out, err = command("label", three, "-m", native_bundle() / "model.onnx", "--runtime", "native")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        f"sertool: {native_bundle()}/model.onnx: no variant is for runtime native (there are: fp32 (onnx))"
    ]
    assert command("label", three, "-m", native_bundle(), "--runtime", "tflite").code == 2


@pytest.mark.parametrize("arguments", [["--help"], ["label", "--help"], ["--version"]], ids=" ".join)
def test_help_imports_neither_numpy_nor_onnxruntime_nor_torch(arguments):
    modules = modules_after(*arguments)
    assert "click" in modules
    assert not modules & {"numpy", "onnxruntime", "torch", "soundfile", "soxr", "rich"}


def peak_mb(*arguments):
    """Largest resident memory of a process that runs the command, in MB, as that process saw it.

    Not what wait4 says: on Linux that counts what the parent held when it forked.
    """
    script = (
        "import sys\nfrom sertool.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "status = dict(line.split(':') for line in open('/proc/self/status'))\n"
        "print(status['VmHWM'].split()[0], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, timeout=120, check=True)
    return int(done.stderr.split()[-1]) / 1024


@pytest.mark.slow("starts processes")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_long_recording_takes_no_more_memory_than_a_short_one(tmp_path):
    voice, rate = soundfile.read(bundled_folder() / "wav2small" / "samples" / "plain.wav", dtype="int16")
    minute = np.tile(voice, 60 * rate // len(voice))
    soundfile.write(tmp_path / "1.wav", minute, rate)
    soundfile.write(tmp_path / "20.wav", np.tile(minute, 20), rate)
    short = peak_mb("label", tmp_path / "1.wav", "-q")
    assert peak_mb("label", tmp_path / "20.wav", "-q") <= short + 60
