"""Matrices to integers of few bits: each value to the nearest, or so that a layer's output changes least."""

import numpy as np

#: Shares of the scale that reaches a row's largest weight: with few levels, to reach it is not their best use.
SHARES = np.linspace(0.5, 1.1, 13)

#: Added to the diagonal of the moments, in shares of its mean: inputs that calibration never saw may come.
DAMPING = 0.01

#: Columns after which their errors are spread over all that are left, at once.
BLOCK = 64


def rounded(matrix: np.ndarray, low: int, high: int, moments: np.ndarray | None = None):
    """Matrix [rows, columns] -> (int8 of that shape, low..high, float32 scales [rows]).

    Of a row's SHARES the one with the smallest squared error; with more than 16 levels, the largest weight gets the
    last one. ``moments`` [columns, columns], the mean of x xᵀ over inputs x of a layer, make it the error of the
    layer's output, and a column's error is then made up for by those after it (GPTQ, Frantar et al., arXiv 2210.17323).
    """
    matrix = np.asarray(matrix, np.float64)
    values, scales, least = np.zeros_like(matrix), np.zeros(len(matrix)), np.full(len(matrix), np.inf)
    if moments is not None:
        spread = max(float(np.trace(moments)) / len(moments), 1e-30)
        moments = moments + DAMPING * spread * np.eye(len(moments))
        factor = np.linalg.cholesky(np.linalg.inv(moments)).T
    for share in SHARES if high < 8 else (1.0,):
        scale = np.float32(np.maximum(np.abs(matrix).max(axis=1), 1e-30) / high * share).astype(np.float64)
        tried = _nearest(matrix, scale, low, high) if moments is None else _spread(matrix, scale, low, high, factor)
        off = tried * scale[:, None] - matrix
        error = ((off if moments is None else off @ moments) * off).sum(axis=1)
        better = error < least
        least, scales = np.where(better, error, least), np.where(better, scale, scales)
        values = np.where(better[:, None], tried, values)
    return values.astype(np.int8), scales.astype(np.float32)


def _nearest(matrix, scale, low: int, high: int):
    return np.clip(np.round(matrix / scale[:, None]), low, high)


def _spread(matrix, scale, low: int, high: int, factor):
    """GPTQ: columns in order, each one's error spread over those not yet rounded."""
    left, values, errors = matrix.copy(), np.empty_like(matrix), np.empty_like(matrix)
    columns = matrix.shape[1]
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        for i in range(start, stop):
            values[:, i] = np.clip(np.round(left[:, i] / scale), low, high)
            errors[:, i] = (left[:, i] - values[:, i] * scale) / factor[i, i]
            left[:, i + 1 : stop] -= errors[:, i, None] * factor[i, i + 1 : stop]
        left[:, stop:] -= errors[:, start:stop] @ factor[start:stop, stop:]
    return values
