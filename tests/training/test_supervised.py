"""The loop: learns, resumes to the same weights, refuses speakers in two parts; and the bundle at its end."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

import sertool
from sertool import bundle
from sertool.errors import SertoolError, UsageError
from sertool.features import steps
from sertool.plugins import load_plugins
from sertool.training.loop import best_network, learning_rate
from sertool.training.recipe import load_recipe
from sertool.training.supervised import rows, splits, taught, train


@pytest.fixture
def recipe(overrides, labels):
    return load_recipe(labels, overrides)


def weights(run):
    return torch.load(run / "last.pt", weights_only=True)


@pytest.mark.slow("trains networks")
def test_a_run_that_is_cut_off_goes_on_to_the_same_weights(recipe, tmp_path):
    for _ in train(recipe, tmp_path / "whole"):
        pass
    steps = train(recipe, tmp_path / "cut")
    for progress in steps:
        if progress.stage == "training" and progress.done == 3:  # not a validation step
            break
    steps.close()
    assert weights(tmp_path / "cut")["state"]["step"] == 3
    for progress in train(recipe, tmp_path / "cut"):
        assert progress.stage != "training" or progress.done > 3
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    for part in ("network", "averaged"):
        for name, tensor in whole[part].items():
            assert torch.equal(tensor, cut[part][name]), name
    assert whole["state"]["val"] == cut["state"]["val"]
    with open(tmp_path / "cut" / "log.csv") as stream:
        assert [line["step"] for line in csv.DictReader(stream)] == ["2", "4", "6"]


def test_the_learning_rate_warms_up_and_restarts_from_half_the_peak(recipe):
    settings = replace(recipe.train, steps=700, warmup=100, restarts=[300])
    rates = [learning_rate(step, settings) for step in range(700)]
    assert rates[:2] == [0.01, 0.02]
    assert rates[99:101] == [1.0, 1.0]
    assert rates[200] == pytest.approx(0.5)  # half of a cosine of 200 steps
    assert rates[299] < 1e-3
    assert rates[300] == 0.5
    assert rates[500] == pytest.approx(0.25)
    assert rates[699] < 1e-3


@pytest.mark.slow("trains networks")
def test_training_lowers_the_loss(overrides, labels, tmp_path):
    recipe = load_recipe(
        labels,
        [
            *overrides,
            "train.steps=60",
            "train.restarts=[]",
            "train.validate_every=60",
            "train.batch=8",
            "train.lr=0.003",
        ],
    )
    recipe.augment.clear()
    losses = [progress.losses["loss"] for progress in train(recipe, tmp_path) if progress.stage == "training"]
    assert losses[-1] < 0.6 * losses[0]  # a running mean over some 50 steps


@pytest.mark.slow("trains or exports a network")
def test_another_recipe_in_the_same_folder_is_refused(recipe, overrides, labels, tmp_path):
    for _ in train(recipe, tmp_path):
        pass
    with pytest.raises(UsageError, match="a different recipe"):
        next(train(load_recipe(labels, [*overrides, "train.lr=0.5"]), tmp_path))


def test_a_speaker_in_two_parts_is_refused(overrides, corpus, labels, tmp_path):
    shutil.copytree(corpus, tmp_path / "leaky")
    manifest = tmp_path / "leaky" / "manifest.csv"
    manifest.write_text(
        manifest.read_text().replace("0-angry-0.wav,corpus0,0,angry,,train", "0-angry-0.wav,corpus0,0,angry,,val")
    )
    recipe = load_recipe(labels, [*overrides, f"data.root={tmp_path / 'leaky'}"])
    with pytest.raises(SertoolError, match="speaker '0' of corpus0 is in both"):
        next(train(recipe, tmp_path / "run"))


@pytest.mark.slow("trains networks")
def test_train_command_writes_a_sound_bundle_that_labels(overrides, labels, tmp_path):
    command = [sys.executable, "-m", "sertool", "train", "wav2small-labels", "-o", str(tmp_path / "run")]
    for override in overrides:
        command += ["--set", override]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "run" / "wav2small"
    found = bundle.read(folder)
    assert bundle.check_sums(found) == 12  # four variants and the torch weights among them
    check = subprocess.run(
        [sys.executable, "-m", "sertool", "bundle", "check", str(folder)], capture_output=True, text=True
    )
    assert check.returncode == 0, check.stderr
    manifest = found.manifest
    assert manifest.variants[0].difference["max"] <= 1e-4
    assert set(manifest.metrics) == {"val", "test-ood", "robustness"}
    assert {f"{name} CCC" for name in found.outputs} <= manifest.metrics["val"]["overall"]["measures"].keys()
    assert manifest.training["recipe"]["data"]["root"] == ""
    heard, *mixed_in = manifest.training["data"]
    assert heard == {"corpus": "corpus0", "licence": "CC0"}
    assert any("noise" in entry["corpus"] for entry in mixed_in)
    assert str(tmp_path) not in json.dumps(manifest.to_dict())
    card = (folder / bundle.CARD).read_text()
    assert "not human ratings" in card
    assert "Russell" in card
    assert "$" not in card
    # The bundle runs the best weights of the run, not merely some.
    recipe = load_recipe(labels, overrides)
    _, network, _ = best_network(recipe, tmp_path / "run")
    samples = (0.1 * np.random.default_rng(0).standard_normal(15_000)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(samples)[None])[0].tolist()
    soundfile.write(tmp_path / "x.wav", samples, 16_000, subtype="FLOAT")
    row = sertool.load(str(folder)).label(tmp_path / "x.wav")
    assert [row[name] for name in ("arousal", "dominance", "valence")] == pytest.approx(expected, abs=1e-4)


# Rows


def manifest(root, *lines):
    """A folder of a manifest alone: rows are read without their recordings."""
    root.mkdir()
    (root / "manifest.csv").write_text("\n".join(["file,corpus,speaker,emotion,split", *lines]) + "\n")
    return root


@pytest.fixture
def beside(tmp_path, labels):
    """beside(*overrides): a recipe of two folders; a of 20 speakers, c of 10, an out-of-domain one in a."""
    a = [f"{s}.wav,a,{s},{e},train" for s in range(20) for e in ("sad", "angry", "bored")]
    root = manifest(tmp_path / "own", *a, "x.wav,b,x,sad,far")
    also = manifest(tmp_path / "also", *(f"{s}.wav,c,{s},happy," for s in range(10)))

    def make(*overrides, model="wav2small-emotion"):
        own = [f"data.root={root}", "data.corpora=[]", "data.ood=far", f"model.name={model}"]
        own += [f'data.also=[{{corpus = "manifest", root = "{also}"}}]']
        return load_recipe(labels, [*own, *overrides])

    return make


def test_rows_are_the_recipes_own_and_those_beside(beside):
    own, also = rows(beside())
    assert ({row.corpus for row in own}, {row.corpus for row in also}) == ({"a", "b"}, {"c"})
    assert [len(part) for part in rows(beside("data.corpora=['a']"))] == [60, 0]
    assert [len(part) for part in rows(beside("data.corpora=['c']"))] == [0, 10]
    own, also = rows(beside('data.also=[{corpus = "manifest", root = "$root/../also"}]'))
    assert len(also) == 10


def test_whole_speakers_are_held_out_and_none_of_the_out_of_domain_or_of_what_is_beside(beside):
    train_rows, val_rows, ood = splits(beside("data.hold_out=0.2"))
    assert len(val_rows) == 8  # of 40 clips that have a class
    assert len(train_rows) + len(val_rows) == 50
    assert {row.corpus for row in train_rows} == {"a", "c"}
    assert {row.corpus for row in val_rows} == {"a"}
    assert "bored" not in {row.emotion for row in train_rows + val_rows}
    speakers = [{(row.corpus, row.speaker) for row in part} for part in (train_rows, val_rows)]
    assert not speakers[0] & speakers[1]
    assert [row.corpus for row in ood] == ["b"]
    assert splits(beside("data.hold_out=0.2"))[1] == val_rows
    assert splits(beside("data.hold_out=0.2", "train.seed=1"))[1] != val_rows
    assert {row.corpus for part in splits(beside("data.hold_out=0.2", "data.corpora=['a']"))[:2] for row in part} == {
        "a"
    }


def test_without_a_split_to_validate_on_it_says_what_to_do(beside):
    with pytest.raises(
        UsageError, match=r"no row is in split 'val'; set data\.val to the name of a split, or data\.hold_out"
    ):
        splits(beside())
    with pytest.raises(UsageError, match=r"no row is in split 'dev'; set data\.train"):
        splits(beside("data.train=dev", "data.val=train"))
    with pytest.raises(UsageError, match="needs at least two clips"):
        splits(beside("data.hold_out=0.2", "data.corpora=['b']"))


def test_clips_are_held_out_at_random_whoever_speaks(beside):
    """The production model of arXiv 2512.23435: 5 % of shuffled clips; CREMA-D, which is beside, only trains."""
    train_rows, val_rows, ood = splits(beside("data.hold_out=0.1", "data.hold_out_by=clip"))
    assert (len(train_rows), len(val_rows)) == (36 + 10, 4)
    assert {row.corpus for row in val_rows} == {"a"}
    assert [row.corpus for row in ood] == ["b"]
    speakers = [{row.speaker for row in part if row.corpus == "a"} for part in (train_rows, val_rows)]
    assert speakers[1] & speakers[0]
    drawn = [splits(beside("data.hold_out=0.1", "data.hold_out_by=clip", f"train.seed={seed}"))[1] for seed in (0, 1)]
    assert drawn[0] == val_rows != drawn[1]


# Classes


@pytest.fixture
def classes(overrides, labels):
    """classes(*overrides): the small recipe for four classes."""

    def make(*more):
        own = [*overrides, "model.name=wav2small-emotion", "bundle.name=emotion", "train.restarts=[]"]
        return load_recipe(labels, [*own, *more])

    return make


def finish(recipe, run):
    return list(train(recipe, run))


def same(one, other, parts=("network", "averaged")):
    one, other = weights(one), weights(other)
    return all(
        torch.equal(value, other[part][name]) for part in parts if part in one for name, value in one[part].items()
    )


@pytest.mark.slow("trains or exports a network")
def test_epochs_of_a_categorical_model_validate_by_ua(classes, tmp_path):
    entries = "input.steps=[{step = 'trim'}, {step = 'peak'}, {step = 'length', seconds = 0.5}]"
    found = finish(classes("train.epochs=2", "train.warmup_ratio=0.5", entries), tmp_path / "run")
    steps_done = [progress for progress in found if progress.stage == "training"]
    assert [(p.done, p.total) for p in steps_done] == [(n, 8) for n in range(1, 9)]  # 16 clips, 4 a batch
    with open(tmp_path / "run" / "log.csv") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["step"] for line in lines] == ["4", "8"]
    assert all(0 <= float(line["val UA"]) <= 1 for line in lines)


@pytest.mark.slow("trains networks")
@pytest.mark.parametrize("cut", [1, 3, 4])
def test_epochs_that_are_cut_off_go_on_to_the_same_weights(classes, tmp_path, cut):
    recipe = classes("train.epochs=2", "train.ema=0")
    finish(recipe, tmp_path / "whole")
    run = train(recipe, tmp_path / "cut")
    for progress in run:
        if progress.stage == "training" and progress.done == cut:
            break
    run.close()
    finish(recipe, tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut", ("network",))


def answers(monkeypatch, values):
    """Validations that have these figures, one after the other."""
    left = iter(values)
    monkeypatch.setattr("sertool.training.targets.Categorical.score", lambda *_: {"UA": next(left)})


BETTER_TWICE = (0.2, 0.5, 0.4, 0.5, 0.3, 0.9, 0.9)


@pytest.mark.slow("trains networks")
def test_training_ends_after_so_many_validations_without_a_better_one(classes, tmp_path, monkeypatch):
    answers(monkeypatch, BETTER_TWICE)
    recipe = classes("train.steps=20", "train.validate_every=1", "train.patience=3")
    found = finish(recipe, tmp_path / "run")
    assert (found[-1].stage, found[-1].done, found[-1].total) == ("training", 5, 5)  # as good is not better
    assert [p.total for p in found if p.stage == "training"] == [20, 20, 20, 20, 5]
    assert weights(tmp_path / "run")["state"]["step"] == 5
    assert best_network(recipe, tmp_path / "run")[2] == 2
    # It had ended: nothing is trained again.
    before = (tmp_path / "run" / "last.pt").read_bytes()
    again = [(p.done, p.total) for p in finish(recipe, tmp_path / "run") if p.stage == "training"]
    assert again == [(5, 5)]
    assert (tmp_path / "run" / "last.pt").read_bytes() == before
    # Without patience it goes on.
    answers(monkeypatch, BETTER_TWICE)
    found = finish(classes("train.steps=7", "train.validate_every=1"), tmp_path / "patient")
    assert (found[-1].done, found[-1].total) == (7, 7)


@pytest.mark.slow("trains networks")
@pytest.mark.parametrize("cut", [2, 3, 4])
def test_patience_is_kept_over_a_cut(classes, tmp_path, monkeypatch, cut):
    recipe = classes("train.steps=20", "train.validate_every=1", "train.patience=3")
    answers(monkeypatch, BETTER_TWICE)
    finish(recipe, tmp_path / "whole")
    answers(monkeypatch, BETTER_TWICE)
    run = train(recipe, tmp_path / "cut")
    for progress in run:
        if progress.stage == "training" and progress.done == cut:
            break
    run.close()
    assert finish(recipe, tmp_path / "cut")[-1].done == 5
    assert same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow("trains or exports a network")
def test_a_run_that_is_done_is_not_called_interrupted(classes, tmp_path, command, monkeypatch):
    finish(classes(), tmp_path / "run")
    assert [(p.done, p.total) for p in finish(classes(), tmp_path / "run") if p.stage == "training"] == [(6, 6)]
    released = []
    monkeypatch.setattr("sertool.exporting.release.check", lambda recipe: None)
    monkeypatch.setattr(
        "sertool.exporting.release.release",
        lambda recipe, run, meter: (released.append(run) or bundle.Bundle(run, {}), ()),
    )
    (tmp_path / "r.toml").write_text('[model]\nname = "wav2small-emotion"\n')
    settings = {"steps": 2, "batch": 4, "shortest_s": 0.2, "longest_s": 0.3, "warmup": 1, "threads": 1, "workers": 0}
    sets = [f"data.root={classes().data.root}", *(f"train.{key}={value}" for key, value in settings.items())]
    arguments = ["train", tmp_path / "r.toml", "-o", tmp_path / "again", *(x for s in sets for x in ("--set", s))]
    for _ in range(2):
        answer = command(*arguments)
        assert answer.code == 0, answer.err
        assert "interrupted" not in answer.err
    assert released == [tmp_path / "again"] * 2


def test_targets_are_mixed_with_the_teachers_probabilities(classes, tmp_path):
    torch.manual_seed(3)
    model = load_plugins().get("models", "wav2small-emotion")
    recipe = classes("teacher.name=wav2small-emotion", "teacher.share=0.25")
    prepare = taught(recipe, model, torch.device("cpu"))
    torch.manual_seed(3)
    teacher = model.build().eval()
    waveforms, targets = 0.1 * torch.randn(3, 8_000), torch.eye(4)[[0, 2, 3]]
    with torch.inference_mode():
        said = torch.softmax(teacher(waveforms), dim=1)
    found = prepare(waveforms, targets)
    torch.testing.assert_close(found, 0.75 * targets + 0.25 * said)
    assert found.sum(dim=1).tolist() == pytest.approx([1] * 3)
    assert not found.requires_grad
    with pytest.raises(UsageError, match="teacher 'wav2small' has the outputs arousal, dominance, valence; student"):
        finish(classes("teacher.name=wav2small"), tmp_path / "run")


@pytest.mark.slow("trains networks")
def test_a_teacher_changes_what_is_learned_and_a_cut_does_not(classes, tmp_path):
    finish(classes(), tmp_path / "labels")
    recipe = classes(
        "teacher.name=teacher-emotion", f'teacher.options={{members = [{{run = "{tmp_path / "labels"}"}}]}}'
    )
    finish(recipe, tmp_path / "whole")
    assert not same(tmp_path / "labels", tmp_path / "whole")
    run = train(recipe, tmp_path / "cut")
    for progress in run:
        if progress.stage == "training" and progress.done == 3:
            break
    run.close()
    finish(recipe, tmp_path / "cut")
    assert same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow("trains networks")
def test_a_released_bundle_of_classes_gives_probabilities_of_prepared_audio(classes, tmp_path):
    from sertool.exporting.release import release
    from sertool.runtime import Runtime

    entries = "input.steps=[{step = 'trim'}, {step = 'pre-emphasis'}, {step = 'length', seconds = 0.4}]"
    recipe = classes(entries, "bundle.robustness={}")
    finish(recipe, tmp_path / "run")
    found, missed = release(recipe, tmp_path / "run")
    assert not missed
    manifest = found.manifest
    assert manifest.task == "categorical"
    assert manifest.preprocessing == recipe.input.steps
    assert manifest.training["targets"] == "class labels"
    assert manifest.variants[0].name == "fp32"
    assert manifest.variants[0].difference["max"] <= 1e-4
    for split in ("val", "test-ood"):
        overall = manifest.metrics[split]["overall"]
        assert {"WA", "UA", "macro-F1"} <= overall["measures"].keys()
        assert sum(map(sum, overall["confusion"])) == 8
    _, network, _ = best_network(recipe, tmp_path / "run")
    runtime = Runtime(str(found.path))
    for seed in range(3):
        samples = (0.1 * np.random.default_rng(seed).standard_normal(9_000)).astype(np.float32)
        prepared = torch.from_numpy(steps.build(recipe.input.steps)(samples))[None]
        with torch.inference_mode():
            expected = torch.softmax(network(prepared), dim=1)[0].numpy()
        assert runtime.run(samples) == pytest.approx(expected, abs=1e-4)
        assert runtime.run(samples).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.slow("trains networks")
def test_an_export_is_measured_against_its_exporters_tolerance(classes, tmp_path, monkeypatch):
    import onnx

    from sertool.errors import BundleError
    from sertool.exporting import release, variants

    recipe = classes('bundle.formats=["rough"]', "bundle.robustness={}", "bundle.embedding=false")
    finish(recipe, tmp_path / "run")
    plugins = load_plugins()
    real = plugins.get("exporters", "onnx")

    def noisy(source, path, metadata):
        """Probabilities that are 0.02 off; exported once, as that takes seconds."""

        class Off(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.module = source.module

            def forward(self, waveform):
                return self.module(waveform) + 0.02

        if not (tmp_path / "off.onnx").exists():
            real.export(replace(source, module=Off()), tmp_path / "off.onnx", {})
        model = onnx.load(tmp_path / "off.onnx")
        onnx.helper.set_model_props(model, metadata)
        onnx.save(model, path)

    class Known:
        tolerance = 0.05

        def get(self, kind, name):
            if name != "rough":
                return plugins.get(kind, name)
            return replace(real, name="rough", export=noisy, variant="int7", tolerance=self.tolerance)

    monkeypatch.setattr(variants, "load_plugins", Known)
    (variant,) = release.release(recipe, tmp_path / "run")[0].manifest.variants
    assert variant.name == "int7"
    assert variant.difference["max"] == pytest.approx(0.02, abs=1e-4)
    Known.tolerance = 0.01
    with pytest.raises(BundleError, match=r"int7 differs from torch by 0\.02, allowed is at most 0\.01"):
        release.release(recipe, tmp_path / "run")


def test_clips_shorter_than_the_model_takes_and_classes_that_it_has_not_are_refused(overrides, labels, tmp_path):
    short = load_recipe(labels, [*overrides, "train.shortest_s=0.001"])
    with pytest.raises(UsageError, match=r"shortest_s: 0\.001 s is too short, wav2small needs .* \(33 samples\)"):
        next(train(short, tmp_path / "a"))
    classes = load_recipe(labels, [*overrides, 'data.balance_by=["class"]'])
    with pytest.raises(UsageError, match="balance_by: wav2small has no classes"):
        next(train(classes, tmp_path / "b"))
