"""Losses."""

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
