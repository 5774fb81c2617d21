"""Figures with bootstrap intervals, overall and by group: what the reports of all tasks have in common."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from sertool.errors import UsageError
from sertool.evaluation.bootstrap import intervals

#: What results are broken down by.
GROUPINGS = ("corpus", "language", "sex", "speaker")

#: A group has no figure on fewer clips than this.
SMALLEST_GROUP = 10


@dataclass(frozen=True)
class Measure:
    """A metric (of :mod:`.metrics`) of some columns [n], of the rows that are ``usable`` [n] for it."""

    name: str
    metric: Callable
    columns: tuple[np.ndarray, ...]
    usable: np.ndarray

    def on(self, members: np.ndarray) -> float:
        members = members[self.usable[members]]
        return self.metric(*(column[members] for column in self.columns))

    def resampled(self, members: np.ndarray, counts: np.ndarray) -> np.ndarray:
        inside = self.usable[members]
        members, counts = members[inside], counts if inside.all() else counts[:, inside]
        return self.metric(*(column[members] for column in self.columns), counts)


def report(
    rows,
    measures: list[Measure],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    resample: str = "clips",
    progress: Callable[[int, int], None] = lambda done, total: None,
    more: Callable[[np.ndarray], dict] = lambda members: {},
) -> dict:
    """The measures of n rows with 95 % bootstrap intervals, overall and by group.

    ``{"clips", "unusable", "overall": group, "groups": {grouping: {value: group}}}``, a group being ``{"clips",
    "measures": {name: {"value", "low", "high", "n"}}, **more(its rows' places)}``. ``unusable`` clips are in no figure.
    What cannot be told is left out: a measure that is not defined, or that has under SMALLEST_GROUP clips in its group;
    rows of which the grouping is unknown. ``low`` and ``high`` are None where resampling tells nothing.

    ``bootstrap`` resamples (0: no intervals) of clips, or of whole ``speakers``, whose clips are not independent; with
    few speakers such intervals are rough. The same seed draws the same clips for every model. Raises UsageError for
    ``speakers`` if a row has none.
    """
    drawn = clusters(rows, resample)
    groups = {grouping: _members(rows, grouping) for grouping in GROUPINGS}
    total, done = 1 + sum(map(len, groups.values())), 0

    def figures(members, smallest):
        nonlocal done
        rng = np.random.default_rng(seed)
        found = {"clips": len(members), "measures": _figures(measures, members, smallest, drawn, bootstrap, rng)}
        done += 1
        progress(done, total)
        return found | more(members)

    usable = np.any([measure.usable for measure in measures], axis=0) if measures else np.zeros(len(rows), bool)
    return {
        "clips": len(rows),
        "unusable": int((~usable).sum()),
        "overall": figures(np.arange(len(rows)), 1),
        "groups": {
            grouping: {value: figures(members, SMALLEST_GROUP) for value, members in found.items()}
            for grouping, found in groups.items()
        },
    }


def shown(figure: dict | None, digits: int = 3) -> str:
    """A figure and its interval as text, ``0.512 [0.470, 0.551]``; empty for None."""
    if figure is None:
        return ""
    text = f"{figure['value']:.{digits}f}"
    if figure["low"] is None:
        return text
    return f"{text} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"


def markdown(report: dict, groupings, measures) -> list[str]:
    """Lines of a Markdown table: a row for all clips and one a group, columns ``measures``."""
    groups = [("all", report["overall"])]
    for grouping in groupings:
        groups += [(f"{grouping} {value}", group) for value, group in report["groups"][grouping].items()]
    lines = [f"| group | clips | {' | '.join(measures)} |", f"|---|---:|{'---|' * len(measures)}"]
    for name, group in groups:
        cells = " | ".join(shown(group["measures"].get(measure)) for measure in measures)
        lines.append(f"| {name} | {group['clips']} | {cells} |")
    return lines


def clusters(rows, resample: str) -> np.ndarray:
    """[n]: rows of equal number are drawn together, as ``resample`` says. Raises UsageError as ``report``."""
    if resample == "clips":
        return np.arange(len(rows))
    if nameless := next((row for row in rows if not row.speaker), None):
        raise UsageError(f"{nameless.file}: has no speaker, so speakers cannot be resampled; resample clips")
    speakers = [_key(row, "speaker") for row in rows]
    return np.unique(speakers, return_inverse=True)[1] if rows else np.arange(0)


def _figures(measures, members, smallest, clusters, bootstrap, rng) -> dict:
    defined = [
        (measure, value)
        for measure in measures
        if measure.usable[members].sum() >= smallest and not np.isnan(value := measure.on(members))
    ]
    resampled = [partial(measure.resampled, members) for measure, _ in defined]
    ends = intervals(resampled, clusters[members], bootstrap, rng)
    found = {}
    for (measure, value), (low, high) in zip(defined, ends, strict=True):
        low, high = (None, None) if np.isnan(low) else (low, high)
        found[measure.name] = {"value": value, "low": low, "high": high, "n": int(measure.usable[members].sum())}
    return found


def _members(rows, grouping: str) -> dict[str, np.ndarray]:
    found = defaultdict(list)
    for i, row in enumerate(rows):
        if getattr(row, grouping):
            found[_key(row, grouping)].append(i)
    return {value: np.array(members) for value, members in sorted(found.items())}


def _key(row, grouping: str) -> str:
    # Two corpora may both have a speaker 01.
    return f"{row.corpus}/{row.speaker}" if grouping == "speaker" else getattr(row, grouping)
