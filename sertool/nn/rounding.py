"""Quantise matrices to integers of few bits: round to nearest, or minimise the change of a layer's output."""

import numpy as np
import numpy.typing as npt

from sertool._types import Array, Floats

#: Candidate scales, as shares of the scale that represents a row's largest weight: with few levels, a smaller scale
#: that clips the largest weights can have a smaller error.
SHARES: Floats = np.linspace(0.5, 1.1, 13)

#: Added to the diagonal of the moments, as a share of its mean, for inputs that do not occur in calibration.
DAMPING = 0.01

#: Columns per block; the errors of a block are spread over all later columns at once.
BLOCK = 64


def rounded(
    matrix: Array, low: int, high: int, moments: Array | None = None
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantise a matrix [rows, columns] to (int8 of that shape, low..high, float32 scales [rows]).

    Each row takes the one of SHARES with the smallest squared error; with more than 16 levels, the largest weight gets
    the last level. With ``moments`` [columns, columns], the mean of x xᵀ over inputs x of a layer, the error is that of
    the layer's output, and later columns compensate for a column's error (GPTQ, Frantar et al., arXiv 2210.17323).
    """
    matrix = np.asarray(matrix, np.float64)
    values, scales = np.zeros_like(matrix), np.zeros(len(matrix))
    least: Floats = np.full(len(matrix), np.inf)
    factor: Floats | None = None
    if moments is not None:
        spread = max(float(np.trace(moments)) / len(moments), 1e-30)
        moments = moments + DAMPING * spread * np.eye(len(moments))
        factor = np.asarray(np.linalg.cholesky(np.linalg.inv(moments)).T, np.float64)
    for share in SHARES if high < 8 else (1.0,):
        # Scales are stored as float32.
        scale = (np.maximum(np.abs(matrix).max(axis=1), 1e-30) / high * share).astype(np.float32).astype(np.float64)
        tried = _nearest(matrix, scale, low, high) if factor is None else _spread(matrix, scale, low, high, factor)
        off: Floats = tried * scale[:, None] - matrix
        error = ((off if moments is None else off @ moments) * off).sum(axis=1)
        better = error < least
        least, scales = np.where(better, error, least), np.where(better, scale, scales)
        values = np.where(better[:, None], tried, values)
    return values.astype(np.int8), scales.astype(np.float32)


def _nearest(matrix: Floats, scale: Floats, low: int, high: int) -> Floats:
    return np.clip(np.round(matrix / scale[:, None]), low, high)


def _spread(matrix: Floats, scale: Floats, low: int, high: int, factor: Floats) -> Floats:
    """Round with GPTQ: columns in order, the error of each spread over the columns not yet rounded."""
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
