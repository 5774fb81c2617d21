"""Cache augmented batches with a teacher's outputs, so that all students and runs are trained on the same data."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from sertool import audio
from sertool.registry import Model
from sertool.tasks import TASKS
from sertool.training import supervised
from sertool.training.kept import Make, States, digest
from sertool.training.loop import Progress
from sertool.training.prefetch import Batch
from sertool.training.sections import DistilRecipe
from sertool.training.targets import targets_of
from sertool.training.teacher import Ask

if TYPE_CHECKING:
    from sertool.training.distil import Excerpts  # imports this module

#: Lower limit of a probability before its logarithm is taken.
SMALLEST = 1e-6


class KeptExcerpts(torch.utils.data.Dataset[Batch]):
    """Batch number ``step`` of a run: (waveforms [batch, samples], targets [batch, k]) from cached batches.

    Each pass over the cached batches has its own order. ``labels`` (file -> target) are mixed into the teacher's
    outputs for excerpts of labelled recordings; for others the teacher's output is the target. ``loss.balanced``
    divides the targets by the mean of all targets, so that classes that are rare in the audio are not rare in the
    student's predictions.
    """

    def __init__(
        self,
        sound: States,
        answers: States,
        recipe: DistilRecipe,
        labels: dict[str, tuple[float, ...]],
        has_classes: bool,
    ) -> None:
        self.sound, self.answers, self.labels, self.has_classes = sound, answers, labels, has_classes
        self.settings, self.batches, self.share = recipe.train, recipe.cache.batches, recipe.teacher.share
        self.shares: npt.NDArray[np.float32] | None = None
        if recipe.loss.balanced:
            everything = [np.exp(self._targets(str(n))) for n in range(self.batches)]
            self.shares = np.concatenate(everything).mean(axis=0, dtype=np.float64).astype(np.float32)

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> Batch:
        turn, place = divmod(step, self.batches)
        order = np.random.default_rng([self.settings.seed, turn]).permutation(self.batches)
        name = str(order[place])
        waveforms = self.sound[name].astype(np.float32).reshape(self.settings.batch, -1)
        return torch.from_numpy(waveforms), torch.from_numpy(self._targets(name))

    def _targets(self, name: str) -> npt.NDArray[np.float32]:
        targets: npt.NDArray[np.float32] = self.answers[name].astype(np.float32)
        if not self.has_classes and self.share == 1:
            return targets
        if self.has_classes:
            targets = np.exp(targets - targets.max(axis=1, keepdims=True))
            targets /= targets.sum(axis=1, keepdims=True)
        for place, file in enumerate(json.loads(self.sound.notes[name])):
            if file in self.labels:
                targets[place] = self.share * targets[place] + (1 - self.share) * np.array(
                    self.labels[file], np.float32
                )
        if self.shares is not None:
            targets = targets / self.shares
            targets /= targets.sum(axis=1, keepdims=True)
        return np.log(np.maximum(targets, SMALLEST)) if self.has_classes else targets


def keep(
    excerpts: "Excerpts", recipe: DistilRecipe, teacher: torch.nn.Module, ask: Ask, folder: Path, model: Model
) -> Generator[Progress, None, KeptExcerpts]:
    """Cache cache.batches batches of ``excerpts`` and a teacher's outputs for them.

    Yields a Progress for each batch; the generator returns the KeptExcerpts. Teacher and student both use the cached
    samples, which are float16. ``ask(waveforms, files)`` computes the teacher's outputs.
    """
    settings, count = recipe.train, recipe.cache.batches
    key: dict[str, Any] = {name: getattr(settings, name) for name in ("batch", "shortest_s", "longest_s", "fill")} | {
        "seed": recipe.cache.seed,
        "excerpts": recipe.excerpts.sources,
        "augment": recipe.augment,
        "input": recipe.input.steps,
        "prepared": "whole recordings",
    }
    root = Path(recipe.data.root)
    length = (settings.shortest_s + settings.longest_s) / 2 * audio.SAMPLE_RATE * settings.batch
    sounds = [
        States(folder, key | {"of": side}, ()) for side in (("student",) if excerpts.same else ("student", "teacher"))
    ]

    def mix(side: int) -> Make:
        def excerpt(name: str) -> tuple[npt.NDArray[Any], str]:
            *waveforms, files = excerpts.drawn(int(name))
            return waveforms[side].ravel(), json.dumps([_relative(file, root) for file in files])

        return excerpt

    for side, sound in enumerate(sounds):
        for done, total in sound.fill({str(n): length for n in range(count)}, mix(side)):
            yield Progress("mixing", done, total)
    answers = States(folder, key | {"teacher": digest(teacher)}, (len(model.outputs),))

    def answer(name: str) -> tuple[npt.NDArray[Any], str]:
        waveforms = torch.from_numpy(sounds[-1][name].astype(np.float32).reshape(settings.batch, -1))
        files = [root / file for file in json.loads(sounds[-1].notes[name])]
        return ask(waveforms, files).numpy(), ""

    for done, total in answers.fill({str(n): settings.batch for n in range(count)}, answer):
        yield Progress("computing teacher outputs", done, total)
    return KeptExcerpts(sounds[0], answers, recipe, labels(recipe, model), TASKS[model.task].has_classes)


def labels(recipe: DistilRecipe, model: Model) -> dict[str, tuple[float, ...]]:
    """Return file, relative to data.root -> target for the training rows that have a target."""
    if recipe.teacher.share == 1:
        return {}
    train, targets, root = supervised.splits(recipe)[0], targets_of(model, recipe), Path(recipe.data.root)
    return {_relative(row.file, root): value for row in train if (value := targets.of(row)) is not None}


def _relative(file: Path, root: Path) -> str:
    return str(file.relative_to(root) if file.is_relative_to(root) else file)
