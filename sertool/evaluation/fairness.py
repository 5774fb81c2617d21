"""Is a model as good, and as much inclined to one answer, for every language and for both sexes?

The fairness tests of audEERING's ser-tests (Derington et al., arXiv 2312.06270) that open corpora allow, on their
thresholds. Language: a group's mean output, and the share of its outputs in each quarter (of classes: of its answers
that are each class), are those of all groups. Sex: the CCC of women's and men's recordings, or the recall of each
class, is the same. Corpora differ in what they act, so each class counts the same in every group, and a class that not
all groups have does not count. Not taken over: accents, pitch and sentiment, whose corpora there are not.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sertool.corpora.classes import canonical
from sertool.evaluation.metrics import ccc
from sertool.tasks import TASKS

#: Quarters of the outputs' range, for shares.
EDGES = (0.25, 0.5, 0.75)

#: A group is compared from so many clips of a class on.
SMALLEST = 10

RESAMPLES = 200


@dataclass(frozen=True)
class Result:
    """One comparison: how far ``groups`` differ in ``check``, with its 95 % bootstrap interval.

    Of languages this is the largest difference from the mean of all groups, of sexes that between them.

    ``passed``: it is below the ``limit``. ``constant`` and ``random`` are the differences of a predictor of one value,
    and of one that guesses.
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


def evaluate(rows, outputs, names, task: str, seed: int = 0) -> list[Result]:
    """The comparisons that the rows allow; none where they name neither languages nor sexes of enough clips.

    ``rows`` [n] of sertool.corpora.Row, ``outputs`` [n, k] under their ``names``.
    """
    outputs = np.asarray(outputs, np.float64).reshape(len(rows), len(names))
    rng = np.random.default_rng(seed)
    constant = np.full_like(outputs, 0.5)
    constant[:, 0] += 1e-3  # of classes, always the first
    guessed = np.clip(rng.normal(0.5, 1 / 6, outputs.shape), 0, 1)
    labels = np.array([canonical(row.emotion) for row in rows])
    found = []
    for check, limit, key, usable, figure in _checks(rows, names, task, labels):
        groups = _groups(rows, key, labels, usable)
        if len(groups) < 2:
            continue

        def difference(values, resample=None, groups=groups, figure=figure, key=key):
            figures = []
            for parts in groups.values():
                parts = [part if resample is None else resample.choice(part, len(part)) for part in parts]
                figures.append(np.mean([figure(values, part) for part in parts]))
            if key.startswith("sex"):
                return float(np.ptp(figures))
            return float(np.max(np.abs(np.array(figures) - np.mean(figures))))

        drawn = [difference(outputs, rng) for _ in range(RESAMPLES)]
        low, high = np.nanpercentile(drawn, [2.5, 97.5]).tolist()
        own = difference(outputs)
        others = difference(constant), difference(guessed)
        found.append(Result(check, list(groups), limit, own, low, high, own < limit, *others))
    return found


def summary(results: list[Result]) -> dict[str, float]:
    """Share of the comparisons passed by "model", "constant" and "random"."""
    return {
        "model": float(np.mean([r.passed for r in results])),
        "constant": float(np.mean([r.constant < r.limit for r in results])),
        "random": float(np.mean([r.random < r.limit for r in results])),
    }


def _checks(rows, names, task: str, labels) -> list[tuple[str, float, str, np.ndarray, Callable]]:
    """(what is said of it, limit, what groups go by, [n] whether a row counts, figure(outputs, places)) each."""
    everything = np.ones(len(rows), bool)
    made = []
    for k, name in enumerate(names):
        if TASKS[task].has_classes:
            made.append((f"language: share of {name}", 0.1, "language", everything, _share_of_class(k)))
            own = labels == name
            made.append((f"sex: recall of {name}", 0.1, "sex", own, _share_of_class(k)))
            continue
        made.append((f"language: mean {name}", 0.03, "language", everything, _mean(k)))
        for quarter in range(4):
            about = f"language: share of {name} in quarter {quarter + 1}"
            made.append((about, 0.1, "language", everything, _share_of_quarter(k, quarter)))
        true = np.array([np.nan if (value := getattr(row, name, None)) is None else value for row in rows], float)
        if not np.isnan(true).all():
            made.append((f"sex: CCC of {name}", 0.075, "sex+", ~np.isnan(true), _agreement(k, true)))
    return made


def _groups(rows, key: str, labels, usable) -> dict[str, list[np.ndarray]]:
    """Group -> places of its clips, class by class, of the classes that all groups have; "sex+": all in one."""
    values = np.array([getattr(row, key.removesuffix("+")) or "" for row in rows], object)
    classes = np.zeros(len(rows), str) if key.endswith("+") else labels
    groups = [value for value in sorted(set(values)) if value and (usable & (values == value)).sum() >= SMALLEST]
    places = {g: {c: np.flatnonzero(usable & (values == g) & (classes == c)) for c in set(classes)} for g in groups}
    common = [c for c in sorted(set(classes)) if all(len(places[g][c]) >= SMALLEST for g in groups)]
    return {group: [places[group][c] for c in common] for group in groups} if common else {}


def _mean(k: int):
    return lambda outputs, places: outputs[places, k].mean()


def _share_of_quarter(k: int, quarter: int):
    return lambda outputs, places: (np.digitize(outputs[places, k], EDGES) == quarter).mean()


def _share_of_class(k: int):
    return lambda outputs, places: (outputs[places].argmax(axis=1) == k).mean()


def _agreement(k: int, true: np.ndarray):
    return lambda outputs, places: ccc(true[places], outputs[places, k])
