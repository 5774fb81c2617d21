"""Distil a teacher into a student (arXiv 2408.13920): both hear the same augmented audio, no labels are needed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from .. import audio
from ..corpora import select
from ..errors import UsageError
from ..evaluation.dimensional import concordance
from ..plugins import load_plugins
from . import loop
from .buckets import Bucket, fit
from .loop import Progress
from .losses import ccc_loss, quadrant_correction
from .recipe import DistilRecipe, augmentations, substituted
from .supervised import decoded, predict


class Excerpts(torch.utils.data.Dataset):
    """Batch number ``step`` of a run: ([batch, samples] augmented excerpts of one random length, no targets).

    The same step of the same seed and rank is the same batch, whichever worker makes it. Nothing is cut off at +-1:
    students normalise the level themselves.
    """

    def __init__(self, bucket: Bucket, chain: list, settings, rank: int = 0):
        self.bucket, self.chain, self.settings, self.rank = bucket, chain, settings, rank

    def __len__(self):
        return self.settings.steps

    def __getitem__(self, step: int):
        rng = np.random.default_rng([self.settings.seed, step, self.rank])
        length = int(rng.uniform(self.settings.shortest_s, self.settings.longest_s) * audio.SAMPLE_RATE)
        waveforms = np.stack([self._excerpt(length, rng) for _ in range(self.settings.batch)])
        return torch.from_numpy(waveforms), torch.empty(0)

    def _excerpt(self, length: int, rng) -> np.ndarray:
        samples = self.bucket.excerpt(length, rng)
        for probability, change in self.chain:
            if rng.random() < probability:
                samples = change(samples, rng)
        return fit(samples, length, rng.random()).astype(np.float32, copy=False)


def distil(recipe: DistilRecipe, run: Path, stop: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
    """Train the student in folder ``run``, as loop.train does.

    Where the recipe names labelled data, the weights that are best on its ``val`` are kept; else the last ones.
    """
    device = loop.start(recipe, run)
    model, network = loop.build(recipe)
    teacher = build_teacher(recipe, model).to(device, memory_format=torch.channels_last)
    bucket = Bucket(substituted(recipe, recipe.excerpts.sources))
    batches = Excerpts(bucket, augmentations(recipe, load_plugins()), recipe.train, loop.rank())
    validation = None
    if recipe.data.root:
        rows = load_plugins().get("corpora", recipe.data.corpus).read(Path(recipe.data.root))
        rows = select(rows, recipe.data.val, recipe.data.corpora)
        if not rows:
            raise UsageError(f"{recipe.data.root}: no row in split {recipe.data.val!r}")
        validation = yield from decoded("decoding validation clips", rows, recipe)

    def ask_teacher(waveforms, _):
        with torch.inference_mode(), loop.mixed_precision(recipe.train, device):
            answers = teacher(waveforms).float()
        return answers.clone()  # made in inference mode, it could not take part in a loss

    def loss(outputs, answers):
        terms = {
            "ccc": recipe.loss.ccc * ccc_loss(outputs, answers),
            "quadrant": recipe.loss.quadrant * quadrant_correction(outputs, answers, recipe.loss.neutral),
        }
        return sum(terms.values()), terms

    def validate(network):
        if validation:
            return concordance(predict(network, validation), validation.targets, model.outputs)

    task = loop.Task(network, batches, loss, ask_teacher, validate)
    yield from loop.train(task, recipe.train, run, device, stop)


def build_teacher(recipe: DistilRecipe, student) -> torch.nn.Module:
    """The recipe's teacher, frozen; UsageError if its outputs are not the student's."""
    model = load_plugins().get("models", recipe.teacher.name)
    if model.outputs != student.outputs:
        raise UsageError(
            f"teacher {model.name!r} answers {', '.join(model.outputs)}; "
            f"student {student.name!r} needs {', '.join(student.outputs)}"
        )
    try:
        teacher = model.build(**substituted(recipe, recipe.teacher.options))
    except TypeError as error:
        raise UsageError(f"teacher.options for {model.name!r}: {error}") from None
    return teacher.eval().requires_grad_(False)
