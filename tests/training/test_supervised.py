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
from sertool.training.loop import best_network, learning_rate
from sertool.training.recipe import load_recipe
from sertool.training.supervised import train


@pytest.fixture
def recipe(overrides, labels):
    return load_recipe(labels, overrides)


def weights(run):
    return torch.load(run / "last.pt", weights_only=True)


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


def test_another_recipe_in_the_same_folder_is_refused(recipe, overrides, labels, tmp_path):
    for _ in train(recipe, tmp_path):
        pass
    with pytest.raises(UsageError, match="another recipe"):
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


def test_train_command_writes_a_sound_bundle_that_labels(overrides, labels, tmp_path):
    command = [sys.executable, "-m", "sertool", "train", "wav2small-labels", "-o", str(tmp_path / "run")]
    for override in overrides:
        command += ["--set", override]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "run" / "wav2small"
    found = bundle.read(folder)
    assert bundle.check_sums(found) == 8
    check = subprocess.run(
        [sys.executable, "-m", "sertool", "bundle", "check", str(folder)], capture_output=True, text=True
    )
    assert check.returncode == 0, check.stderr
    manifest = found.manifest
    assert manifest["variants"][0]["difference"]["max"] <= 1e-4
    assert set(manifest["metrics"]) == {"val", "test-ood", "robustness"}
    assert {f"{name} CCC" for name in found.outputs} <= manifest["metrics"]["val"]["overall"]["measures"].keys()
    assert manifest["training"]["recipe"]["data"]["root"] == ""
    heard, *mixed_in = manifest["training"]["data"]
    assert heard == {"corpus": "corpus0", "licence": "CC0"}
    assert any("noise" in entry["corpus"] for entry in mixed_in)
    assert str(tmp_path) not in json.dumps(manifest)
    card = (folder / bundle.CARD).read_text()
    assert "not human ratings" in card
    assert "Russell" in card
    assert "$" not in card
    # The bundle runs the best weights of the run, not merely some.
    recipe = load_recipe(labels, overrides)
    _, network, _ = best_network(recipe, tmp_path / "run")
    samples = (0.1 * np.random.default_rng(0).standard_normal(20_000)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(samples)[None])[0].tolist()
    soundfile.write(tmp_path / "x.wav", samples, 16_000, subtype="FLOAT")
    row = sertool.load(str(folder)).label(tmp_path / "x.wav")
    assert [row[name] for name in ("arousal", "dominance", "valence")] == pytest.approx(expected, abs=1e-4)
