"""Train on labelled clips, keep the averaged weights that validate best."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sertool import audio
from sertool.corpora import Row, check_speakers_disjoint, select
from sertool.corpora.folds import hold_out
from sertool.corpora.reading import rows_of
from sertool.errors import UsageError
from sertool.features import steps
from sertool.plugins import load_plugins
from sertool.tasks import TASKS
from sertool.training import kept, loop
from sertool.training.data import Batches, Clips, decode, divided, in_steps
from sertool.training.loop import Progress
from sertool.training.recipe import DistilRecipe, Recipe, augmentations, substituted
from sertool.training.targets import targets_of
from sertool.training.teacher import asker, build_teacher


def rows(recipe: Recipe) -> tuple[list[Row], list[Row]]:
    """(the recipe's corpora, those that it has beside them in data.also), without what is not in data.corpora."""
    data = recipe.data
    own = rows_of(data.corpus, Path(data.root))
    also = [row for source in substituted(recipe, data.also) for row in rows_of(source["corpus"], Path(source["root"]))]
    return tuple([row for row in part if not data.corpora or row.corpus in data.corpora] for part in (own, also))


def splits(recipe: Recipe):
    """(train, val, out-of-domain) rows, their speakers checked to be different.

    UsageError if train or val is empty; a distillation, which learns from no row, needs no train split.
    """
    data = recipe.data
    ood = select(rows(replace(recipe, data=replace(data, corpora=[])))[0], data.ood) if data.ood else []
    own, also = rows(recipe)
    if data.hold_out:
        wanted = targets_of(load_plugins().get("models", recipe.model.name), recipe)
        own, also = ([row for row in part if wanted.of(row) is not None] for part in (own, also))
        own = [row for row in own if not (data.ood and row.split == data.ood)]
        own = hold_out(own, data.hold_out, recipe.train.seed, data.train, data.val, data.hold_out_by)
        also = [replace(row, split=data.train) for row in also]
    known = [*own, *also]
    train, val = select(known, data.train), select(known, data.val)
    needed = {data.val: val} if isinstance(recipe, DistilRecipe) else {data.train: train, data.val: val}
    for split, part in needed.items():
        if not part:
            raise UsageError(
                f"{data.root}: no row in split {split!r}; name it in data.{'val' if part is val else 'train'}, or give "
                "data.hold_out a share of speakers"
            )
    apart = {data.train: train, data.val: val}
    if data.hold_out and data.hold_out_by == "clip":
        apart = {data.train: train + val}
    check_speakers_disjoint(**apart, **({data.ood: ood} if ood else {}))
    return train, val, ood


def train(recipe: Recipe, run: Path, stop: Callable[[], bool] = lambda: False, parts=None) -> Iterator[Progress]:
    """Train in folder ``run``, as loop.train does; ``parts``: (train, val) rows in place of the recipe's splits."""
    device = loop.start(recipe, run)
    model, network = loop.build(recipe)
    train_rows, val_rows = parts or splits(recipe)[:2]
    before, length = divided(steps.build(recipe.input.steps))
    if not length and recipe.train.shortest_s * audio.SAMPLE_RATE < model.shortest:
        raise UsageError(
            f"train.shortest_s: {recipe.train.shortest_s:g} s is too short, {model.name} needs "
            f"{model.shortest / audio.SAMPLE_RATE:g} s ({model.shortest} samples)"
        )
    if not TASKS[model.task].has_classes and any("class" in level.split("+") for level in recipe.data.balance_by):
        raise UsageError(f"data.balance_by: {model.name} has no classes; write emotion")
    targets = targets_of(model, recipe)
    if recipe.cache.versions:
        task, settings = yield from with_kept_states(recipe, run, model, network, (train_rows, val_rows))
        yield from loop.train(task, settings, run, device, stop)
        return
    training = yield from decoded("decoding training clips", train_rows, targets, before)
    validate = yield from validation(val_rows, recipe, model)
    chain = augmentations(recipe, load_plugins())
    settings = in_steps(recipe.train, len(training.rows), loop.processes())
    batches = Batches(training, chain, replace(recipe, train=settings), length, loop.rank(), loop.processes())
    task = loop.Task(
        network,
        batches,
        targets.loss(training.targets),
        prepare=taught(recipe, model, device) if recipe.teacher.name else as_they_are,
        validate=validate,
        figures=tuple(targets.figures),
    )
    yield from loop.train(task, settings, run, device, stop)


def with_kept_states(recipe: Recipe, run: Path, model, network, parts):
    """A Task that trains the head of a network on its encoder's outputs, computed once; (Task, its settings).

    The generator yields a Progress a clip. UsageError for a network or a recipe that this does not fit.
    """
    if not kept.is_split(network):
        raise UsageError(f"cache.versions: {model.name} has no frozen encoder and head; write 0")
    if recipe.teacher.name or recipe.train.epochs or loop.processes() > 1:
        raise UsageError("cache.versions goes with neither [teacher], train.epochs nor several processes")
    targets = targets_of(model, recipe)
    training = yield from _kept("encoding training clips", recipe, run, network, parts[0], recipe.cache.versions)
    validating = yield from kept_as_they_are("encoding validation clips", recipe, run, network, parts[1])
    frozen = network.state_dict()
    task = loop.Task(
        network.head,
        kept.KeptBatches(training, recipe, network.encoder.samples_a_token),
        targets.loss(training.targets),
        validate=lambda head: targets.score(torch.stack([*kept.answers(head, validating)]).numpy(), validating.targets),
        figures=tuple(targets.figures),
        whole=lambda weights: frozen | {f"head.{name}": value for name, value in weights.items()},
    )
    return task, recipe.train


def kept_as_they_are(stage: str, recipe: Recipe, run: Path, network, rows):
    """The encoder's outputs of clips as they are, with a Progress a clip; the generator's value is the KeptClips."""
    return _kept(stage, recipe, run, network, rows, 0)


def _kept(stage: str, recipe: Recipe, run: Path, network, rows, versions: int):
    plugins = load_plugins()
    model = plugins.get("models", recipe.model.name)
    chain = augmentations(recipe, plugins) if versions else []
    before, folder = steps.build(recipe.input.steps), kept_folder(recipe, run)
    return kept.keep(stage, rows, recipe, network.encoder, targets_of(model, recipe), before, chain, folder, versions)


def kept_folder(recipe: Recipe, run: Path) -> Path:
    """Where what is computed once is kept: cache.folder, or a folder of the run's own."""
    return Path(substituted(recipe, recipe.cache.folder)) if recipe.cache.folder else run / "kept"


def as_they_are(waveforms, targets):
    """Targets as they are: without a teacher."""
    return targets


def taught(recipe: Recipe, model, device):
    """prepare(waveforms, targets) of a Task: targets mixed with what the recipe's teacher says of the same audio."""
    share, ask = recipe.teacher.share, asker(build_teacher(recipe, model), recipe.train, device)
    answer = TASKS[model.task].answer

    def prepare(waveforms, targets):
        return (1 - share) * targets + share * answer(ask(waveforms))

    return prepare


def validation(rows, recipe: Recipe, model):
    """Decode clips with a Progress each; the generator's value gives a network's figures on them by name.

    Only the first of several processes decodes, as only it validates.
    """
    if loop.rank() != 0:
        return lambda network: None
    targets = targets_of(model, recipe)
    clips = yield from decoded("decoding validation clips", rows, targets, steps.build(recipe.input.steps))
    return lambda network: targets.score(predict(network, clips), clips.targets)


@torch.inference_mode()
def predict(network, clips: Clips) -> np.ndarray:
    """Outputs [clips, k] of whole, unpadded clips, one by one as `label` sees them."""
    device = next(network.parameters()).device
    outputs = [network(torch.from_numpy(clip)[None].to(device))[0].float().cpu().numpy() for clip in clips.waveforms]
    return np.stack(outputs)


def decoded(stage: str, rows, targets, before):
    """Decode with a Progress a clip; the generator's value is the Clips."""
    decoding = decode(rows, targets, before)
    while True:
        try:
            yield Progress(stage, *next(decoding))
        except StopIteration as end:
            return end.value
