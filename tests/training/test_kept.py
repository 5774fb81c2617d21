"""What a frozen encoder and a teacher give, kept on disk: computed once, gone on with, never mixed up."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from sertool import audio
from sertool.corpora.buckets import Bucket
from sertool.errors import UsageError
from sertool.plugins import load_plugins
from sertool.training import answers, crossval, distil, kept, loop, supervised
from sertool.training.recipe import augmentations, load_recipe, substituted
from sertool.training.sections import DistilRecipe, Recipe
from sertool.training.teacher import asker, build_teacher

SIZES = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
MODEL = f"options = {{ size = 'tiny', layers = 2, mix = 2, hidden = 8, attention = 4, config = {json.dumps(SIZES)} }}"
SMALL = {
    "steps": 6,
    "batch": 4,
    "validate_every": 2,
    "shortest_s": 0.2,
    "longest_s": 0.5,
    "threads": 1,
    "workers": 0,
    "warmup": 2,
}
TRAIN = f"""
[model]
name = "whisper-emotion"
{MODEL.replace(":", " =")}
[cache]
versions = 2
[[augment]]
name = "gain"
"""
DISTIL = """
[model]
name = "wav2small-emotion"
[teacher]
name = "teacher-emotion"
options = { members = [{ bundle = "wav2small-emotion" }] }
[excerpts]
sources = [{ root = "$root", split = "train" }]
[cache]
batches = 3
[[augment]]
name = "gain"
"""


@pytest.fixture
def recipe(corpus, tmp_path):
    """recipe(text, *overrides): small, its kept things in a folder of the test's."""

    def load(text, *overrides):
        path = tmp_path / "r.toml"
        path.write_text(text)
        own = [f"data.root={corpus}", f"cache.folder={tmp_path / 'kept'}", "bundle.runs=0"]
        own += [f"train.{key}={value}" for key, value in SMALL.items()]
        return load_recipe(path, [*own, *overrides], kind=DistilRecipe if "excerpts" in text else Recipe)

    return load


def stages(progress):
    return [(p.stage, p.done, p.total) for p in progress]


def weights(run):
    return torch.load(run / "last.pt", weights_only=True)["network"]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# States


def test_arrays_come_back_as_they_were_made_and_are_made_once(tmp_path):
    made = []

    def make(name):
        made.append(name)
        return np.full((int(name), 3), int(name)), f"note {name}"

    states = kept.States(tmp_path, {"a": 1}, (3,))
    assert list(states.fill({"2": 2, "5": 5}, make)) == [(1, 2), (2, 2)]
    again = kept.States(tmp_path, {"a": 1}, (3,))
    assert list(again.fill({"2": 2, "5": 5, "1": 1}, make)) == [(3, 3)]
    assert made == ["2", "5", "1"]
    for n in (1, 2, 5):
        assert np.array_equal(again[str(n)], np.full((n, 3), n, np.float16))
    assert again.notes == {"2": "note 2", "5": "note 5", "1": "note 1"}
    assert "2" not in kept.States(tmp_path, {"a": 2}, (3,))


@pytest.mark.parametrize("cut", ["index", "states", "torn line", "both"])
def test_what_a_cut_left_half_is_made_again(tmp_path, cut):
    def make(name):
        return np.full((4, 2), int(name)), ""

    wanted = {str(n): 4 for n in range(5)}
    states = kept.States(tmp_path, {}, (2,))
    list(states.fill(wanted, make))
    index, data = states.folder / kept.INDEX, states.folder / kept.STATES
    lines, size = index.read_text().splitlines(keepends=True), data.stat().st_size
    if cut in ("index", "both"):
        index.write_text("".join(lines[:3]))
    if cut == "torn line":
        index.write_text("".join(lines[:4]) + lines[4][:3])
    if cut in ("states", "both"):
        with open(data, "r+b") as stream:
            stream.truncate(size - 5)
    again = kept.States(tmp_path, {}, (2,))
    assert len(list(again.fill(wanted, make))) == (2 if cut in ("index", "both") else 1)
    assert data.stat().st_size == size
    for n in range(5):
        assert np.array_equal(again[str(n)], np.full((4, 2), n, np.float16))


def test_an_error_on_the_way_keeps_what_was_made(tmp_path):
    def make(name):
        if name == "3":
            raise UsageError("no 3")
        return np.zeros((1, 1)), ""

    states = kept.States(tmp_path, {}, (1,))
    with pytest.raises(UsageError, match="no 3"):
        list(states.fill({str(n): 1 for n in range(9)}, make))
    assert [name in kept.States(tmp_path, {}, (1,)) for name in "01234"] == [True, True, True, False, False]


def test_too_much_for_the_disk_is_said_before_anything_is_made(tmp_path):
    states = kept.States(tmp_path, {}, (1 << 20,))
    with pytest.raises(
        UsageError, match=r"2 clips or batches takes [\d.]+ GB, but [\d.]+ GB are free; set cache\.folder"
    ):
        list(states.fill({"a": 1e9, "b": 1e9}, lambda name: pytest.fail("made")))


