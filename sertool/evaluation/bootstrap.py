"""Percentile bootstrap intervals (Efron and Tibshirani 1993, chapter 13), vectorised over resamples."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from sertool._types import Array, Floats

#: Share of resamples inside an interval.
COVERAGE = 0.95

#: Counts in memory at a time: 32 MB.
_BLOCK = 1 << 22


def resamples(clusters: Array, number: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield ``number`` resamples in blocks of float64 [some, n]: how often each of n samples is drawn.

    ``clusters`` [n]: samples of equal value are drawn together. Each resample draws as many clusters as there are, with
    replacement; ``np.arange(n)`` draws every sample independently.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    total = int(cluster.max(initial=-1)) + 1
    rows = max(1, _BLOCK // max(len(cluster), 1))
    for start in range(0, number, rows):
        some = min(rows, number - start)
        chosen = rng.integers(total, size=(some, total)) + total * np.arange(some)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=some * total).reshape(some, total).astype(np.float64)
        yield counts[:, cluster]


def intervals(
    metrics: Sequence[Callable[[Floats], Floats]], clusters: Array, number: int, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Return (low, high) of each metric over the same resamples; a metric maps counts [r, n] to values [r].

    Resamples in which a metric is NaN are left out. The result is (NaN, NaN) if that is half of them or more, or if
    there are fewer than two clusters, so that all resamples are equal.
    """
    undefined = (float("nan"), float("nan"))
    if number < 1 or len(np.unique(clusters)) < 2:
        return [undefined] * len(metrics)
    blocks = [[metric(counts) for metric in metrics] for counts in resamples(clusters, number, rng)]
    ends = [50 * (1 - COVERAGE), 50 * (1 + COVERAGE)]
    result = []
    for parts in zip(*blocks, strict=True):
        values = np.concatenate(parts)
        values = values[~np.isnan(values)]
        if 2 * len(values) > number:
            low, high = np.percentile(values, ends).tolist()
            result.append((low, high))
        else:
            result.append(undefined)
    return result
