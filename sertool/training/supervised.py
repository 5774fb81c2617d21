"""Train on labelled clips and save the averaged weights that validate best."""

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from sertool import audio
from sertool.corpora import Row, check_speakers_disjoint, select
from sertool.corpora.folds import hold_out
from sertool.corpora.reading import rows_of
from sertool.errors import UsageError
from sertool.features import steps
from sertool.plugins import load_plugins
from sertool.registry import Model
from sertool.tasks import TASKS
from sertool.training import kept, loop
from sertool.training.data import Batches, Clips, decode, divided, in_steps
from sertool.training.loop import Progress
from sertool.training.losses import ChosenLoss
from sertool.training.prefetch import Prepare
from sertool.training.recipe import Preprocess, augmentations, substituted
from sertool.training.sections import DistilRecipe, Recipe, TrainSection
from sertool.training.targets import Targets, targets_of
from sertool.training.teacher import asker, build_teacher

#: (train, validation) rows.
Parts: TypeAlias = tuple[list[Row], list[Row]]


def rows(recipe: Recipe) -> tuple[list[Row], list[Row]]:
    """Return the rows of (data.root, the folders in data.also), limited to data.corpora."""
    data = recipe.data

    def selected(rows: list[Row]) -> list[Row]:
        return [row for row in rows if not data.corpora or row.corpus in data.corpora]

    main = rows_of(data.corpus, Path(data.root))
    also = [row for source in substituted(recipe, data.also) for row in rows_of(source["corpus"], Path(source["root"]))]
    return selected(main), selected(also)


def splits(recipe: Recipe) -> tuple[list[Row], list[Row], list[Row]]:
    """Return (train, validation, out-of-domain) rows, checked to have different speakers.

    Raises UsageError if train or validation is empty, except for the train split of a distillation, which does not
    need one; SertoolError if a speaker is in two parts.
    """
    data = recipe.data
    ood = select(rows(replace(recipe, data=replace(data, corpora=[])))[0], data.ood) if data.ood else []
    main, also = rows(recipe)
    if data.hold_out:
        targets = targets_of(load_plugins().get("models", recipe.model.name), recipe)
        main, also = ([row for row in part if targets.of(row) is not None] for part in (main, also))
        main = [row for row in main if not (data.ood and row.split == data.ood)]
        main = hold_out(main, data.hold_out, recipe.train.seed, data.train, data.val, data.hold_out_by)
        also = [replace(row, split=data.train) for row in also]
    everything = [*main, *also]
    train, val = select(everything, data.train), select(everything, data.val)
    required = {data.val: val} if isinstance(recipe, DistilRecipe) else {data.train: train, data.val: val}
    for split, part in required.items():
        if not part:
            raise UsageError(
                f"{data.root}: no row is in split {split!r}; set data.{'val' if part is val else 'train'} to the name "
                "of a split, or data.hold_out to a share of the clips"
            )
    disjoint = {data.train: train, data.val: val}
    if data.hold_out and data.hold_out_by == "clip":
        disjoint = {data.train: train + val}
    check_speakers_disjoint(**disjoint, **({data.ood: ood} if ood else {}))
    return train, val, ood


def train(
    recipe: Recipe, run: Path, stop: Callable[[], bool] = lambda: False, parts: Parts | None = None
) -> Generator[Progress, None, None]:
    """Train in folder ``run``, as loop.train does; ``parts`` replace the recipe's (train, validation) splits."""
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
    targets, loss = targets_of(model, recipe), ChosenLoss(recipe, model)
    if recipe.cache.versions:
        task, settings = yield from with_kept_states(recipe, run, model, network, (train_rows, val_rows), loss)
        yield from loop.train(task, settings, run, device, stop)
        return
    training = yield from decoded("decoding training clips", train_rows, targets, before)
    validate = yield from validation(val_rows, recipe, model)
    chain = augmentations(recipe, load_plugins())
    settings = in_steps(recipe.train, len(training.rows), loop.processes())
    batches = Batches(training, chain, replace(recipe, train=settings), length, loop.rank(), loop.processes())
    loss.prepare(training.targets)
    task = loop.Task(
        network,
        batches,
        loss,
        loss.terms(),
        prepare=taught(recipe, model, device) if recipe.teacher.name else as_they_are,
        validate=validate,
        figures=tuple(targets.figures),
    )
    yield from loop.train(task, settings, run, device, stop)


