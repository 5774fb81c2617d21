"""Losses of classes. All take logits and shares of the classes, [batch, k], and return a scalar and its terms."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sertool.errors import UsageError
from sertool.training.losses import balanced_weights


def focal_loss(
    logits: Tensor, targets: Tensor, weights: Tensor | None = None, gamma: float = 2.0, smoothing: float = 0.1
) -> Tensor:
    """Return the adaptive focal loss, equation (1) of arXiv 2512.23435: the mean over clips of w (1 - p)^gamma H.

    ``logits`` [batch, classes]; ``targets`` [batch, classes], shares that sum to 1, one-hot or a mixture; -> []. p is
    the probability of the target, H the cross-entropy with the target after ``smoothing`` (that share is spread evenly
    over all classes), w the mean of ``weights`` [classes] under the target. With gamma 0, no smoothing and no weights
    it is the cross-entropy. The mean is not divided by the sum of the weights.
    """
    log_p = torch.log_softmax(logits, dim=1)
    smoothed = targets * (1 - smoothing) + smoothing / logits.shape[1]
    # For gamma below 1 the gradient of the power is infinite at 0, which is reached when p rounds to 1.
    doubt = (1 - (log_p.exp() * targets).sum(dim=1)).clamp(min=1e-7)
    losses = doubt**gamma * -(smoothed * log_p).sum(dim=1)
    return (losses if weights is None else losses * (targets @ weights)).mean()


class Focal:
    """The adaptive focal loss without class weights. Raises UsageError for an option out of range."""

    def __init__(self, gamma: float, smoothing: float) -> None:
        if not gamma >= 0:
            raise UsageError(f"loss focal: gamma must be at least 0, not {gamma:g}")
        if not 0 <= smoothing <= 1:
            raise UsageError(f"loss focal: smoothing must be from 0 to 1, not {smoothing:g}")
        self.gamma, self.smoothing = float(gamma), float(smoothing)
        self.weights: Tensor | None = None

    def __call__(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        weights = None if self.weights is None else self.weights.to(outputs.device)
        return focal_loss(outputs, targets, weights, self.gamma, self.smoothing), {}


class BalancedFocal(Focal):
    """The same with balanced class weights, which ``prepare`` computes from the training clips."""

    def prepare(self, targets: npt.NDArray[np.float32]) -> None:
        self.weights = torch.tensor(balanced_weights(targets.sum(axis=0)), dtype=torch.float32)


def focal(gamma: float = 2.0, smoothing: float = 0.1, weights: str = "balanced") -> Focal:
    """Return the adaptive focal loss; the default options are those of arXiv 2512.23435.

    ``weights`` of the classes: "balanced", by the number of training clips of each, or "none". Raises UsageError for an
    option out of range.
    """
    kinds = {"balanced": BalancedFocal, "none": Focal}
    if weights not in kinds:
        raise UsageError(f"loss focal: weights is {weights!r}; write balanced or none")
    return kinds[weights](gamma, smoothing)


class CrossEntropy:
    """The cross-entropy with the shares of the classes."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return -(targets * torch.log_softmax(outputs, dim=1)).sum(dim=1).mean(), {}
