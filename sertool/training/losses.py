"""Losses."""

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
