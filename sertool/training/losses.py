"""Losses."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sertool._types import Floats


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


def balanced_weights(counts: npt.ArrayLike) -> Floats:
    """Return each class's weight from its number of training clips: n / (k n_class), scikit-learn's "balanced".

    ``counts`` [k], each above 0. The weight of a class with the average number of clips is 1.
    """
    clips = np.asarray(counts, np.float64)
    weights: Floats = clips.sum() / (len(clips) * clips)
    return weights