def with_kept_states(
    recipe: Recipe, run: Path, model: Model, network: torch.nn.Module, parts: Parts, loss: ChosenLoss
) -> Generator[Progress, None, tuple[loop.Task, TrainSection]]:
    """Return (Task, its settings) to train the head of a network on cached encoder outputs.

    Yields a Progress for each clip. Raises UsageError if the network or the recipe does not support this.
    """
    if not kept.is_split(network):
        raise UsageError(f"cache.versions: {model.name} has no frozen encoder and head; set it to 0")
    if recipe.teacher.name or recipe.train.epochs or loop.processes() > 1:
        raise UsageError("cache.versions does not work with [teacher], train.epochs or several processes")
    targets = targets_of(model, recipe)
    training = yield from _kept("encoding training clips", recipe, run, network, parts[0], recipe.cache.versions)
    validating = yield from kept_as_they_are("encoding validation clips", recipe, run, network, parts[1])
    frozen = network.state_dict()
    loss.prepare(training.targets)
    task = loop.Task(
        network.head,
        kept.KeptBatches(training, recipe, network.encoder.samples_a_token),
        loss,
        loss.terms(),
        validate=lambda head: targets.score(torch.stack([*kept.answers(head, validating)]).numpy(), validating.targets),
        figures=tuple(targets.figures),
        whole=lambda weights: frozen | {f"head.{name}": value for name, value in weights.items()},
    )
    return task, recipe.train


def kept_as_they_are(
    stage: str, recipe: Recipe, run: Path, network: kept.SplitNetwork, rows: list[Row]
) -> Generator[Progress, None, kept.KeptClips]:
    """Cache the encoder's outputs for unaugmented clips; yield a Progress for each clip and return the KeptClips."""
    return _kept(stage, recipe, run, network, rows, 0)


def _kept(
    stage: str, recipe: Recipe, run: Path, network: kept.SplitNetwork, rows: list[Row], versions: int
) -> Generator[Progress, None, kept.KeptClips]:
    plugins = load_plugins()
    model = plugins.get("models", recipe.model.name)
    chain = augmentations(recipe, plugins) if versions else []
    before, folder = steps.build(recipe.input.steps), kept_folder(recipe, run)
    return kept.keep(stage, rows, recipe, network.encoder, targets_of(model, recipe), before, chain, folder, versions)


def kept_folder(recipe: Recipe, run: Path) -> Path:
    """Return the folder for cached data: cache.folder, or a folder in the run's folder."""
    return Path(substituted(recipe, recipe.cache.folder)) if recipe.cache.folder else run / "kept"


def as_they_are(waveforms: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the targets unchanged, for training without a teacher."""
    return targets


def taught(recipe: Recipe, model: Model, device: torch.device) -> Prepare:
    """Return prepare(waveforms, targets) of a Task: the targets mixed with the teacher's outputs for the waveforms."""
    share, ask = recipe.teacher.share, asker(build_teacher(recipe, model), recipe.train, device)
    answer = TASKS[model.task].answer

    def prepare(waveforms: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = (1 - share) * targets + share * answer(ask(waveforms))
        return mixed

    return prepare


def validation(
    rows: list[Row], recipe: Recipe, model: Model
) -> Generator[Progress, None, Callable[[torch.nn.Module], dict[str, float] | None]]:
    """Decode clips; yield a Progress for each and return a function that computes a network's metrics on them.

    With several processes only the first one decodes, as only it validates.
    """
    if loop.rank() != 0:
        return lambda network: None
    targets = targets_of(model, recipe)
    clips = yield from decoded("decoding validation clips", rows, targets, steps.build(recipe.input.steps))
    return lambda network: targets.score(predict(network, clips), clips.targets)


@torch.inference_mode()
def predict(network: torch.nn.Module, clips: Clips) -> npt.NDArray[np.float32]:
    """Return the outputs [clips, k] for whole, unpadded clips, computed one at a time as in `label`."""
    device = next(network.parameters()).device
    outputs = [network(torch.from_numpy(clip)[None].to(device))[0].float().cpu().numpy() for clip in clips.waveforms]
    return np.stack(outputs)


def decoded(stage: str, rows: list[Row], targets: Targets, before: Preprocess) -> Generator[Progress, None, Clips]:
    """Decode clips; yield a Progress for each and return the Clips."""
    decoding = decode(rows, targets, before)
    while True:
        try:
            yield Progress(stage, *next(decoding))
        except StopIteration as end:
            clips: Clips = end.value
            return clips
