"""Distil a teacher into a student on augmented, unlabelled audio that both receive (arXiv 2408.13920)."""

import copy
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sertool import audio
from sertool._types import Samples
from sertool.corpora.buckets import Bucket, fit
from sertool.errors import UsageError
from sertool.features import steps
from sertool.plugins import load_plugins
from sertool.tasks import TASKS
from sertool.training import answers, loop
from sertool.training.loop import Progress
from sertool.training.losses import ChosenLoss, LossFunction
from sertool.training.prefetch import Batch
from sertool.training.recipe import Preprocess, Step, augmentations, substituted
from sertool.training.sections import DistilRecipe, TrainSection
from sertool.training.supervised import as_they_are, kept_folder, splits, validation
from sertool.training.targets import targets_of
from sertool.training.teacher import asker, build_teacher


class Excerpts(torch.utils.data.Dataset[Batch]):
    """Batch number ``step`` of a run: augmented excerpts of one random length, (student's, teacher's input).

    Both are [batch, samples]; the teacher's is an empty tensor if it is the same as the student's, as in the paper.
    ``before`` is the pre-processing that the student's bundle names; it is applied to whole recordings. A batch depends
    on the seed, the rank and the step only, not on the worker that makes it. Samples are not clipped at +-1: students
    normalise the level themselves.
    """

    def __init__(
        self,
        bucket: Bucket,
        chain: list[Step],
        settings: TrainSection,
        rank: int = 0,
        before: Preprocess = lambda clip: clip,
    ) -> None:
        self.bucket, self.chain, self.settings, self.rank, self.before = bucket, chain, settings, rank, before
        self.same = not any(step.student_only for step in chain)

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> Batch:
        student, teacher, _ = self.drawn(step)
        return torch.from_numpy(student), torch.empty(0) if self.same else torch.from_numpy(teacher)

    def drawn(self, step: int) -> tuple[Samples, Samples, list[Path]]:
        """Return the inputs of student and teacher at a step, float32 [batch, samples] each, and their recordings."""
        rng = np.random.default_rng([self.settings.seed, step, self.rank])
        length = int(rng.uniform(self.settings.shortest_s, self.settings.longest_s) * audio.SAMPLE_RATE)
        student, teacher, files = zip(*(self._excerpt(length, rng) for _ in range(self.settings.batch)), strict=True)
        return np.stack(student), np.stack(teacher), [*files]

    def _excerpt(self, length: int, rng: np.random.Generator) -> tuple[Samples, Samples, Path]:
        excerpt, file = self.bucket.stretch(length, rng, self.before)
        student = teacher = self._filled(excerpt, length, rng.random())
        for step in self.chain:
            if rng.random() >= step.p:
                continue
            same_rng = copy.deepcopy(rng)  # so that both inputs are changed in the same way
            changed = step.change(student, rng)
            if not step.student_only:
                teacher = changed if teacher is student else step.change(teacher, same_rng)
            student = changed
        place = rng.random()
        return self._filled(student, length, place), self._filled(teacher, length, place), file

    def _filled(self, clip: Samples, length: int, place: float) -> Samples:
        clip = clip.astype(np.float32, copy=False)
        if self.settings.fill == "repeat" and len(clip) < length:
            return np.resize(clip, length)
        return fit(clip, length, place)


def distil(
    recipe: DistilRecipe, run: Path, stop: Callable[[], bool] = lambda: False
) -> Generator[Progress, None, None]:
    """Train the student in folder ``run``, as loop.train does.

    If the recipe has labelled data, the weights that are best on its ``val`` split are saved, else the last weights.
    """
    device = loop.start(recipe, run)
    model, network = loop.build(recipe)
    chosen = ChosenLoss(recipe, model)
    if chosen.needs_targets:
        raise UsageError(
            f"loss.name: {chosen.name!r} with these options needs the targets of all training clips, which only "
            "`sertool train` has; choose another"
        )
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
    cached, has_classes = recipe.cache.batches > 0, TASKS[model.task].has_classes
    if recipe.loss.balanced and not (cached and has_classes):
        raise UsageError("loss.balanced requires a categorical model and cache.batches above 0")
    mixing = replace(recipe.train, seed=recipe.cache.seed) if cached else recipe.train
    excerpts = Excerpts(bucket, chain, mixing, loop.rank(), before)

    def prepare(waveforms: torch.Tensor, teacher_input: torch.Tensor) -> torch.Tensor:
        return ask(teacher_input if len(teacher_input) else waveforms)

    loss, terms = of_logits(chosen, recipe.loss.temperature) if has_classes else chosen, chosen.terms()
    if cached:
        if loop.processes() > 1:
            raise UsageError("cache.batches does not work with several processes")
        batches = yield from answers.keep(excerpts, recipe, teacher, ask, kept_folder(recipe, run), model)
        task = loop.Task(network, batches, loss, terms, as_they_are)
    else:
        task = loop.Task(network, excerpts, loss, terms, prepare)
    if recipe.data.root:
        validate = yield from validation(splits(recipe)[1], recipe, model)
        task = replace(task, validate=validate, figures=tuple(targets_of(model, recipe).figures))
    yield from loop.train(task, recipe.train, run, device, stop)


def of_logits(loss: LossFunction, temperature: float) -> LossFunction:
    """Return a loss of classes that takes a teacher's logits as targets; both sides are divided by a temperature.

    Source: Hinton et al. 2015. The loss is multiplied by the square of the temperature, so that gradients do not
    shrink with it.
    """

    def tempered(logits: torch.Tensor, answers: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        t = temperature
        value, terms = loss(logits / t, torch.softmax(answers / t, dim=1))
        return t * t * value, {name: t * t * term for name, term in terms.items()}

    return tempered
