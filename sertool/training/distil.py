"""Distil a teacher into a student (arXiv 2408.13920): both hear the same augmented audio, no labels are needed."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sertool import audio
from sertool.corpora.buckets import Bucket, fit
from sertool.errors import UsageError
from sertool.features import steps
from sertool.plugins import load_plugins
from sertool.tasks import TASKS
from sertool.training import answers, loop
from sertool.training.loop import Progress
from sertool.training.losses import ccc_loss, quadrant_correction
from sertool.training.recipe import DistilRecipe, Step, augmentations, substituted
from sertool.training.supervised import as_they_are, kept_folder, splits, validation
from sertool.training.targets import targets_of
from sertool.training.teacher import asker, build_teacher


class Excerpts(torch.utils.data.Dataset):
    """Batch number ``step`` of a run: augmented excerpts of one random length, [batch, samples], and what of it the
    teacher hears: as much again, or an empty tensor where that is the same, as in the paper.

    ``before`` is the pre-processing that the student's bundle names; it hears whole recordings. The same step of the
    same seed and rank is the same batch, whichever worker makes it. Nothing is cut off at +-1: students normalise the
    level themselves.
    """

    def __init__(
        self, bucket: Bucket, chain: list[Step], settings, rank: int = 0, before: Callable = lambda clip: clip
    ):
        self.bucket, self.chain, self.settings, self.rank, self.before = bucket, chain, settings, rank, before
        self.same = not any(step.student_only for step in chain)

    def __len__(self):
        return self.settings.steps

    def __getitem__(self, step: int):
        student, teacher, _ = self.drawn(step)
        return torch.from_numpy(student), torch.empty(0) if self.same else torch.from_numpy(teacher)

    def drawn(self, step: int) -> tuple[np.ndarray, np.ndarray, list[Path]]:
        """What student and teacher hear in a step, float32 [batch, samples] each, and the recordings it is of."""
        rng = np.random.default_rng([self.settings.seed, step, self.rank])
        length = int(rng.uniform(self.settings.shortest_s, self.settings.longest_s) * audio.SAMPLE_RATE)
        student, teacher, files = zip(*(self._excerpt(length, rng) for _ in range(self.settings.batch)), strict=True)
        return np.stack(student), np.stack(teacher), [*files]

    def _excerpt(self, length: int, rng) -> tuple[np.ndarray, np.ndarray, Path]:
        excerpt, file = self.bucket.stretch(length, rng, self.before)
        student = teacher = self._filled(excerpt, length, rng.random())
        for step in self.chain:
            if rng.random() >= step.p:
                continue
            again = copy.deepcopy(rng)  # so that both are changed in the same way
            changed = step.change(student, rng)
            if not step.student_only:
                teacher = changed if teacher is student else step.change(teacher, again)
            student = changed
        place = rng.random()
        student, teacher = (self._filled(clip, length, place) for clip in (student, teacher))
        return student, teacher, file

    def _filled(self, clip: np.ndarray, length: int, place: float) -> np.ndarray:
        clip = clip.astype(np.float32, copy=False)
        if self.settings.fill == "repeat" and len(clip) < length:
            return np.resize(clip, length)
        return fit(clip, length, place)


def distil(recipe: DistilRecipe, run: Path, stop: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
    """Train the student in folder ``run``, as loop.train does.

    Where the recipe names labelled data, the weights that are best on its ``val`` are kept; else the last ones.
    """
    device = loop.start(recipe, run)
    model, network = loop.build(recipe)
    teacher = build_teacher(recipe, model)
    shortest = max(model.shortest, getattr(teacher, "shortest", 0))
    if recipe.train.shortest_s * audio.SAMPLE_RATE < shortest:
        raise UsageError(
            f"train.shortest_s: {recipe.train.shortest_s:g} s is too short, student and teacher need "
            f"{shortest / audio.SAMPLE_RATE:g} s ({shortest} samples)"
        )
    ask = asker(teacher, recipe.train, device)
    bucket = Bucket(substituted(recipe, recipe.excerpts.sources))
    chain, before = augmentations(recipe, load_plugins()), steps.build(recipe.input.steps)
    kept = recipe.cache.batches > 0
    if recipe.loss.balanced and not (kept and TASKS[model.task].has_classes):
        raise UsageError("loss.balanced takes a model of classes and kept batches: cache.batches above 0")
    mixing = replace(recipe.train, seed=recipe.cache.seed) if kept else recipe.train
    batches = Excerpts(bucket, chain, mixing, loop.rank(), before)
    if kept:
        if loop.processes() > 1:
            raise UsageError("cache.batches does not go with several processes")
        batches = yield from answers.keep(batches, recipe, teacher, ask, kept_folder(recipe, run), model)
        prepare = as_they_are
    else:

        def prepare(waveforms, heard):
            return ask(heard if len(heard) else waveforms)

    loss = {"dimensional": paper_loss, "categorical": class_loss}[model.task](recipe.loss)
    task = loop.Task(network, batches, *loss, prepare)
    if recipe.data.root:
        validate = yield from validation(splits(recipe)[1], recipe, model)
        task = replace(task, validate=validate, figures=tuple(targets_of(model, recipe).figures))
    yield from loop.train(task, recipe.train, run, device, stop)


def paper_loss(weights):
    """(loss(outputs, answers), the names of its terms): weighted sum of the CCC loss and the quadrant correction."""

    def loss(outputs, answers):
        terms = {
            "ccc": weights.ccc * ccc_loss(outputs, answers),
            "quadrant": weights.quadrant * quadrant_correction(outputs, answers, weights.neutral),
        }
        return sum(terms.values()), terms

    return loss, ("loss", "ccc", "quadrant")


def class_loss(weights):
    """The same for logits: cross-entropy with the teacher's probabilities, both at a temperature (Hinton et al. 2015).

    Multiplied by the temperature's square, so that gradients do not shrink with it.
    """

    def loss(logits, answers):
        t = weights.temperature
        wanted, log_p = torch.softmax(answers / t, dim=1), torch.log_softmax(logits / t, dim=1)
        return t * t * -(wanted * log_p).sum(dim=1).mean(), {}

    return loss, ("loss",)
