"""Metrics on numpy arrays: of the samples as they are, or of many resamples of them at once.

Every function takes ``counts`` [resamples, n], how often each sample is in each resample, and then returns an array
[resamples] instead of a float. A metric that is not defined is NaN, never an error.
"""

import numpy as np

#: Equal-width bins of confidence, as many as Guo et al. 2017 take.
BINS = 15


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


def accuracy(predicted: np.ndarray, truth: np.ndarray, counts: np.ndarray | None = None):
    """Share of samples whose class is right, of two [n] arrays of class numbers; NaN for no samples.

    Over all samples of a corpus what the field calls weighted accuracy, over those of one class its recall.
    """
    weights = _weights(counts, len(truth))
    right = np.asarray(np.equal(predicted, truth), np.float64)
    return _answer(_divide(weights @ right, weights.sum(axis=1)), counts)


def uar(predicted: np.ndarray, truth: np.ndarray, counts: np.ndarray | None = None):
    """Unweighted average recall of two [n] arrays of class numbers: mean recall of the classes that are in the truth.

    A class that a resample lacks is left out of its mean; NaN for no samples.
    """
    hits, true, _ = _tallies(predicted, truth, np.unique(truth), counts)
    return _answer(_mean_defined(_divide(hits, true)), counts)


def f1(predicted: np.ndarray, truth: np.ndarray, counts: np.ndarray | None = None, *, label: int):
    """F1 of one class, of two [n] arrays of class numbers: harmonic mean of its precision and recall.

    0 where the class is predicted and never true, or the other way round; NaN where it is neither.
    """
    hits, true, said = _tallies(predicted, truth, np.array([label]), counts)
    return _answer(_divide(2 * hits, true + said)[:, 0], counts)


def macro_f1(predicted: np.ndarray, truth: np.ndarray, counts: np.ndarray | None = None):
    """Mean F1 of the classes that are true or predicted at least once, as scikit-learn's f1_score(average="macro").

    Of two [n] arrays of class numbers; a class that a resample lacks is left out of its mean; NaN for no samples.
    """
    hits, true, said = _tallies(predicted, truth, np.union1d(predicted, truth), counts)
    return _answer(_mean_defined(_divide(2 * hits, true + said)), counts)


def ece(confidence: np.ndarray, right: np.ndarray, counts: np.ndarray | None = None):
    """Expected calibration error (Guo et al. 2017): how far confidence is from accuracy in a bin of BINS, on average.

    ``confidence`` [n] from 0 to 1, ``right`` [n] of bool; bins count by their samples. 0 is best; few samples make it
    larger, resamples of them larger still. NaN for no samples.
    """
    weights = _weights(counts, len(confidence))
    gaps = (np.asarray(right, np.float64) - confidence)[:, None] * _bins(confidence)
    return _answer(_divide(np.abs(weights @ gaps).sum(axis=1), weights.sum(axis=1)), counts)


def reliability(confidence: np.ndarray, right: np.ndarray) -> dict[str, np.ndarray]:
    """What ``ece`` compares: "clips", mean "confidence" and "accuracy", [BINS] each; NaN in an empty bin."""
    inside = _bins(confidence)
    clips = inside.sum(axis=0)
    sums = np.stack([np.asarray(values, np.float64) @ inside for values in (confidence, right)])
    return {"clips": clips, **dict(zip(("confidence", "accuracy"), _divide(sums, clips), strict=True))}


def confusion(predicted: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """Counts [classes, classes] of two [n] arrays of class numbers: a row a true class, a column a predicted one."""
    return np.bincount(classes * truth + predicted, minlength=classes**2).reshape(classes, classes)


def row_shares(confusion) -> np.ndarray:
    """A confusion matrix [k, k] with each row divided by its sum; NaN in the row of a class that is never true."""
    confusion = np.asarray(confusion, np.float64)
    return _divide(confusion, confusion.sum(axis=1, keepdims=True))


def _tallies(predicted, truth, labels, counts):
    """How often each label is predicted rightly, true, and predicted: [3, resamples, labels]."""
    weights = _weights(counts, len(truth))
    true, said = (np.reshape(values, (-1, 1)) == labels for values in (truth, predicted))
    return np.stack([weights @ np.asarray(which, np.float64) for which in (true & said, true, said)])


def _mean_defined(values):
    """[r] means of [r, k] without its NaN."""
    return _divide(np.nansum(values, axis=1), (~np.isnan(values)).sum(axis=1))


def _bins(confidence) -> np.ndarray:
    """[n, BINS]: whether a confidence lies in a bin; its upper edge belongs to it."""
    edges = np.arange(1, BINS) / BINS
    return np.digitize(confidence, edges, right=True)[:, None] == np.arange(BINS)


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
