"""Train on targets with the CCC loss, keep the averaged weights that validate best."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from ..corpora import check_speakers_disjoint, select
from ..errors import UsageError
from ..evaluation.dimensional import concordance
from ..plugins import load_plugins
from . import loop
from .data import Batches, Clips, decode
from .loop import Progress
from .losses import ccc_loss
from .recipe import DistilRecipe, Recipe, augmentations


def splits(recipe: Recipe):
    """(train, val, out-of-domain) rows, their speakers checked to be different.

    UsageError if train or val is empty; a distillation, which learns from no row, needs no train split.
    """
    data = recipe.data
    rows = load_plugins().get("corpora", data.corpus).read(Path(data.root))
    train, val = (select(rows, split, data.corpora) for split in (data.train, data.val))
    ood = select(rows, data.ood) if data.ood else []
    needed = {data.val: val} if isinstance(recipe, DistilRecipe) else {data.train: train, data.val: val}
    for split, part in needed.items():
        if not part:
            raise UsageError(f"{data.root}: no row in split {split!r}")
    check_speakers_disjoint(**{data.train: train, data.val: val, **({data.ood: ood} if ood else {})})
    return train, val, ood


def train(recipe: Recipe, run: Path, stop: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
    """Train in folder ``run``, as loop.train does."""
    device = loop.start(recipe, run)
    model, network = loop.build(recipe)
    train_rows, val_rows, _ = splits(recipe)
    training = yield from decoded("decoding training clips", train_rows, recipe)
    validate = yield from validation(val_rows, recipe, model)

    def loss(outputs, targets):
        return ccc_loss(outputs, targets), {}

    chain = augmentations(recipe, load_plugins())
    batches = Batches(training, chain, recipe.train, recipe.data.balance, loop.rank())
    task = loop.Task(network, batches, loss, validate=validate, figures=model.outputs)
    yield from loop.train(task, recipe.train, run, device, stop)


def validation(rows, recipe: Recipe, model):
    """Decode clips with a Progress each; the generator's value gives a network's CCC on them, by output.

    Only the first of several processes decodes, as only it validates.
    """
    if loop.rank() != 0:
        return lambda network: None
    clips = yield from decoded("decoding validation clips", rows, recipe)
    return lambda network: concordance(predict(network, clips), clips.targets, model.outputs)


@torch.inference_mode()
def predict(network, clips: Clips) -> np.ndarray:
    """Outputs [clips, k] of whole, unpadded clips, one by one as `label` sees them."""
    device = next(network.parameters()).device
    outputs = [network(torch.from_numpy(clip)[None].to(device))[0].float().cpu().numpy() for clip in clips.waveforms]
    return np.stack(outputs)


def decoded(stage: str, rows, recipe: Recipe):
    """Decode with a Progress a clip; the generator's value is the Clips."""
    decoding = decode(rows, recipe.targets.intensity)
    while True:
        try:
            yield Progress(stage, *next(decoding))
        except StopIteration as end:
            return end.value
