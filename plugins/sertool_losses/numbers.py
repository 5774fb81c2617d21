"""Losses of numbers. All take float tensors [batch, k] and return a scalar and its terms."""

import torch
from torch import Tensor

from sertool.errors import UsageError


def ccc(output: Tensor, target: Tensor) -> Tensor:
    """Return the concordance correlation coefficient of each column, [batch, k] x [batch, k] -> [k] (Lin 1989).

    Moments over the batch, population form; 0 for a column in which both sides are the same constant.
    """
    mean_o, mean_t = output.mean(dim=0), target.mean(dim=0)
    centred_o, centred_t = output - mean_o, target - mean_t
    covariance = (centred_o * centred_t).mean(dim=0)
    spread = centred_o.square().mean(dim=0) + centred_t.square().mean(dim=0) + (mean_o - mean_t).square()
    return 2 * covariance / spread.clamp(min=1e-8)


def ccc_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return 1 - CCC, averaged over columns."""
    return (1 - ccc(output, target)).mean()


def quadrant_correction(output: Tensor, teacher: Tensor, neutral: float = 0.5) -> Tensor:
    """Return the mean L1 distance to the teacher over clips in the wrong octant (arXiv 2408.13920).

    ``output`` and ``teacher`` [batch, k] -> []. A clip's octant is given by which outputs are above ``neutral``; a clip
    in the teacher's octant contributes 0. The mean is over the whole batch, so that the term goes to 0 as fewer clips
    are wrong.
    """
    wrong = ((output > neutral) != (teacher > neutral)).any(dim=1, keepdim=True)
    return torch.where(wrong, (output - teacher).abs(), 0).mean()


class Concordance:
    """1 - CCC."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return ccc_loss(outputs, targets), {}


class ConcordanceAndQuadrant:
    """The weighted sum of 1 - CCC and quadrant correction; the default weights are those of arXiv 2408.13920.

    Raises UsageError for a weight below 0.
    """

    def __init__(self, ccc: float = 100.0, quadrant: float = 4.0, neutral: float = 0.5) -> None:
        for key, value in {"ccc": ccc, "quadrant": quadrant}.items():
            if not value >= 0:
                raise UsageError(f"loss ccc-quadrant: {key} must be at least 0, not {value:g}")
        self.ccc, self.quadrant, self.neutral = ccc, quadrant, neutral

    def __call__(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        ccc = self.ccc * ccc_loss(outputs, targets)
        quadrant = self.quadrant * quadrant_correction(outputs, targets, self.neutral)
        return ccc + quadrant, {"ccc": ccc, "quadrant": quadrant}
