"""Percentile bootstrap intervals (Efron and Tibshirani 1993, chapter 13), all resamples of a figure at once."""

from collections.abc import Callable, Iterator

import numpy as np

#: The share of resamples between an interval's ends.
COVERAGE = 0.95

#: Counts held at a time: 32 MB.
_AT_ONCE = 1 << 22


def resamples(clusters: np.ndarray, number: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """``number`` resamples as blocks of float64 [some, n]: how often each of n samples is drawn.

    ``clusters`` [n]: samples of equal value are drawn together, as many clusters as there are, with replacement;
    ``np.arange(n)`` draws each on its own.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    drawn = int(cluster.max(initial=-1)) + 1
    rows = max(1, _AT_ONCE // max(len(cluster), 1))
    for start in range(0, number, rows):
        some = min(rows, number - start)
        chosen = rng.integers(drawn, size=(some, drawn)) + drawn * np.arange(some)[:, None]
        counts = np.bincount(chosen.ravel(), minlength=some * drawn).reshape(some, drawn).astype(np.float64)
        yield counts[:, cluster]


def intervals(
    metrics: list[Callable[[np.ndarray], np.ndarray]], clusters: np.ndarray, number: int, rng: np.random.Generator
) -> list[tuple[float, float]]:
    """The (low, high) of each metric over the same resamples; a metric takes counts [r, n] and gives values [r].

    Resamples in which a metric is NaN are left out; (NaN, NaN) if that is half of them or more, or if there are fewer
    than two clusters, which no resample can tell apart.
    """
    nothing = (float("nan"), float("nan"))
    if number < 1 or len(np.unique(clusters)) < 2:
        return [nothing] * len(metrics)
    blocks = [[metric(counts) for metric in metrics] for counts in resamples(clusters, number, rng)]
    ends = [50 * (1 - COVERAGE), 50 * (1 + COVERAGE)]
    found = []
    for parts in zip(*blocks, strict=True):
        values = np.concatenate(parts)
        values = values[~np.isnan(values)]
        found.append(tuple(np.percentile(values, ends).tolist()) if 2 * len(values) > number else nothing)
    return found
