"""Metrics on numpy arrays, for the samples as they are or for many resamples at once.

Every metric also takes ``counts`` [resamples, n], how often each sample occurs in each resample, and then returns an
array [resamples] instead of a float. An undefined metric is NaN, never an error.
"""

import functools
from collections.abc import Callable
from typing import Protocol, overload

import numpy as np
import numpy.typing as npt

from sertool._types import Array, Floats

#: Number of equal-width bins of confidence, as in Guo et al. 2017.
BINS = 15


class Metric(Protocol):
    """A function of two arrays [n]: a float, or with ``counts`` [resamples, n] an array [resamples]."""

    @overload
    def __call__(self, first: Array, second: Array, counts: None = None, /) -> float: ...
    @overload
    def __call__(self, first: Array, second: Array, counts: Array, /) -> Floats: ...


def _metric(values: Callable[[Array, Array, Floats], Floats]) -> Metric:
    """Make a Metric from a function of two arrays [n] and weights [resamples, n] that returns an array [resamples]."""

    @overload
    def metric(first: Array, second: Array, counts: None = None) -> float: ...
    @overload
    def metric(first: Array, second: Array, counts: Array) -> Floats: ...
    def metric(first: Array, second: Array, counts: Array | None = None) -> float | Floats:
        result = values(first, second, _weights(counts, len(first)))
        return float(result[0]) if counts is None else result

    functools.update_wrapper(metric, values)
    return metric


@_metric
def ccc(output: Array, target: Array, weights: Floats) -> Floats:
    """Concordance correlation coefficient (Lin 1989) of two [n] arrays, population form.

    NaN for fewer than two samples, or if both arrays are constant and equal; 0 if one of them is constant.
    """
    variances, covariance, offset = _moments(output, target, weights)
    spread = variances.sum(axis=0) + offset**2
    return _nan_if(len(output) < 2, _divide(2 * covariance, spread))


@_metric
def pearson(output: Array, target: Array, weights: Floats) -> Floats:
    """Pearson correlation coefficient of two [n] arrays; NaN if either is constant, or for fewer than two samples."""
    variances, covariance, _ = _moments(output, target, weights)
    return _nan_if(len(output) < 2, _divide(covariance, np.sqrt(variances.prod(axis=0))))


@_metric
def mae(output: Array, target: Array, weights: Floats) -> Floats:
    """Mean absolute error of two [n] arrays; NaN for no samples."""
    errors = np.abs(np.asarray(output, np.float64) - np.asarray(target, np.float64))
    return _divide(weights @ errors, weights.sum(axis=1))


@_metric
def auc(scores: Array, positive: Array, weights: Floats) -> Floats:
    """Area under the ROC curve: the probability that a positive scores above a negative; ties count half.

    ``scores`` [n], ``positive`` [n] of bool. NaN if one class is empty.
    """
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    order = np.flatnonzero(~positive)[np.argsort(scores[~positive])]
    high, low = weights[:, positive], weights[:, order]
    # One sort is enough: the negatives below a positive are those before its position, whatever their counts.
    below = np.pad(np.cumsum(low, axis=1), ((0, 0), (1, 0)))
    first = np.searchsorted(scores[order], scores[positive], "left")
    last = np.searchsorted(scores[order], scores[positive], "right")
    wins: Floats = (high * (below[:, first] + below[:, last])).sum(axis=1) / 2
    return _divide(wins, high.sum(axis=1) * low.sum(axis=1))


@_metric
def accuracy(predicted: Array, truth: Array, weights: Floats) -> Floats:
    """Share of correct samples, from two [n] arrays of class numbers; NaN for no samples.

    Over all samples of a corpus this is weighted accuracy, over the samples of one class it is that class's recall.
    """
    right = np.asarray(np.equal(predicted, truth), np.float64)
    return _divide(weights @ right, weights.sum(axis=1))


@_metric
def uar(predicted: Array, truth: Array, weights: Floats) -> Floats:
    """Unweighted average recall, from two [n] arrays of class numbers: mean recall of the classes in the truth.

    A class that a resample lacks is left out of its mean; NaN for no samples.
    """
    hits, true, _ = _tallies(predicted, truth, np.unique(truth), weights)
    return _mean_defined(_divide(hits, true))


@overload
def f1(predicted: Array, truth: Array, counts: None = None, *, label: int) -> float: ...
@overload
def f1(predicted: Array, truth: Array, counts: Array, *, label: int) -> Floats: ...
def f1(predicted: Array, truth: Array, counts: Array | None = None, *, label: int) -> float | Floats:
    """F1 of one class, from two [n] arrays of class numbers: harmonic mean of its precision and recall.

    0 if the class is predicted and never true, or the other way round; NaN if it is neither.
    """
    hits, true, positive = _tallies(predicted, truth, np.array([label]), _weights(counts, len(truth)))
    result = _divide(2 * hits, true + positive)[:, 0]
    return float(result[0]) if counts is None else result