def test_two_runs_do_not_fill_one_folder_at_once(tmp_path):
    states = kept.States(tmp_path, {}, (1,))
    filling = states.fill({"a": 1, "b": 1}, lambda name: (np.zeros((1, 1)), ""))
    next(filling)
    other = kept.States(tmp_path, {}, (1,))
    with pytest.raises(UsageError, match="another run is filling it"):
        list(other.fill({"c": 1}, lambda name: (np.zeros((1, 1)), "")))
    filling.close()
    assert list(kept.States(tmp_path, {}, (1,)).fill({"a": 1, "c": 1}, lambda name: (np.zeros((1, 1)), ""))) == [(2, 2)]


def test_who_only_looks_takes_nothing_from_who_fills(tmp_path):
    def make(name):
        return np.full((1, 1), int(name)), ""

    filling = kept.States(tmp_path, {}, (1,)).fill({str(n): 1 for n in range(6)}, make)
    next(filling)
    looking = kept.States(tmp_path, {}, (1,))
    assert list(looking.fill({"0": 1}, make)) == []  # there already: nothing to wait for
    list(filling)
    again = kept.States(tmp_path, {}, (1,))
    assert [float(again[str(n)][0, 0]) for n in range(6)] == [0, 1, 2, 3, 4, 5]


# A head on a frozen encoder


@pytest.mark.slow("trains or exports a network")
def test_a_head_trains_on_what_is_kept_and_the_next_run_encodes_nothing(recipe, tmp_path):
    first = stages(supervised.train(recipe(TRAIN), tmp_path / "a"))
    assert first[:32] == [("encoding training clips", n, 32) for n in range(1, 33)]
    assert first[32] == ("encoding validation clips", 1, 8)
    second = stages(supervised.train(recipe(TRAIN), tmp_path / "b"))
    assert second == [("training", n, 6) for n in range(1, 7)]
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    other = stages(supervised.train(recipe(TRAIN, "augment.gain.low=-3"), tmp_path / "c"))
    assert other[0] == ("encoding training clips", 1, 32)
    assert stages(supervised.train(recipe(TRAIN, "cache.seed=1"), tmp_path / "e"))[0] == other[0]
    more = stages(supervised.train(recipe(TRAIN, "cache.versions=3"), tmp_path / "d"))
    assert more[0] == ("encoding training clips", 33, 48)  # the first two versions are there


def test_a_run_that_was_cut_off_while_encoding_comes_to_the_same_weights(recipe, tmp_path):
    list(supervised.train(recipe(TRAIN), tmp_path / "whole"))
    cut = supervised.train(recipe(TRAIN, f"cache.folder={tmp_path / 'other'}"), tmp_path / "cut")
    for _ in range(7):
        next(cut)
    cut.close()
    resumed = stages(supervised.train(recipe(TRAIN, f"cache.folder={tmp_path / 'other'}"), tmp_path / "cut"))
    assert resumed[0] in [("encoding training clips", n, 32) for n in range(7, 12)]
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_what_is_kept_is_what_the_encoder_says_of_the_clip(recipe, tmp_path, corpus):
    settings = recipe(TRAIN)
    _, network = loop.build(settings)
    _, val, _ = supervised.splits(settings)
    found = finished(supervised.kept_as_they_are("x", settings, tmp_path, network, val))
    for place, row in enumerate(found.rows):
        with torch.inference_mode():
            wanted = network.encoder(torch.from_numpy(audio.read(row.file))[None])[0].numpy()
        assert np.abs(found.version(place).astype(np.float32) - wanted).max() < 2e-3 * np.abs(wanted).max()
    # The head that was trained so is the network's, within what 16 bits leave of the states.
    list(supervised.train(settings, tmp_path / "run"))
    _, best, _ = loop.best_network(settings, tmp_path / "run")
    kept_outputs = torch.stack([*kept.answers(best.head, found)])
    with torch.inference_mode():
        whole = torch.stack([best(torch.from_numpy(audio.read(row.file))[None])[0] for row in found.rows])
    assert (kept_outputs - whole).abs().max() < 0.01


def finished(generator):
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (['model.name="wav2small-emotion"', "model.options={}"], "wav2small-emotion has no frozen encoder and head"),
        (["train.epochs=2"], r"does not work with \[teacher\], train.epochs or several processes"),
    ],
)
def test_what_cannot_be_kept_is_said(recipe, tmp_path, overrides, said):
    with pytest.raises(UsageError, match=said):
        list(supervised.train(recipe(TRAIN, *overrides), tmp_path / "run"))


# A teacher's answers


