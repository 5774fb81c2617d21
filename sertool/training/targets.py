"""What a model is trained towards: numbers or a class, with the loss and the figure that go with it."""

from dataclasses import replace

import numpy as np
import torch

from sertool.corpora import Row
from sertool.corpora.classes import class_of
from sertool.corpora.coordinates import coordinates
from sertool.errors import UsageError
from sertool.evaluation.dimensional import DIMENSIONS, concordance
from sertool.evaluation.metrics import uar
from sertool.registry import Model
from sertool.tasks import TASKS
from sertool.training.losses import balanced_weights, ccc_loss, focal_loss
from sertool.training.recipe import Recipe


class Dimensional:
    """A model's outputs, of arousal, dominance and valence by name, by the CCC loss; validated by CCC."""

    def __init__(self, model: Model, recipe: Recipe):
        self.name, self.figures, self.intensity = model.name, model.outputs, recipe.targets.intensity
        self.missing = f"no row has {', '.join(model.outputs)}, or an emotion that has a published place"

    def of(self, row: Row) -> tuple | None:
        """A row's target for each output: its ratings if it has them all, else its label's published place.

        UsageError for an output that no corpus has targets for.
        """
        if unknown := [name for name in self.figures if name not in DIMENSIONS]:
            raise UsageError(
                f"{self.name}: there are no targets for its output {unknown[0]!r} (there are: {', '.join(DIMENSIONS)})"
            )
        ratings = tuple(getattr(row, name) for name in self.figures)
        if None not in ratings:
            return ratings
        place = coordinates(row.emotion, self.intensity.get(row.intensity, 1.0))
        return None if place is None else tuple(place[DIMENSIONS.index(name)] for name in self.figures)

    def labelled(self, row: Row) -> Row | None:
        """The row with its target as if it were rated; None without a target."""
        values = self.of(row)
        return None if values is None else replace(row, **dict(zip(self.figures, values, strict=True)))

    def loss(self, targets: np.ndarray):
        """loss(outputs, targets) for training on clips of these targets [n, k]."""
        return lambda outputs, wanted: (ccc_loss(outputs, wanted), {})

    def score(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """The figures of outputs [n, k] by name."""
        return concordance(outputs, targets, self.figures)


class Categorical:
    """One of a model's classes by the adaptive focal loss, validated by UA."""

    figures = ("UA",)

    def __init__(self, model: Model, recipe: Recipe):
        self.classes, self.settings = model.outputs, recipe.focal
        self.missing = f"no row is {' or '.join(self.classes)}"

    def of(self, row: Row) -> tuple | None:
        """1 for the class that a row's label counts as, 0 for the others."""
        found = class_of(row.emotion, self.classes)
        return None if found is None else tuple(float(name == found) for name in self.classes)

    def labelled(self, row: Row) -> Row | None:
        """The row; None without a target."""
        return None if self.of(row) is None else row

    def loss(self, targets: np.ndarray):
        """loss(logits, targets) for training on clips of these targets; UsageError for a class without a clip."""
        counts = targets.sum(axis=0)
        if not counts.all():
            lacking = self.classes[int(np.argmin(counts))]
            raise UsageError(f"no training clip is {lacking}; give some of each class: {', '.join(self.classes)}")
        weights = None
        if self.settings.weights == "balanced":
            weights = torch.tensor(balanced_weights(counts), dtype=torch.float32)

        def loss(logits, wanted):
            there = None if weights is None else weights.to(logits.device)
            return focal_loss(logits, wanted, there, self.settings.gamma, self.settings.smoothing), {}

        return loss

    def score(self, outputs: np.ndarray, targets: np.ndarray) -> dict[str, float]:
        """UA, the mean recall over the classes that are there."""
        return {"UA": uar(outputs.argmax(axis=1), targets.argmax(axis=1))}


def targets_of(model: Model, recipe: Recipe) -> Dimensional | Categorical:
    """What this model is trained towards."""
    return {"dimensional": Dimensional, "categorical": Categorical}[model.task](model, recipe)


def answering(model: Model, network: torch.nn.Module) -> torch.nn.Module:
    """The network as bundles have it: of a categorical model it gives probabilities."""
    return torch.nn.Sequential(network, torch.nn.Softmax(dim=1)) if TASKS[model.task].has_classes else network
