"""The losses of both papers: of numbers and of classes, from labels and from a teacher."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from sertool import Loss, hookimpl


def _lazily(module: str, name: str) -> Callable[..., Any]:
    def build(**options: Any) -> Any:
        return getattr(import_module(f".{module}", __package__), name)(**options)

    return build


@hookimpl
def register_losses(register: Callable[[Loss], None]) -> None:
    register(Loss("ccc", "1 - CCC, the mean over the outputs", "dimensional", _lazily("numbers", "Concordance")))
    register(
        Loss(
            "ccc-quadrant",
            "1 - CCC plus the distance of clips in the wrong octant: ccc, quadrant (weights), neutral",
            "dimensional",
            _lazily("numbers", "ConcordanceAndQuadrant"),
        )
    )
    register(
        Loss(
            "focal",
            "the adaptive focal loss: gamma, smoothing, weights (balanced or none)",
            "categorical",
            _lazily("classes", "focal"),
        )
    )
    register(Loss("cross-entropy", "the cross-entropy", "categorical", _lazily("classes", "CrossEntropy")))
