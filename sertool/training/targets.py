"""Training targets of a model, numbers or a class, with their validation metric."""

from dataclasses import replace
from typing import Any, TypeAlias

import numpy.typing as npt
import torch

from sertool.corpora import Row
from sertool.corpora.classes import class_of
from sertool.corpora.coordinates import coordinates
from sertool.errors import UsageError
from sertool.evaluation.dimensional import DIMENSIONS, concordance
from sertool.evaluation.metrics import uar
from sertool.registry import Model
from sertool.tasks import TASKS
from sertool.training.sections import Recipe


class Dimensional:
    """Targets for outputs named arousal, dominance or valence: validated by CCC."""

    def __init__(self, model: Model, recipe: Recipe) -> None:
        self.name, self.figures, self.intensity = model.name, model.outputs, recipe.targets.intensity
        self.missing = f"no row has {', '.join(model.outputs)}, or an emotion with published coordinates"

    def of(self, row: Row) -> tuple[float, ...] | None:
        """Return a row's target for each output: its ratings if complete, else the coordinates of its label, or None.

        Raises UsageError for an output that no corpus has targets for.
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
        """Return the row with its target as its ratings; None if it has no target."""
        values = self.of(row)
        if values is None:
            return None
        ratings: dict[str, Any] = dict(zip(self.figures, values, strict=True))
        return replace(row, **ratings)

    def score(self, outputs: npt.NDArray[Any], targets: npt.NDArray[Any]) -> dict[str, float]:
        """Return the validation metrics of outputs [n, k] by name."""
        return concordance(outputs, targets, self.figures)


class Categorical:
    """Targets for a model of classes, validated by UA."""

    figures = ("UA",)

    def __init__(self, model: Model, recipe: Recipe) -> None:
        self.classes = model.outputs
        self.missing = f"no row is {' or '.join(self.classes)}"

    def of(self, row: Row) -> tuple[float, ...] | None:
        """Return 1 for the class that a row's label maps to and 0 for the others; None if it maps to none."""
        label = class_of(row.emotion, self.classes)
        return None if label is None else tuple(float(name == label) for name in self.classes)

    def labelled(self, row: Row) -> Row | None:
        """Return the row; None if it has no target."""
        return None if self.of(row) is None else row

    def score(self, outputs: npt.NDArray[Any], targets: npt.NDArray[Any]) -> dict[str, float]:
        """Return UA, the mean recall over the classes that occur in ``targets``."""
        return {"UA": uar(outputs.argmax(axis=1), targets.argmax(axis=1))}


#: Targets of any task.
Targets: TypeAlias = Dimensional | Categorical


def targets_of(model: Model, recipe: Recipe) -> Targets:
    """Return the training targets of a model."""
    kinds: dict[str, type[Dimensional] | type[Categorical]]
    kinds = {"dimensional": Dimensional, "categorical": Categorical}
    return kinds[model.task](model, recipe)


def answering(model: Model, network: torch.nn.Module) -> torch.nn.Module:
    """Return the network as in a bundle: that of a categorical model is followed by a softmax."""
    return torch.nn.Sequential(network, torch.nn.Softmax(dim=1)) if TASKS[model.task].has_classes else network
