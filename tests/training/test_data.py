"""Batches: targets, lengths, and randomness that only seed and step decide."""

import pytest
import torch

from sertool.corpora import Row
from sertool.errors import SertoolError, UsageError
from sertool.frontend import steps
from sertool.plugins import load_plugins
from sertool.training.data import Batches, decode
from sertool.training.recipe import augmentations, load_recipe
from sertool.training.supervised import splits
from sertool.training.targets import targets_of


def drain(generator):
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def targets(recipe):
    return targets_of(load_plugins().get("models", recipe.model.name), recipe)


@pytest.fixture
def batches(overrides, labels):
    recipe = load_recipe(labels, overrides)
    clips = drain(decode(splits(recipe)[0], targets(recipe), steps.build([])))
    return Batches(clips, augmentations(recipe, load_plugins()), recipe)


def test_a_step_is_the_same_batch_whoever_makes_it(batches):
    alone = [batches[step] for step in range(4)]
    for workers in (0, 1, 2):
        loader = torch.utils.data.DataLoader(batches, batch_size=None, sampler=range(4), num_workers=workers)
        for (x, y), (x2, y2) in zip(alone, loader, strict=True):
            assert torch.equal(x, x2)
            assert torch.equal(y, y2)
    assert not torch.equal(alone[0][1], alone[1][1]) or alone[0][0].shape != alone[1][0].shape


def test_batches_stay_within_full_scale_and_the_recipes_lengths(batches):
    for step in range(6):
        waveforms, targets = batches[step]
        assert 0.3 * 16_000 <= waveforms.shape[1] <= 0.6 * 16_000
        assert waveforms.abs().max() <= 1
        assert targets.shape == (4, 3)


def test_ratings_win_over_labels_and_intensity_scales_labels(labels):
    target = targets(load_recipe(labels, ["targets.intensity={normal = 0.5}"], complete=False)).of
    row = Row(file="x", corpus="c", speaker="s", emotion="sad", intensity="normal")
    assert target(row) == pytest.approx((0.5 - 0.27 / 4, 0.5 - 0.33 / 4, 0.5 - 0.63 / 4))
    rated = Row(file="x", corpus="c", speaker="s", emotion="sad", arousal=0.1, dominance=0.2, valence=0.3)
    assert target(rated) == (0.1, 0.2, 0.3)
    assert target(Row(file="x", corpus="c", speaker="s", emotion="plain")) is None


def test_rows_without_targets_and_unreadable_files_are_named(labels, tmp_path):
    wanted, none = targets(load_recipe(labels, complete=False)), steps.build([])
    with pytest.raises(UsageError, match="no row has"):
        drain(decode([Row(file=tmp_path / "x.wav", corpus="c", speaker="s", emotion="plain")], wanted, none))
    with pytest.raises(SertoolError, match=r"x\.wav: no such file"):
        drain(decode([Row(file=tmp_path / "x.wav", corpus="c", speaker="s", emotion="sad")], wanted, none))