@pytest.mark.slow("trains networks")
def test_answers_are_the_teachers_and_every_arm_reuses_them(recipe, tmp_path, corpus):
    first = stages(distil.distil(recipe(DISTIL), tmp_path / "a"))
    assert first[:3] == [("mixing", n, 3) for n in (1, 2, 3)]
    assert first[3:6] == [("computing teacher outputs", n, 3) for n in (1, 2, 3)]
    second = stages(distil.distil(recipe(DISTIL, "train.lr=0.01", "loss.temperature=2"), tmp_path / "b"))
    assert {stage for stage, *_ in second} == {"decoding validation clips", "training"}
    for other in ("cache.seed=1", "train.fill=repeat", 'input.steps=[{ step = "peak" }]', "augment.gain.p=0.5"):
        assert stages(distil.distil(recipe(DISTIL, other), tmp_path / other[:12]))[0] == ("mixing", 1, 3)
    seed = stages(distil.distil(recipe(DISTIL, "train.seed=1"), tmp_path / "seed"))
    assert {stage for stage, *_ in seed} == {"decoding validation clips", "training"}
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "seed"))
    settings = recipe(DISTIL)
    model = load_plugins().get("models", "wav2small-emotion")
    teacher = build_teacher(settings, model)
    batches = kept_batches(settings, model, tmp_path)
    seen = set()
    for step in range(6):
        waveforms, targets = batches[step]
        assert waveforms.dtype == torch.float32
        assert waveforms.shape[0] == 4
        assert torch.allclose(targets.softmax(1), teacher(waveforms).softmax(1), atol=2e-3)
        seen.add(float(waveforms.square().sum()))
    assert len(seen) == 3  # each kept batch once a turn
    assert batches[0][0].shape == batches[0][0].shape


def kept_batches(settings, model, tmp_path):
    bucket = Bucket(substituted(settings, settings.excerpts.sources))
    excerpts = distil.Excerpts(bucket, augmentations(settings, load_plugins()), settings.train)
    teacher = build_teacher(settings, model)
    ask = asker(teacher, settings.train, torch.device("cpu"))
    return finished(answers.keep(excerpts, settings, teacher, ask, tmp_path / "kept", model))


def test_a_labels_share_of_the_target_is_the_labels(recipe, tmp_path):
    model = load_plugins().get("models", "wav2small-emotion")
    alone = kept_batches(recipe(DISTIL), model, tmp_path)
    mixed = kept_batches(recipe(DISTIL, "teacher.share=0.25"), model, tmp_path)
    for step in range(3):
        (_, plain), (_, found) = alone[step], mixed[step]
        label = (found.softmax(1) - 0.25 * plain.softmax(1)) / 0.75
        assert torch.allclose(label.max(dim=1).values, torch.ones(4), atol=1e-3)
    assert len(answers.labels(recipe(DISTIL, "teacher.share=0.25"), model)) == 16
    assert answers.labels(recipe(DISTIL), model) == {}


def test_balanced_targets_hold_as_much_of_every_class(recipe, tmp_path):
    model = load_plugins().get("models", "wav2small-emotion")
    plain = kept_batches(recipe(DISTIL), model, tmp_path)
    even = kept_batches(recipe(DISTIL, "loss.balanced=true"), model, tmp_path)
    before = torch.cat([plain[step][1].softmax(1) for step in range(3)])
    after = torch.cat([even[step][1].softmax(1) for step in range(3)])
    expected = before / before.mean(dim=0)
    assert torch.allclose(after, expected / expected.sum(dim=1, keepdim=True), atol=1e-4)
    assert after.mean(dim=0).std() < before.mean(dim=0).std()
    with pytest.raises(UsageError, match=r"loss\.balanced requires a categorical model and cache\.batches"):
        list(distil.distil(recipe(DISTIL, "loss.balanced=true", "cache.batches=0"), tmp_path / "run"))


# Folds


@pytest.mark.slow("trains or exports a network")
def test_each_fold_answers_for_whom_it_left_out_and_all_for_others(recipe, tmp_path, corpus):
    manifest = corpus / "manifest.csv"
    rows = list(csv.DictReader(manifest.read_text().splitlines()))
    settings = recipe(TRAIN, "folds.by=speaker", "data.ood=none")
    folds = crossval.folds(settings)
    for fold in folds:
        list(crossval.run_fold(settings, fold, tmp_path / "cv" / f"fold-{fold.name}"))
    build = load_plugins().get("models", "teacher-emotion").build
    teacher = build(members=[{"crossval": str(tmp_path / "cv")}])
    assert teacher.knows_files
    singles = [build(members=[{"run": str(tmp_path / "cv" / f"fold-{fold.name}")}]) for fold in folds]
    samples = torch.from_numpy(0.1 * np.random.default_rng(0).standard_normal((5, 6_000)).astype(np.float32))
    each = torch.stack([single(samples).exp() for single in singles])
    files = [next(row.file for row in fold.test) for fold in folds]
    assert len(files) == 4
    found = teacher(samples, [*files, corpus / "nobody.wav"]).exp()
    for place in range(4):
        assert torch.allclose(found[place], each[place, place], atol=1e-5)
    assert torch.allclose(found[4], each[:, 4].mean(dim=0), atol=1e-5)
    assert torch.allclose(teacher(samples).exp(), each.mean(dim=0), atol=1e-5)
    assert len(rows) == 32
    shutil.rmtree(tmp_path / "cv")
    with pytest.raises(UsageError, match="no finished fold"):
        build(members=[{"crossval": str(tmp_path / "cv")}])
