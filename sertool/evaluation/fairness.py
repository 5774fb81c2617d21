"""Check that a model is equally good, and equally biased to no answer, for every language and for both sexes.

The fairness tests of audEERING's ser-tests (Derington et al., arXiv 2312.06270) that open corpora allow, with their
thresholds. Language: a group's mean output, and the share of its outputs in each quarter (for classes: the share of
each class among its predictions), equal those of all groups. Sex: the CCC of women's and men's recordings, or the
recall of each class, is equal. Corpora differ in the emotions they contain, so each class has the same weight in every
group, and classes that some groups lack are left out. Not included: accents, pitch and sentiment, because there are no
open corpora for them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sertool._types import Array, Floats
from sertool.corpora import Row
from sertool.corpora.classes import canonical
from sertool.evaluation.metrics import ccc
from sertool.tasks import TASKS

#: Boundaries of the four quarters of the output range.
EDGES = (0.25, 0.5, 0.75)

#: Fewest clips of a class in a group for it to be compared.
SMALLEST = 10

RESAMPLES = 200

#: figure(outputs [n, k], indices of clips): the number that is compared between groups.
_Figure: TypeAlias = Callable[[Floats, Array], float]


@dataclass(frozen=True)
class Result:
    """One comparison: by how much ``groups`` differ in ``check``, with a 95 % bootstrap interval.

    For languages the difference is the largest deviation from the mean of all groups, for sexes that between the two.

    ``passed``: the difference is below ``limit``. ``constant`` and ``random`` are the differences of a constant and of
    a random predictor.
    """

    check: str
    groups: list[str]
    limit: float
    difference: float
    low: float
    high: float
    passed: bool
    constant: float
    random: float


def evaluate(rows: Sequence[Row], outputs: Array, names: Sequence[str], task: str, seed: int = 0) -> list[Result]:
    """Run the comparisons that the rows allow; none if they lack languages and sexes with enough clips.

    ``rows`` [n], ``outputs`` [n, k], ``names`` [k] of the outputs.
    """
    outputs = np.asarray(outputs, np.float64).reshape(len(rows), len(names))
    rng = np.random.default_rng(seed)
    constant = np.full_like(outputs, 0.5)
    constant[:, 0] += 1e-3  # for classes: always the first one
    guessed = np.clip(rng.normal(0.5, 1 / 6, outputs.shape), 0, 1)
    labels = np.array([canonical(row.emotion) for row in rows])
    results = []
    for check, limit, key, usable, figure in _checks(rows, names, task, labels):
        groups = _groups(rows, key, labels, usable)
        if len(groups) < 2:
            continue

        def difference(
            values: Floats,
            resample: np.random.Generator | None = None,
            groups: dict[str, list[Array]] = groups,
            figure: _Figure = figure,
            key: str = key,
        ) -> float:
            figures = []
            for parts in groups.values():
                parts = [part if resample is None else resample.choice(part, len(part)) for part in parts]
                figures.append(np.mean([figure(values, part) for part in parts]))
            if key.startswith("sex"):
                return float(np.ptp(figures))
            return float(np.max(np.abs(np.array(figures) - np.mean(figures))))

        drawn = [difference(outputs, rng) for _ in range(RESAMPLES)]
        low, high = np.nanpercentile(drawn, [2.5, 97.5]).tolist()
        model = difference(outputs)
        baselines = difference(constant), difference(guessed)
        results.append(Result(check, list(groups), limit, model, low, high, model < limit, *baselines))
    return results


def summary(results: list[Result]) -> dict[str, float]:
    """Return the share of comparisons that "model", "constant" and "random" pass."""
    return {
        "model": float(np.mean([r.passed for r in results])),
        "constant": float(np.mean([r.constant < r.limit for r in results])),
        "random": float(np.mean([r.random < r.limit for r in results])),
    }


def _checks(
    rows: Sequence[Row], names: Sequence[str], task: str, labels: Array
) -> list[tuple[str, float, str, npt.NDArray[np.bool_], _Figure]]:
    """Return (description, limit, key of the groups, [n] whether a row is used, figure) of each check."""
    everything = np.ones(len(rows), bool)
    checks: list[tuple[str, float, str, npt.NDArray[np.bool_], _Figure]] = []
    for k, name in enumerate(names):
        if TASKS[task].has_classes:
            checks.append((f"language: share of {name}", 0.1, "language", everything, _share_of_class(k)))
            of_class = labels == name
            checks.append((f"sex: recall of {name}", 0.1, "sex", of_class, _share_of_class(k)))
            continue
        checks.append((f"language: mean {name}", 0.03, "language", everything, _mean(k)))
        for quarter in range(4):
            description = f"language: share of {name} in quarter {quarter + 1}"
            checks.append((description, 0.1, "language", everything, _share_of_quarter(k, quarter)))
        true = np.array([np.nan if (value := getattr(row, name, None)) is None else value for row in rows], float)
        if not np.isnan(true).all():
            checks.append((f"sex: CCC of {name}", 0.075, "sex+", ~np.isnan(true), _agreement(k, true)))
    return checks


def _groups(rows: Sequence[Row], key: str, labels: Array, usable: npt.NDArray[np.bool_]) -> dict[str, list[Array]]:
    """Return group -> indices of its clips by class, for the classes that all groups have.

    A "+" after the key ("sex+") puts all clips into one class.
    """
    values = np.array([getattr(row, key.removesuffix("+")) or "" for row in rows], object)
    classes = np.zeros(len(rows), str) if key.endswith("+") else labels
    groups = [value for value in sorted(set(values)) if value and (usable & (values == value)).sum() >= SMALLEST]
    places = {g: {c: np.flatnonzero(usable & (values == g) & (classes == c)) for c in set(classes)} for g in groups}
    common = [c for c in sorted(set(classes)) if all(len(places[g][c]) >= SMALLEST for g in groups)]
    return {group: [places[group][c] for c in common] for group in groups} if common else {}


def _mean(k: int) -> _Figure:
    return lambda outputs, places: outputs[places, k].mean()


def _share_of_quarter(k: int, quarter: int) -> _Figure:
    return lambda outputs, places: (np.digitize(outputs[places, k], EDGES) == quarter).mean()


def _share_of_class(k: int) -> _Figure:
    return lambda outputs, places: (outputs[places].argmax(axis=1) == k).mean()


def _agreement(k: int, true: Floats) -> _Figure:
    return lambda outputs, places: ccc(true[places], outputs[places, k])
