"""Batches: targets, lengths, who is drawn how often, and randomness that only seed and step decide."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from sertool import audio
from sertool.corpora import Row
from sertool.errors import SertoolError, UsageError
from sertool.features import steps
from sertool.plugins import load_plugins
from sertool.training.data import Batches, Clips, decode, divided, in_steps, odds
from sertool.training.recipe import Step, augmentations, load_recipe
from sertool.training.sections import DataSection, TrainSection
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


def test_batches_are_of_the_recipes_lengths_and_keep_what_is_louder_than_full_scale(batches):
    louder = []
    for step in range(6):
        waveforms, targets = batches[step]
        assert 0.3 * 16_000 <= waveforms.shape[1] <= 0.6 * 16_000
        louder.append(float(waveforms.abs().max()) > 1)
        assert targets.shape == (4, 3)
    assert any(louder)


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


def test_clips_are_decoded_as_label_prepares_them(corpus, labels):
    entries = [{"step": "trim"}, {"step": "peak", "level": 0.5}]
    rows = [Row(corpus / "0-sad-0.wav", "c", "s", "sad"), Row(corpus / "0-angry-1.wav", "c", "s", "plain")]
    clips = drain(decode(rows, targets(load_recipe(labels, complete=False)), steps.build(entries)))
    assert clips.rows == rows[:1]  # the other has no target
    assert np.array_equal(clips.waveforms[0], steps.build(entries)(audio.read(rows[0].file)))
    assert np.abs(clips.waveforms[0]).max() == pytest.approx(0.5)
    assert clips.targets.dtype == np.float32


def test_a_recording_that_the_steps_refuse_is_named(labels, tmp_path):
    soundfile.write(tmp_path / "x.wav", np.array([0.1, np.nan, 0.1], np.float32), 16_000, subtype="FLOAT")
    rows = [Row(file=tmp_path / "x.wav", corpus="c", speaker="s", emotion="sad")]
    with pytest.raises(SertoolError, match=r"x\.wav: .*NaN"):
        drain(decode(rows, targets(load_recipe(labels, complete=False)), steps.build([{"step": "trim"}])))


def test_the_last_step_comes_after_the_augmentations_if_it_sets_the_length():
    before, length = divided(steps.build([{"step": "peak"}, {"step": "length", "seconds": 2.0}]))
    assert [type(step).__name__ for step in before.steps] == ["Peak"]
    assert length.seconds == 2
    for entries in ([], [{"step": "peak"}], [{"step": "length", "seconds": 2.0}, {"step": "peak"}]):
        built = steps.build(entries)
        assert divided(built) == (built, None)
    assert divided(steps.build([{"step": "length"}]))[0].steps == ()


def clips_of(*labels):
    """Clips of (corpus, class, speaker), each a constant of its own."""
    rows = [Row(f"{n}.wav", corpus, speaker, emotion) for n, (corpus, emotion, speaker) in enumerate(labels)]
    names = sorted({row.emotion for row in rows})
    held = np.eye(len(names), dtype=np.float32)[[names.index(row.emotion) for row in rows]]
    lengths = 500 + 10 * np.arange(len(rows))
    return Clips(rows, [np.full(n, (n - 400) / 1000, np.float32) for n in lengths], held)


def of(labels, **train):
    recipe = load_recipe(labels, complete=False)
    return replace(recipe, augment=[], train=replace(recipe.train, shortest_s=0.1, longest_s=0.1, **train))


def test_clips_are_as_long_as_the_step_says_with_silence_that_nothing_changes(labels):
    clips, (_, length) = (
        clips_of(*[("c", "sad", "s")] * 8),
        divided(steps.build([{"step": "length", "seconds": 0.034}])),
    )
    heard = []

    def louder(samples, rng):
        heard.append(len(samples))
        return samples + np.float32(0.01)

    batch, _ = Batches(clips, [Step(1.0, louder)], of(labels, batch=8, epochs=1), length)[0]
    assert batch.shape == (8, 544)  # seconds at 16 kHz
    assert sorted(heard) == [500, 510, 520, 530, 540, 544, 544, 544]
    for samples in batch.numpy():
        said = np.flatnonzero(samples)[-1] + 1
        assert np.allclose(samples[:said], samples[0])
        assert said == min(
            544, 10 * round((400 + 1000 * (samples[0] - 0.01)) / 10)
        )  # its own length: no silence is louder


@pytest.mark.parametrize("fill", ["silence", "repeat"])
def test_a_clip_shorter_than_its_batch_is_filled_with_silence_or_with_itself(labels, fill):
    clips = Clips(
        [Row("x.wav", "c", "s", "sad")], [np.arange(1, 501, dtype=np.float32) / 1000], np.ones((1, 1), np.float32)
    )
    batch, _ = Batches(clips, [], of(labels, batch=3, fill=fill))[0]
    for samples in batch.numpy():
        assert len(samples) == 1_600
        if fill == "repeat":
            assert np.array_equal(samples, np.resize(clips.waveforms[0], 1_600))
        else:
            assert np.array_equal(samples[samples > 0], clips.waveforms[0])


def test_an_epoch_hears_each_clip_once_in_an_order_of_its_own(labels):
    clips = clips_of(*[("c", "sad", "s")] * 10)
    settings = of(labels, batch=4, epochs=3)
    batches = Batches(clips, [], settings, steps.Length(0.05))
    heard = [[round(float(samples[0]), 2) for samples in batches[step][0]] for step in range(9)]
    epochs = [[*heard[3 * n], *heard[3 * n + 1], *heard[3 * n + 2]] for n in range(3)]
    own = sorted(round(float(samples[0]), 2) for samples in clips.waveforms)
    for epoch in epochs:
        assert sorted(epoch[:10]) == own
        assert epoch[10:] == epoch[:2]  # the last batch is filled up
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert heard[4] == [round(float(samples[0]), 2) for samples in batches[4][0]]


def test_processes_share_an_epoch(labels):
    clips = clips_of(*[("c", "sad", "s")] * 16)
    parts = [Batches(clips, [], of(labels, batch=4, epochs=1), steps.Length(0.05), rank, 2) for rank in (0, 1)]
    heard = [float(samples[0]) for step in (0, 1) for part in parts for samples in part[step][0]]
    assert len(set(heard)) == 16


@pytest.mark.parametrize(("count", "batch"), [(3, 8), (1, 2)])
def test_a_corpus_smaller_than_a_batch_fills_it(labels, count, batch):
    waveforms, wanted = Batches(clips_of(*[("c", "sad", "s")] * count), [], of(labels, batch=batch, epochs=1))[0]
    assert len(waveforms) == len(wanted) == batch
    assert len({float(samples.max()) for samples in waveforms}) == count


def test_odds_are_even_level_by_level():
    labels = [("a", "sad", "1")] * 6 + [("a", "sad", "2")] * 2 + [("a", "angry", "1")] * 4 + [("b", "angry", "1")] * 3
    clips = clips_of(*labels)

    def share(**data):
        found = odds(clips, DataSection(**data))
        assert found.sum() == pytest.approx(1)
        sums = Counter()
        for label, one in zip(labels, found.tolist(), strict=True):
            sums[label] += one
        assert len({(label, round(one, 12)) for label, one in zip(labels, found.tolist(), strict=True)}) == 4
        return [pytest.approx(sums[label]) for label in dict.fromkeys(labels)]

    assert share(balance_by=["corpus", "class", "speaker"], balance=0.0) == [1 / 8, 1 / 8, 1 / 4, 1 / 2]
    assert share(balance_by=["corpus", "emotion", "speaker"], balance=0.0) == [1 / 8, 1 / 8, 1 / 4, 1 / 2]
    # Speaker 1 of corpus a is one group, whatever the class; b's is another.
    assert share(balance_by=["corpus+speaker"], balance=0.0) == [6 / 10 / 3, 1 / 3, 4 / 10 / 3, 1 / 3]
    assert share(balance_by=["corpus", "class"], balance=1.0) == [6 / 15, 2 / 15, 4 / 15, 3 / 15]
    assert share(balance_by=[], balance=0.0) == [6 / 15, 2 / 15, 4 / 15, 3 / 15]
    a, b = 12**0.5, 3**0.5  # of clips
    sad, angry = 8**0.5, 4**0.5
    expected = [a / (a + b) * part for part in (sad / (sad + angry) * 6 / 8, sad / (sad + angry) * 2 / 8)]
    expected += [a / (a + b) * angry / (sad + angry), b / (a + b)]
    assert expected == share(balance_by=["corpus", "class"], balance=0.5)
    with pytest.raises(UsageError, match=r"data\.balance_by: 'colour' is not one of corpus, .*, class"):
        share(balance_by=["corpus+colour"])


def test_clips_are_drawn_by_the_odds(labels):
    clips = clips_of(*[("a", "sad", "1")] * 18, *[("b", "angry", "2")] * 2)
    recipe = of(labels, batch=500)
    recipe = replace(recipe, data=replace(recipe.data, balance_by=["corpus"], balance=0.0))
    _, wanted = Batches(clips, [], recipe)[0]
    assert 0.4 < float(wanted[:, 0].mean()) < 0.6  # of sorted classes: angry


@pytest.mark.parametrize(("clips", "processes", "epoch"), [(32, 1, 4), (33, 1, 5), (33, 2, 3), (3, 1, 1)])
def test_epochs_and_a_warm_up_ratio_become_steps(clips, processes, epoch):
    found = in_steps(TrainSection(epochs=10, batch=8, warmup_ratio=0.1, validate_every=7), clips, processes)
    assert (found.steps, found.validate_every, found.warmup) == (10 * epoch, epoch, epoch)
    as_is = TrainSection(steps=500, warmup=30, validate_every=7)
    assert in_steps(as_is, clips, processes) == as_is
    assert in_steps(replace(as_is, warmup_ratio=0.5), clips, processes).warmup == 250
