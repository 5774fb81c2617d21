"""Losses."""

import numpy as np
import torch
from torch import Tensor


def ccc(output: Tensor, target: Tensor) -> Tensor:
    """Concordance correlation coefficient per column, [batch, k] x [batch, k] -> [k] (Lin 1989).

    Moments over the batch, population form; a column where both sides are one same constant counts as 0.
    """
    mean_o, mean_t = output.mean(dim=0), target.mean(dim=0)
    centred_o, centred_t = output - mean_o, target - mean_t
    covariance = (centred_o * centred_t).mean(dim=0)
    spread = centred_o.square().mean(dim=0) + centred_t.square().mean(dim=0) + (mean_o - mean_t).square()
    return 2 * covariance / spread.clamp(min=1e-8)


def ccc_loss(output: Tensor, target: Tensor) -> Tensor:
    """1 - CCC, averaged over columns."""
    return (1 - ccc(output, target)).mean()


def quadrant_correction(output: Tensor, teacher: Tensor, neutral: float = 0.5) -> Tensor:
    """Mean L1 distance to the teacher, counting only clips that lie in another octant (arXiv 2408.13920).

    ``output`` and ``teacher`` [batch, k] -> []. Octants are told apart by which outputs are above ``neutral``; a clip
    on the teacher's side in every output adds nothing. The mean is over the whole batch, so that the term shrinks to
    nothing as fewer clips are wrong.
    """
    elsewhere = ((output > neutral) != (teacher > neutral)).any(dim=1, keepdim=True)
    return torch.where(elsewhere, (output - teacher).abs(), 0).mean()


def focal_loss(
    logits: Tensor, targets: Tensor, weights: Tensor | None = None, gamma: float = 2.0, smoothing: float = 0.1
) -> Tensor:
    """Adaptive focal loss, equation (1) of arXiv 2512.23435: mean over clips of w (1 - p)^gamma H.

    ``logits`` [batch, classes]; ``targets`` [batch, classes], shares that sum to 1, as one class or a mixture; -> [].
    p is the probability of the target, H the cross-entropy with it after ``smoothing`` (that share spread evenly over
    all classes), w the target's share of ``weights`` [classes]. gamma 0, no smoothing and no weights is cross-entropy;
    the mean is not divided by the weights' sum.
    """
    log_p = torch.log_softmax(logits, dim=1)
    smoothed = targets * (1 - smoothing) + smoothing / logits.shape[1]
    # Below a gamma of 1 the power's slope at 0 is infinite: where p rounds to 1, there is none.
    doubt = (1 - (log_p.exp() * targets).sum(dim=1)).clamp(min=1e-7)
    losses = doubt**gamma * -(smoothed * log_p).sum(dim=1)
    return (losses if weights is None else losses * (targets @ weights)).mean()


def balanced_weights(counts) -> np.ndarray:
    """Weight of each class from its number of training clips: n / (k n_class), scikit-learn's "balanced".

    ``counts`` [k], each above 0. A class as frequent as the average weighs 1.
    """
    counts = np.asarray(counts, np.float64)
    return counts.sum() / (len(counts) * counts)
