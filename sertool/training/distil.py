"""Distil a teacher into a student (arXiv 2408.13920): both hear the same augmented audio, no labels are needed."""

import copy
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
from .recipe import DistilRecipe, Step, augmentations, substituted
from .supervised import decoded, predict


class Excerpts(torch.utils.data.Dataset):
    """Batch number ``step`` of a run: augmented excerpts of one random length, [batch, samples], and what of it the
    teacher hears: as much again, or an empty tensor where that is the same, as in the paper.

    The same step of the same seed and rank is the same batch, whichever worker makes it. Nothing is cut off at +-1:
    students normalise the level themselves.
    """

    def __init__(self, bucket: Bucket, chain: list[Step], settings, rank: int = 0):
        self.bucket, self.chain, self.settings, self.rank = bucket, chain, settings, rank
        self.same = not any(step.student_only for step in chain)

    def __len__(self):
        return self.settings.steps

    def __getitem__(self, step: int):
        rng = np.random.default_rng([self.settings.seed, step, self.rank])
        length = int(rng.uniform(self.settings.shortest_s, self.settings.longest_s) * audio.SAMPLE_RATE)
        pairs = [self._excerpt(length, rng) for _ in range(self.settings.batch)]
        student, teacher = (torch.from_numpy(np.stack(clips)) for clips in zip(*pairs, strict=True))
        return student, torch.empty(0) if self.same else teacher

    def _excerpt(self, length: int, rng) -> tuple[np.ndarray, np.ndarray]:
        student = teacher = self.bucket.excerpt(length, rng)
        for step in self.chain:
            if rng.random() >= step.p:
                continue
            again = copy.deepcopy(rng)  # so that both are changed in the same way
            changed = step.change(student, rng)
            if not step.student_only:
                teacher = changed if teacher is student else step.change(teacher, again)
            student = changed
        place = rng.random()
        return tuple(fit(clip, length, place).astype(np.float32, copy=False) for clip in (student, teacher))


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

    def ask_teacher(waveforms, heard):
        with torch.inference_mode(), loop.mixed_precision(recipe.train, device):
            answers = teacher(heard if len(heard) else waveforms).float()
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
    return _folded(teacher.eval().requires_grad_(False))


def _folded(network: torch.nn.Module) -> torch.nn.Module:
    """The network with each BatchNorm2d that follows a Conv2d in a Sequential folded into it: a third of the time."""
    for module in list(network.modules()):
        if isinstance(module, torch.nn.Sequential):
            for i in range(len(module) - 1):
                if isinstance(module[i], torch.nn.Conv2d) and isinstance(module[i + 1], torch.nn.BatchNorm2d):
                    module[i] = torch.nn.utils.fuse_conv_bn_eval(module[i], module[i + 1])
                    module[i + 1] = torch.nn.Identity()
    return network