@_metric
def macro_f1(predicted: Array, truth: Array, weights: Floats) -> Floats:
    """Mean F1 of the classes that are true or predicted at least once, as scikit-learn's f1_score(average="macro").

    From two [n] arrays of class numbers. A class that a resample lacks is left out of its mean; NaN for no samples.
    """
    hits, true, positive = _tallies(predicted, truth, np.union1d(predicted, truth), weights)
    return _mean_defined(_divide(2 * hits, true + positive))


@_metric
def ece(confidence: Array, right: Array, weights: Floats) -> Floats:
    """Expected calibration error (Guo et al. 2017): mean difference of confidence and accuracy over BINS bins.

    ``confidence`` [n] from 0 to 1, ``right`` [n] of bool; bins are weighted by their samples. 0 is best. The value
    grows as samples get fewer, and resampling increases it further. NaN for no samples.
    """
    gaps = (np.asarray(right, np.float64) - confidence)[:, None] * _bins(confidence)
    return _divide(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1))


def reliability(confidence: Array, right: Array) -> dict[str, Array]:
    """Return the values that ``ece`` compares, [BINS] each: "clips", mean "confidence" and "accuracy".

    The means are NaN in an empty bin.
    """
    inside = _bins(confidence)
    clips = inside.sum(axis=0)
    sums = np.stack([np.asarray(values, np.float64) @ inside for values in (confidence, right)])
    return {"clips": clips, **dict(zip(("confidence", "accuracy"), _divide(sums, clips), strict=True))}


def confusion(predicted: Array, truth: Array, classes: int) -> npt.NDArray[np.intp]:
    """Return counts [classes, classes] from two [n] arrays of class numbers; rows are true classes."""
    return np.bincount(classes * truth + predicted, minlength=classes**2).reshape(classes, classes)


def row_shares(confusion: npt.ArrayLike) -> Floats:
    """Return a confusion matrix [k, k] with each row divided by its sum; NaN in rows that sum to 0."""
    counts = np.asarray(confusion, np.float64)
    return _divide(counts, counts.sum(axis=1, keepdims=True))


def _tallies(predicted: Array, truth: Array, labels: Array, weights: Floats) -> Floats:
    """Return how often each label is correctly predicted, true, and predicted: [3, resamples, labels]."""
    true, positive = (np.reshape(values, (-1, 1)) == labels for values in (truth, predicted))
    return np.stack([weights @ np.asarray(which, np.float64) for which in (true & positive, true, positive)])


def _mean_defined(values: Floats) -> Floats:
    """Return the means [r] of [r, k], ignoring NaN."""
    return _divide(np.nansum(values, axis=1), (~np.isnan(values)).sum(axis=1))


def _bins(confidence: Array) -> npt.NDArray[np.bool_]:
    """Return [n, BINS]: whether a confidence is in a bin; bins include their upper edge."""
    edges = np.arange(1, BINS) / BINS
    inside: npt.NDArray[np.bool_] = np.digitize(confidence, edges, right=True)[:, None] == np.arange(BINS)
    return inside


def _moments(output: Array, target: Array, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Return (variances [2, r], covariance [r], mean difference [r]) of r resamples."""
    output, target = np.asarray(output, np.float64), np.asarray(target, np.float64)
    # Centred on the common mean, so that the squares below do not cancel.
    x, y = output - output.sum() / max(len(output), 1), target - target.sum() / max(len(target), 1)
    sums = weights @ np.stack([x, y, x * x, y * y, x * y, output - target], axis=1)
    x, y, xx, yy, xy, offset = _divide(sums, weights.sum(axis=1, keepdims=True)).T
    means, squares = np.stack([x, y]), np.stack([xx, yy])
    variances = squares - means**2
    variances[variances < 1e-12 * squares] = 0  # rounding error of a constant
    return variances, np.where((variances > 0).all(axis=0), xy - x * y, 0), offset


def _weights(counts: Array | None, n: int) -> Floats:
    return np.ones((1, n)) if counts is None else np.asarray(counts, np.float64)


def _divide(over: Floats, under: Array) -> Floats:
    """Divide; the result is NaN where the divisor is 0."""
    result: Floats = np.full(np.shape(over), np.nan)
    return np.divide(over, under, out=result, where=np.broadcast_to(under, over.shape) > 0)


def _nan_if(undefined: bool, values: Floats) -> Floats:
    return np.full_like(values, np.nan) if undefined else values
