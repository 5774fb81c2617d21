"""A teacher's answers for augmented batches, asked once and kept: every student and every arm learns from the same."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from sertool import audio
from sertool.tasks import TASKS
from sertool.training import supervised
from sertool.training.kept import States, digest
from sertool.training.loop import Progress
from sertool.training.recipe import DistilRecipe
from sertool.training.targets import targets_of

#: Below this a probability's logarithm says no more.
SMALLEST = 1e-6


class KeptExcerpts(torch.utils.data.Dataset):
    """Batch number ``step`` of a run: (waveforms [batch, samples], targets [batch, k]) from what is kept.

    Each pass over the kept batches has an order of its own. Of excerpts of labelled recordings ``labels`` (file ->
    target) have their share; without a label the answer is the target. ``loss.balanced`` divides targets by the mean of
    all, so that classes which are rare in the audio do not become rare in the answers.
    """

    def __init__(
        self, sound: States, answers: States, recipe: DistilRecipe, labels: dict[str, tuple], has_classes: bool
    ):
        self.sound, self.answers, self.labels, self.has_classes = sound, answers, labels, has_classes
        self.settings, self.batches, self.share = recipe.train, recipe.cache.batches, recipe.teacher.share
        self.shares = None
        if recipe.loss.balanced:
            everything = [np.exp(self._targets(str(n))) for n in range(self.batches)]
            self.shares = np.concatenate(everything).mean(axis=0, dtype=np.float64).astype(np.float32)

    def __len__(self):
        return self.settings.steps

    def __getitem__(self, step: int):
        turn, place = divmod(step, self.batches)
        order = np.random.default_rng([self.settings.seed, turn]).permutation(self.batches)
        name = str(order[place])
        waveforms = self.sound[name].astype(np.float32).reshape(self.settings.batch, -1)
        return torch.from_numpy(waveforms), torch.from_numpy(self._targets(name))

    def _targets(self, name: str) -> np.ndarray:
        answers = self.answers[name].astype(np.float32)
        if not self.has_classes and self.share == 1:
            return answers
        if self.has_classes:
            answers = np.exp(answers - answers.max(axis=1, keepdims=True))
            answers /= answers.sum(axis=1, keepdims=True)
        for place, file in enumerate(json.loads(self.sound.notes[name])):
            if file in self.labels:
                answers[place] = self.share * answers[place] + (1 - self.share) * np.array(
                    self.labels[file], np.float32
                )
        if self.shares is not None:
            answers = answers / self.shares
            answers /= answers.sum(axis=1, keepdims=True)
        return np.log(np.maximum(answers, SMALLEST)) if self.has_classes else answers


def keep(excerpts, recipe: DistilRecipe, teacher, ask, folder: Path, model) -> Iterator[Progress]:
    """Keep cache.batches of ``excerpts`` and what a teacher says of them, with a Progress a batch; the KeptExcerpts.

    Teacher and student hear the very samples that are kept, as float16. ``ask(waveforms, files)`` answers.
    """
    settings, count = recipe.train, recipe.cache.batches
    heard = {key: getattr(settings, key) for key in ("batch", "shortest_s", "longest_s", "fill")} | {
        "seed": recipe.cache.seed,
        "excerpts": recipe.excerpts.sources,
        "augment": recipe.augment,
        "input": recipe.input.steps,
        "prepared": "whole recordings",
    }
    root = Path(recipe.data.root)
    length = (settings.shortest_s + settings.longest_s) / 2 * audio.SAMPLE_RATE * settings.batch
    sounds = [
        States(folder, heard | {"of": side}, ()) for side in (("student",) if excerpts.same else ("student", "teacher"))
    ]

    def make(side):
        def excerpt(name: str):
            *waveforms, files = excerpts.drawn(int(name))
            return waveforms[side].ravel(), json.dumps([_relative(file, root) for file in files])

        return excerpt

    for side, sound in enumerate(sounds):
        for done, total in sound.fill({str(n): length for n in range(count)}, make(side)):
            yield Progress("mixing", done, total)
    answers = States(folder, heard | {"teacher": digest(teacher)}, (len(model.outputs),))

    def answer(name: str):
        waveforms = torch.from_numpy(sounds[-1][name].astype(np.float32).reshape(settings.batch, -1))
        files = [root / file for file in json.loads(sounds[-1].notes[name])]
        return ask(waveforms, files).numpy(), ""

    for done, total in answers.fill({str(n): settings.batch for n in range(count)}, answer):
        yield Progress("asking the teacher", done, total)
    return KeptExcerpts(sounds[0], answers, recipe, labels(recipe, model), TASKS[model.task].has_classes)


def labels(recipe: DistilRecipe, model) -> dict[str, tuple]:
    """File, relative to data.root -> target, of the training rows that have one."""
    if recipe.teacher.share == 1:
        return {}
    train, targets, root = supervised.splits(recipe)[0], targets_of(model, recipe), Path(recipe.data.root)
    return {_relative(row.file, root): value for row in train if (value := targets.of(row)) is not None}


def _relative(file: Path, root: Path) -> str:
    return str(file.relative_to(root) if file.is_relative_to(root) else file)
