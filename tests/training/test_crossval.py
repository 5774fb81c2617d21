"""Cross-validation: folds of a recipe, what they write, and that a cut changes nothing."""

import csv
import json
import math
import shutil

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import recall_score

from sertool.corpora.folds import Fold
from sertool.errors import SertoolError, UsageError
from sertool.training import crossval, loop
from sertool.training.crossval import folds, read_results, results, run_fold, write_confusion
from sertool.training.recipe import load_recipe

CLASSES = ("angry", "happy", "neutral", "sad")


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """Two corpora: a of three sessions, b of none and with speakers of its own, all four classes and one more."""
    root, rng = tmp_path_factory.mktemp("voices"), np.random.default_rng(0)
    with open(root / "manifest.csv", "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "corpus", "speaker", "session", "emotion", "split"])
        for corpus, count in (("a", 3), ("b", 4)):
            for speaker in range(count):
                for number, emotion in enumerate((*CLASSES, "bored")):
                    name = f"{corpus}{speaker}{emotion}.wav"
                    time = np.arange(3_000 + 500 * number) / 16_000
                    samples = 0.2 * np.sin(2 * np.pi * 200 * (1 + number) * time) + 0.01 * rng.standard_normal(
                        len(time)
                    )
                    soundfile.write(root / name, samples, 16_000)
                    session = str(speaker + 1) if corpus == "a" else ""
                    table.writerow([name, corpus, speaker, session, emotion, "val" if speaker == 0 else "train"])
    return root


@pytest.fixture
def recipe(voices, tmp_path):
    def make(*overrides, model="wav2small-emotion"):
        (tmp_path / "r.toml").write_text(f'[model]\nname = "{model}"\n')
        train = {"steps": 4, "batch": 4, "validate_every": 2, "shortest_s": 0.1, "longest_s": 0.15, "warmup": 1}
        train |= {"threads": 1, "workers": 0}
        own = [f"data.root={voices}", *(f"train.{key}={value}" for key, value in train.items())]
        return load_recipe(tmp_path / "r.toml", [*own, *overrides])

    return make


def finish(recipe, fold, folder, stop=lambda: False):
    return [(progress.stage, progress.done, progress.total) for progress in run_fold(recipe, fold, folder, stop)]


def read(path):
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def test_folds_are_sessions_where_there_are_else_speakers(recipe):
    assert [fold.name for fold in folds(recipe("data.corpora=['a']"))] == ["1", "2", "3"]
    assert [fold.name for fold in folds(recipe("data.corpora=['b']"))] == ["0", "1", "2", "3"]
    both = folds(recipe())
    assert [fold.name for fold in both] == ["a-0", "a-1", "a-2", "b-0", "b-1", "b-2", "b-3"]
    assert [fold.name for fold in folds(recipe("folds.number=3"))] == ["1", "2", "3"]
    assert [fold.name for fold in folds(recipe("folds.by=speaker", "data.corpora=['a']"))] == ["0", "1", "2"]
    for fold in both:
        assert "bored" not in {row.emotion for part in (fold.train, fold.val, fold.test) for row in part}


def test_what_always_trains_is_never_tested(recipe, voices):
    found = folds(recipe("folds.always=['b']"))
    assert [fold.name for fold in found] == ["1", "2", "3"]
    for fold in found:
        assert sum(row.corpus == "b" for row in fold.train) == 16
        assert {row.corpus for row in fold.val + fold.test} == {"a"}
    also = f'data.also=[{{corpus = "manifest", root = "{voices}"}}]'
    with pytest.raises(SertoolError, match="is in both 'train' and 'val'"):
        folds(recipe(also))
    with pytest.raises(UsageError, match=r"folds\.always: no corpus 'd' .* a, b"):
        folds(recipe("folds.always=['b', 'd']"))
    with pytest.raises(UsageError, match=r"no row is angry or happy or neutral or sad \(among the rows to test\)"):
        folds(recipe("folds.always=['a', 'b']"))


def test_out_of_domain_rows_are_in_no_fold(recipe, voices, tmp_path):
    shutil.copytree(voices, tmp_path / "ood")
    manifest = tmp_path / "ood" / "manifest.csv"
    manifest.write_text(
        manifest.read_text().replace("b,3,,sad,train", "b,3,,sad,far").replace("b,3,,happy,train", "b,3,,happy,far")
    )
    found = folds(recipe(f"data.root={tmp_path / 'ood'}", "data.ood=far"))
    assert sum(len(fold.test) for fold in found) == 7 * 4 - 2


def test_a_corpus_is_left_out_with_splits_or_a_share(recipe):
    found = folds(recipe("folds.by=corpus"))
    assert [(fold.name, len(fold.train), len(fold.val), len(fold.test)) for fold in found] == [
        ("a", 12, 4, 12),
        ("b", 8, 4, 16),
    ]
    found = folds(recipe("folds.by=corpus", "data.hold_out=0.5"))
    assert [(len(fold.train), len(fold.val)) for fold in found] in ([(8, 8), (8, 4)], [(8, 8), (4, 8)])


def test_random_folds_take_five_parts_or_as_many_as_asked_for(recipe):
    assert [fold.name for fold in folds(recipe(), random=True)] == [f"random-{n}" for n in range(1, 6)]
    assert len(folds(recipe("folds.number=4"), random=True)) == 4
    assert folds(recipe("train.seed=1"), random=True) != folds(recipe(), random=True)


def test_a_fold_trains_tests_and_writes_what_it_did(recipe, voices, tmp_path):
    settings = recipe("data.corpora=['a']")
    fold = folds(settings)[1]
    stages = finish(settings, fold, tmp_path / "fold-2")
    assert stages[-1] == ("testing", 4, 4)
    assert [stage for stage, done, _ in stages if done == 1] == [
        "decoding training clips",
        "decoding validation clips",
        "training",
        "decoding test clips",
        "testing",
    ]
    rows = read(tmp_path / "fold-2" / "rows.csv")
    assert {(row["session"], row["part"]) for row in rows} == {("1", "train"), ("2", "test"), ("3", "val")}
    assert rows[0] == {
        "file": "a0angry.wav",
        **{"corpus": "a", "speaker": "0", "session": "1", "emotion": "angry", "part": "train"},
    }
    report = json.loads((tmp_path / "fold-2" / "report.json").read_text())
    found = read(tmp_path / "fold-2" / "predictions.csv")
    assert [row["file"] for row in found] == [f"a1{name}.wav" for name in CLASSES]
    # The figures are those of the best weights on the whole clips, computed here.
    _, network, step = loop.best_network(settings, tmp_path / "fold-2")
    assert report["best_step"] == step
    for row in found:
        samples, _ = soundfile.read(voices / row["file"], dtype="float32")
        with torch.inference_mode():
            expected = torch.softmax(network(torch.from_numpy(samples)[None])[0], dim=0).tolist()
        assert [float(row[name]) for name in CLASSES] == pytest.approx(expected, abs=2e-6)
        assert row["predicted"] == CLASSES[int(np.argmax(expected))]
    truth, predicted = ([row[key] for row in found] for key in ("emotion", "predicted"))
    measures = report["overall"]["measures"]
    assert measures["UA"]["value"] == pytest.approx(recall_score(truth, predicted, average="macro", zero_division=0))
    assert finish(settings, fold, tmp_path / "fold-2") == []  # it is done


@pytest.mark.slow("trains networks")
@pytest.mark.parametrize("at", [("training", 3), ("decoding test clips", 2), ("testing", 2)])
def test_a_fold_that_is_cut_off_goes_on_to_the_same_results(recipe, tmp_path, at):
    settings = recipe("data.corpora=['a']")
    fold = folds(settings)[0]
    finish(settings, fold, tmp_path / "whole")
    run = run_fold(settings, fold, tmp_path / "cut")
    for progress in run:
        if (progress.stage, progress.done) == at:
            break
    run.close()
    assert not (tmp_path / "cut" / "report.json").exists()
    again = finish(settings, fold, tmp_path / "cut")
    assert [done for stage, done, total in again if stage == "training"] == [4]
    for name in ("report.json", "predictions.csv", "rows.csv", "log.csv"):
        whole, cut = ((tmp_path / run / name).read_text() for run in ("whole", "cut"))
        if name == "log.csv":
            whole, cut = (
                [line.split(",")[:1] + line.split(",")[2:] for line in text.splitlines()] for text in (whole, cut)
            )
        assert whole == cut, name


def test_a_stop_ends_a_fold_without_a_report(recipe, tmp_path):
    settings = recipe("data.corpora=['a']")
    fold = folds(settings)[0]
    assert finish(settings, fold, tmp_path, stop=lambda: True)[-1] == ("training", 1, 4)
    assert not (tmp_path / "report.json").exists()
    finish(settings, fold, tmp_path)
    assert (tmp_path / "report.json").exists()


def test_a_fold_goes_on_with_its_rows_and_its_recipe_or_not_at_all(recipe, voices, tmp_path):
    settings = recipe("data.corpora=['a']")
    first, second, _ = folds(settings)
    finish(settings, first, tmp_path / "run")
    with pytest.raises(
        UsageError, match=r"was started with different rows .compare .*rows\.csv.; choose another folder with -o"
    ):
        finish(settings, second, tmp_path / "run")
    for override in ("train.lr=0.5", "loss.options.gamma=1", "input.steps=[{step = 'peak'}]"):
        with pytest.raises(UsageError, match="holds a run of a different recipe"):  # though it is done
            finish(recipe("data.corpora=['a']", override), first, tmp_path / "run")
    # Where the data lies decides nothing.
    shutil.copytree(voices, tmp_path / "moved")
    moved = recipe("data.corpora=['a']", f"data.root={tmp_path / 'moved'}")
    assert finish(moved, folds(moved)[0], tmp_path / "run") == []


def test_corpora_beside_may_be_moved_too(recipe, voices, tmp_path):
    """Of rows only the file's place in its corpus is kept."""
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        lines = (voices / "manifest.csv").read_text().splitlines(keepends=True)
        (tmp_path / place / "manifest.csv").write_text("".join(lines[:1] + [x for x in lines if ",b," in x]))
        for path in voices.glob("b*.wav"):
            shutil.copy(path, tmp_path / place)
    for place in ("here", "there"):
        also = f'data.also=[{{corpus = "manifest", root = "{tmp_path / place}"}}]'
        settings = recipe(also)
        rows = [row for row in crossval.supervised.rows(settings)[1] if row.emotion in CLASSES]
        crossval._note_rows(Fold("1", rows, [], []), tmp_path / "run", settings)
    assert {row["file"] for row in read(tmp_path / "run" / "rows.csv")} == {row.file.name for row in rows}


def test_results_join_the_folds(recipe, voices, tmp_path):
    settings = recipe("data.corpora=['a']")
    names = []
    for fold in folds(settings):
        finish(settings, fold, tmp_path / "run" / f"fold-{fold.name}")
        names.append(fold.name)
    found = results(settings, names, tmp_path / "run", random=False)
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == found == read_results(tmp_path / "run")
    assert str(voices) not in json.dumps(found)
    assert found["outputs"] == list(CLASSES)
    assert found["split"] == "speakers apart"
    assert "leak" in results(settings, names, tmp_path / "run", random=True)["split"]
    values = [found["folds"][name]["overall"]["measures"]["WA"]["value"] for name in names]
    wa = found["summary"]["recipes"]["run"]["measures"]["WA"]
    assert (wa["values"], wa["mean"]) == (values, pytest.approx(sum(values) / 3))
    mean = sum(values) / 3
    assert wa["deviation"] == pytest.approx(math.sqrt(sum((value - mean) ** 2 for value in values) / 2))
    whole = read(tmp_path / "run" / "predictions.csv")
    parts = [
        {"fold": name, **row} for name in names for row in read(tmp_path / "run" / f"fold-{name}" / "predictions.csv")
    ]
    assert whole == parts
    assert len(whole) == 12


def test_a_folder_without_results_is_refused(tmp_path):
    for text in (None, "{", "[]", '{"schema": "other"}'):
        if text is not None:
            (tmp_path / "results.json").write_text(text)
        with pytest.raises(UsageError, match=r"has no results\.json of a finished `sertool crossval`"):
            read_results(tmp_path)


def test_a_confusion_as_csv(tmp_path):
    write_confusion(tmp_path / "c.csv", [[1, 2], [0, 3]], ["angry", "sad"])
    assert (tmp_path / "c.csv").read_text() == "true,angry,sad\nangry,1,2\nsad,0,3\n"


def test_the_name_of_the_fold_is_filled_in_where_weights_come_from(recipe):
    options = 'teacher.options={members = [{run = "runs/$fold/x"}]}'
    found = crossval._in_fold(recipe(options, "model.start=runs/$fold", "model.options={centre = true}"), 'a "b"')
    assert found.teacher.options == {"members": [{"run": 'runs/a "b"/x'}]}
    assert found.model.start == 'runs/a "b"'
    assert found.model.options == {"centre": True}


def test_a_model_of_numbers_is_cross_validated_too(recipe, tmp_path):
    settings = recipe("data.corpora=['a']", model="wav2small")
    found = folds(settings)
    finish(settings, found[0], tmp_path / "fold-1")
    (head, *rows) = (tmp_path / "fold-1" / "predictions.csv").read_text().splitlines()
    assert head == "file,corpus,speaker,session,emotion,arousal,dominance,valence"
    assert len(rows) == len(found[0].test)
    report = json.loads((tmp_path / "fold-1" / "report.json").read_text())
    assert "arousal CCC" in report["overall"]["measures"]


def test_steps_of_the_input_are_applied_to_what_is_tested(recipe, voices, tmp_path):
    entries = "input.steps=[{step = 'peak', level = 0.5}, {step = 'length', seconds = 0.2}]"
    settings = recipe("data.corpora=['a']", entries)
    fold = folds(settings)[0]
    finish(settings, fold, tmp_path)
    _, network, _ = loop.best_network(settings, tmp_path)
    row = read(tmp_path / "predictions.csv")[0]
    samples, _ = soundfile.read(voices / row["file"], dtype="float32")
    prepared = np.zeros(3_200, np.float32)
    prepared[: len(samples)] = (samples / np.abs(samples).max() * 0.5)[:3_200]
    with torch.inference_mode():
        expected = torch.softmax(network(torch.from_numpy(prepared)[None])[0], dim=0).tolist()
    assert [float(row[name]) for name in CLASSES] == pytest.approx(expected, abs=5e-5)
