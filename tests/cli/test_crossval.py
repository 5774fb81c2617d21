"""`sertool crossval`: what it lists, shows and writes, and what it says where it cannot."""

import csv
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile

CLASSES = ("angry", "happy", "neutral", "sad")


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """A corpus of four speakers in three sessions, two clips of each class from each."""
    root, rng = tmp_path_factory.mktemp("voices"), np.random.default_rng(0)
    with open(root / "manifest.csv", "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "corpus", "speaker", "session", "emotion"])
        for speaker, session in enumerate("1123"):
            for number, emotion in enumerate(CLASSES * 2):
                time = np.arange(3_000) / 16_000
                samples = 0.2 * np.sin(2 * np.pi * 200 * (1 + number) * time) + 0.01 * rng.standard_normal(len(time))
                soundfile.write(root / f"{speaker}-{number}.wav", samples, 16_000)
                table.writerow([f"{speaker}-{number}.wav", "acted", speaker, session, emotion])
    return root


@pytest.fixture
def arguments(voices, tmp_path):
    """arguments(*overrides): of a small recipe on the voices."""

    def make(*overrides, model="wav2small-emotion", root=voices):
        path = tmp_path / "small.toml"
        path.write_text(f'[model]\nname = "{model}"\n')
        train = {"steps": 2, "batch": 4, "validate_every": 2, "shortest_s": 0.1, "longest_s": 0.15, "warmup": 1}
        train |= {"threads": 1, "workers": 0}
        own = [f"data.root={root}", *(f"train.{key}={value}" for key, value in train.items()), *overrides]
        return ["crossval", str(path), *(part for override in own for part in ("--set", override))]

    return make


def test_folds_are_listed_without_training(arguments, command, tmp_path):
    answer = command(*arguments(), "--list", "-o", tmp_path / "run")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines() == [
        "1: 8 train, 8 validate, 16 test",
        "2: 16 train, 8 validate, 8 test",
        "3: 8 train, 16 validate, 8 test",
        "",
        "clips         angry  happy  neutral    sad  all",
        "acted             8      8        8      8   32",
        "weight, 1     1.000  1.000    1.000  1.000",
        "weight, 2     1.000  1.000    1.000  1.000",
        "weight, 3     1.000  1.000    1.000  1.000",
        "weight, mean  1.000  1.000    1.000  1.000",
    ]
    assert not (tmp_path / "run").exists()
    answer = command(*arguments("folds.by=speaker"), "--list")
    assert [line.split(":")[0] for line in answer.out.splitlines()[:4]] == ["0", "1", "2", "3"]
    answer = command(*arguments(), "--show", "--set", "folds.by=speaker")
    assert json.loads(answer.out)["folds"] == {"by": "speaker", "number": 0, "always": []}


@pytest.mark.slow("trains or exports a network")
def test_folds_run_one_by_one_and_the_last_one_brings_the_table(arguments, command, tmp_path):
    run = tmp_path / "run"
    answer = command(*arguments(), "-o", run, "--only", "3", "--only", "1")
    assert answer.code == 0, answer.err
    assert [line.split(",")[0] for line in answer.out.splitlines()] == ["fold 1 (1 of 3)", "fold 3 (3 of 3)"]
    assert not (run / "results.json").exists()
    answer = command(*arguments(), "-o", run)
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert [line.endswith(", from an earlier run") for line in lines[:3]] == [True, False, True]
    assert "speakers apart; mean ± standard deviation over 3 folds" in lines
    assert "| true / predicted | angry | happy | neutral | sad | clips |" in lines
    assert lines[-1] == f"wrote {run / 'results.json'}, predictions.csv and confusion.csv"
    found = json.loads((run / "results.json").read_text())
    for name, line in zip("123", lines, strict=False):
        figures = {key: value["value"] for key, value in found["folds"][name]["overall"]["measures"].items()}
        assert f"clips: WA {figures['WA']:.3f}, UA {figures['UA']:.3f}, macro-F1 {figures['macro-F1']:.3f}" in line
    assert {path.name for path in run.iterdir()} == {
        *("results.json", "predictions.csv", "confusion.csv", "confusion.png", "fold-1", "fold-2", "fold-3")
    }
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    again = command(*arguments(), "-o", run)
    assert again.out.splitlines()[3:] == lines[3:]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.slow("starts processes")
def test_another_run_stands_beside_it_and_one_that_leaks_says_so(arguments, command, tmp_path):
    first, second, leak = tmp_path / "one" / "run", tmp_path / "two" / "run", tmp_path / "leak"
    assert command(*arguments(), "-o", first).code == 0
    answer = command(*arguments("train.seed=1"), "-o", second, "--against", first)
    assert answer.code == 0, answer.err
    assert f"| measure | {first} | {second} | gain, points | deviation |" in answer.out  # one name would be one column
    answer = command(*arguments("folds.number=3"), "-o", leak, "--random-split", "--against", first)
    assert answer.code == 0, answer.err
    assert answer.err.count("speakers are in several parts, so these figures are too high") == 1
    assert "| measure | run | leak (leaks) | gain, points | deviation |" in answer.out
    means = [
        json.loads((run / "results.json").read_text())["summary"]["recipes"][run.name]["measures"]["UA"]["mean"]
        for run in (first, leak)
    ]
    (line,) = [line for line in answer.out.splitlines() if line.startswith("| UA |")]
    assert line.split(" | ")[3] == f"{100 * (means[1] - means[0]):+.1f}"
    answer = command(*arguments(), "-o", first, "--against", leak)
    assert "| measure | leak (leaks) | run | gain, points | deviation |" in answer.out


@pytest.mark.slow("starts processes")
def test_a_baseline_is_the_recipe_with_a_change_and_goes_on_where_it_was(arguments, command, tmp_path):
    """Table II of arXiv 2512.23435 in one command: without CREMA-D, with it, and the gain."""
    run = tmp_path / "run"
    answer = command(*arguments(), "-o", run, "--baseline", "train.seed=1")
    assert answer.code == 0, answer.err
    assert "| measure | baseline | run | gain, points | deviation |" in answer.out
    said = [line.split(" (")[0] for line in answer.out.splitlines()[:6]]
    assert said == [f"{part}fold {n}" for part in ("baseline, ", "") for n in "123"]
    seeds = [
        json.loads((folder / "results.json").read_text())["recipe"]["train"]["seed"]
        for folder in (run, run / "baseline")
    ]
    assert seeds == [0, 1]
    again = command(*arguments(), "-o", run, "--baseline", "train.seed=1")
    assert [line.endswith(", from an earlier run") for line in again.out.splitlines()[:6]] == [True] * 6
    assert again.out.splitlines()[6:] == answer.out.splitlines()[6:]
    refused = command(*arguments(), "-o", run, "--baseline", "train.seed=1", "--against", run)
    assert refused.code == 2
    assert "--baseline and --against exclude each other" in refused.err


@pytest.fixture
def fails(command):
    """fails(*arguments): exit code 2 and one line beside the progress, which it returns."""

    def check(*arguments):
        answer = command(*arguments)
        assert answer.code == 2
        *progress, line = answer.err.splitlines()
        assert all(line.startswith("fold ") for line in progress)
        return line

    return check


def test_a_fold_that_is_not_there_is_named_with_those_that_are(arguments, fails, tmp_path):
    said = fails(*arguments(), "-o", tmp_path / "run", "--only", "1", "--only", "9")
    assert said == "sertool: --only 9: no such fold (there are: 1, 2, 3)"


def changed(voices, root, change):
    """The voices, their manifest's lines changed."""
    root.mkdir()
    for path in voices.glob("*.wav"):
        os.link(path, root / path.name)
    lines = (voices / "manifest.csv").read_text().splitlines()
    (root / "manifest.csv").write_text("\n".join([lines[0], *(x for line in lines[1:] if (x := change(line)))]) + "\n")
    return root


def test_a_corpus_that_cannot_be_divided_is_told_how(arguments, fails, voices, tmp_path):
    bare = changed(
        voices, tmp_path / "bare", lambda line: line.replace(",1,", ",,").replace(",2,", ",,").replace(",3,", ",,")
    )
    said = fails(*arguments("folds.by=session", root=bare), "--list")
    assert "acted has no session for it; choose other folds with folds.by" in said
    pair = changed(voices, tmp_path / "pair", lambda line: line if line[0] in "01" else None)
    assert fails(*arguments("folds.by=speaker", root=pair), "--list") == (
        "sertool: leaving one speaker out needs at least three; there are 2: 0, 1 "
        "(one for the test, one for validation, the rest for training)"
    )
    assert "leaving one corpus out needs at least two; there is only acted" in fails(
        *arguments("folds.by=corpus"), "--list"
    )
    leaky = changed(voices, tmp_path / "leaky", lambda line: line.replace("2,2,sad", "2,3,sad"))
    assert "speaker '2' of acted is in both" in fails(*arguments(root=leaky), "--list")
    assert "write one of session, speaker, corpus" in fails(*arguments("folds.by=clip"), "--list")
    assert "folds.number must be at least 0, not -1" in fails(*arguments("folds.number=-1"), "--list")
    none = changed(voices, tmp_path / "none", lambda line: line.rpartition(",")[0] + ",bored")
    assert "no row is angry or happy or neutral or sad" in fails(*arguments(root=none), "--list")
    few = changed(voices, tmp_path / "few", lambda line: None if ",1,sad" in line or ",2,sad" in line else line)
    assert "no training clip is sad" in fails(*arguments(root=few), "-o", tmp_path / "run", "--only", "3")
    assert "data.root is empty; give it with --set data.root=" in fails(*arguments(root=""), "--list")
    assert "a random split needs at least three folds" in fails(
        *arguments("folds.number=2"), "--random-split", "--list"
    )


def test_a_folder_that_was_begun_otherwise_is_kept_as_it_is(arguments, fails, command, tmp_path):
    run = tmp_path / "run"
    assert command(*arguments(), "-o", run, "--only", "1").code == 0
    for overrides, wanted in (
        (["train.lr=0.1"], "holds a run of a different recipe (compare"),
        (["folds.number=3", "folds.by=speaker"], "was started with different rows (compare"),
    ):
        said = fails(*arguments(*overrides), "-o", run)
        assert wanted in said
        assert said.endswith("choose another folder with -o")


def test_what_cannot_stand_beside_it_is_refused_before_anything_is_trained(arguments, fails, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    assert f"{other}: has no results.json of a finished" in fails(*arguments(), "-o", run, "--against", other)
    other.mkdir()
    (other / "results.json").write_text(json.dumps({"schema": "sertool.crossval/1", "outputs": ["joy"], "folds": {}}))
    said = fails(*arguments(), "-o", run, "--against", other)
    assert said == f"sertool: --against {other}: its outputs are joy, not angry, happy, neutral, sad"
    (other / "results.json").write_text(json.dumps({"schema": "sertool.crossval/1", "outputs": CLASSES, "folds": {}}))
    assert "that is this run's own folder" in fails(*arguments(), "-o", other, "--against", other)
    assert not run.exists()


@pytest.mark.slow("starts processes")
def test_ctrl_c_saves_and_the_same_command_goes_on(arguments, command, tmp_path):
    run = tmp_path / "run"
    long = [*arguments("train.steps=100000", "train.validate_every=100000", "train.save_every=100000"), "-o", str(run)]
    running = subprocess.Popen([sys.executable, "-m", "sertool", *long], stderr=subprocess.PIPE, text=True)
    while not (line := running.stderr.readline()).startswith("fold 1 training "):
        assert line, "ended before the first step"
    running.send_signal(signal.SIGINT)
    err = running.stderr.read()
    assert running.wait(timeout=60) == 130
    assert err.splitlines()[-1] == "interrupted in fold 1; run the same command again to continue"
    assert "Traceback" not in err
    assert (run / "fold-1" / "last.pt").exists()
    assert not (run / "fold-1" / "report.json").exists()
    assert not (run / "fold-2").exists()
