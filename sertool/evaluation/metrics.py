"""Metrics on numpy arrays."""

import numpy as np


def ccc(output: np.ndarray, target: np.ndarray) -> float:
    """Concordance correlation coefficient (Lin 1989) of two [n] arrays, population form; NaN if both are constant."""
    output, target = np.asarray(output, np.float64), np.asarray(target, np.float64)
    covariance = np.mean((output - output.mean()) * (target - target.mean()))
    spread = output.var() + target.var() + (output.mean() - target.mean()) ** 2
    return float(2 * covariance / spread) if spread > 0 else float("nan")


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    ``scores`` [n], ``positive`` [n] of bool. NaN if one class is empty.
    """
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    pairs = positive.sum() * (~positive).sum()
    if not pairs:
        return float("nan")
    # Ranks with ties at their mean: the Mann-Whitney statistic.
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    wins = ranks[positive].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(wins / pairs)
