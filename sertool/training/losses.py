"""The loss that a recipe chooses."""

import re
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sertool._types import Floats
from sertool.errors import UsageError
from sertool.plugins import load_plugins
from sertool.registry import Model
from sertool.tasks import TASKS
from sertool.training.recipe import substituted
from sertool.training.sections import Recipe

#: loss(outputs, targets): the loss and its terms by name.
LossFunction: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]


class ChosenLoss:
    """A recipe's loss for a model: a LossFunction that is built with its options.

    Raises UsageError if there is no such loss, it is for the other task, or its options are wrong.
    """

    def __init__(self, recipe: Recipe, model: Model) -> None:
        self.model, self.name = model, recipe.loss.name or recipe.default_loss[model.task]
        plugins = load_plugins()
        loss = plugins.get("losses", self.name)
        if loss.task != model.task:
            known = [name for name in plugins.names("losses") if plugins.get("losses", name).task == model.task]
            raise UsageError(
                f"loss.name: {self.name!r} is for {loss.task} models, {model.name!r} is {model.task} "
                f"(there are: {', '.join(known)})"
            )
        try:
            self._loss: LossFunction = loss.build(**substituted(recipe, recipe.loss.options))
        except TypeError as error:
            reason = re.sub(r"^\w+(\.\w+)*\(\) ", "", str(error))
            raise UsageError(f"loss.options for {self.name!r}: {reason}; it is {loss.summary}") from None
        if not callable(self._loss):
            raise UsageError(f"loss {self.name!r}: build returned {type(self._loss).__name__}, not a function")

    def __call__(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self._loss(outputs, targets)

    @property
    def needs_targets(self) -> bool:
        """Whether it must be prepared with the targets of all training clips."""
        return hasattr(self._loss, "prepare")

    def prepare(self, targets: npt.NDArray[np.float32]) -> None:
        """Give it the targets [clips, k] of all training clips; raise UsageError for a class without clips."""
        if TASKS[self.model.task].has_classes and not (counts := targets.sum(axis=0)).all():
            classes = self.model.outputs
            empty = classes[int(np.argmin(counts))]
            raise UsageError(f"no training clip is {empty}; each class needs some: {', '.join(classes)}")
        if self.needs_targets:
            self._loss.prepare(targets)  # type: ignore[attr-defined]  # optional in the protocol

    def terms(self) -> tuple[str, ...]:
        """Return the names of its terms, "loss" first, from a trial of two clips; raise UsageError if that fails."""
        numbers = torch.linspace(0.1, 0.9, 2 * len(self.model.outputs)).reshape(2, -1)
        targets = numbers.softmax(dim=1) if TASKS[self.model.task].has_classes else numbers.flip(0)
        try:
            loss, terms = self._loss(numbers, targets)
            return tuple({name: float(value) for name, value in {"loss": loss, **terms}.items()})
        except Exception as error:  # whatever a plugin's loss raises
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UsageError(f"loss {self.name!r}: two clips raised {reason}") from None


def balanced_weights(counts: npt.ArrayLike) -> Floats:
    """Return each class's weight from its number of training clips: n / (k n_class), scikit-learn's "balanced".

    ``counts`` [k], each above 0. The weight of a class with the average number of clips is 1.
    """
    clips = np.asarray(counts, np.float64)
    weights: Floats = clips.sum() / (len(clips) * clips)
    return weights
