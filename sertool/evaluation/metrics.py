"""Metrics on numpy arrays: of the samples as they are, or of many resamples of them at once.

Every function takes ``counts`` [resamples, n], how often each sample is in each resample, and then returns an array
[resamples] instead of a float. A metric that is not defined is NaN, never an error.
"""

import numpy as np


def ccc(output: np.ndarray, target: np.ndarray, counts: np.ndarray | None = None):
    """Concordance correlation coefficient (Lin 1989) of two [n] arrays, population form.

    NaN for fewer than two samples, or if both arrays are constant and equal; 0 if one of them is constant.
    """
    variances, covariance, offset = _moments(output, target, counts)
    spread = variances.sum(axis=0) + offset**2
    return _answer(_divide(2 * covariance, spread), counts, len(output) < 2)


def pearson(output: np.ndarray, target: np.ndarray, counts: np.ndarray | None = None):
    """Pearson correlation coefficient of two [n] arrays; NaN if either is constant, so for fewer than two samples."""
    variances, covariance, _ = _moments(output, target, counts)
    return _answer(_divide(covariance, np.sqrt(variances.prod(axis=0))), counts, len(output) < 2)


def mae(output: np.ndarray, target: np.ndarray, counts: np.ndarray | None = None):
    """Mean absolute error of two [n] arrays; NaN for no samples."""
    errors = np.abs(np.asarray(output, np.float64) - np.asarray(target, np.float64))
    weights = _weights(counts, len(errors))
    return _answer(_divide(weights @ errors, weights.sum(axis=1)), counts)


def auc(scores: np.ndarray, positive: np.ndarray, counts: np.ndarray | None = None):
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    ``scores`` [n], ``positive`` [n] of bool. NaN if one class is empty.
    """
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    weights = _weights(counts, len(scores))
    order = np.flatnonzero(~positive)[np.argsort(scores[~positive])]
    high, low = weights[:, positive], weights[:, order]
    # Sorted once: the negatives that a positive beats are those before its place, whatever their counts.
    below = np.pad(np.cumsum(low, axis=1), ((0, 0), (1, 0)))
    first, last = (np.searchsorted(scores[order], scores[positive], side) for side in ("left", "right"))
    wins = (high * (below[:, first] + below[:, last])).sum(axis=1) / 2
    return _answer(_divide(wins, high.sum(axis=1) * low.sum(axis=1)), counts)


def _moments(output, target, counts):
    """(variances [2, r], covariance [r], mean difference [r]) of r resamples."""
    output, target = np.asarray(output, np.float64), np.asarray(target, np.float64)
    weights = _weights(counts, len(output))
    # About the common mean, so that the squares below do not cancel.
    x, y = output - output.sum() / max(len(output), 1), target - target.sum() / max(len(target), 1)
    sums = weights @ np.stack([x, y, x * x, y * y, x * y, output - target], axis=1)
    x, y, xx, yy, xy, offset = _divide(sums, weights.sum(axis=1, keepdims=True)).T
    means, squares = np.stack([x, y]), np.stack([xx, yy])
    variances = squares - means**2
    variances[variances < 1e-12 * squares] = 0  # the rounding that is left of a constant
    return variances, np.where((variances > 0).all(axis=0), xy - x * y, 0), offset


def _weights(counts, n: int) -> np.ndarray:
    return np.ones((1, n)) if counts is None else np.asarray(counts, np.float64)


def _divide(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """A quotient that is NaN where the divisor is 0."""
    return np.divide(over, under, out=np.full(np.shape(over), np.nan), where=np.broadcast_to(under, over.shape) > 0)


def _answer(values: np.ndarray, counts, undefined: bool = False):
    values = np.full_like(values, np.nan) if undefined else values
    return float(values[0]) if counts is None else values
