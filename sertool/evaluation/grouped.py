"""Measures with bootstrap intervals, overall and by group: shared by the reports of all tasks."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from sertool._types import Array, Floats
from sertool.corpora import Row
from sertool.errors import UsageError
from sertool.evaluation.bootstrap import intervals

#: Row attributes that results are grouped by.
GROUPINGS = ("corpus", "language", "sex", "speaker")

#: Fewest clips for a measure of a group.
SMALLEST_GROUP = 10


@dataclass(frozen=True)
class Measure:
    """A metric (see :mod:`.metrics`) with its arguments ``columns``, [n] each; ``usable`` [n] selects its rows."""

    name: str
    metric: Callable[..., Any]  # a Metric, or a partial of one
    columns: tuple[Array, ...]
    usable: npt.NDArray[np.bool_]

    def on(self, members: Array) -> float:
        """Return the value over the rows ``members`` [m] (indices)."""
        members = members[self.usable[members]]
        value: float = self.metric(*(column[members] for column in self.columns))
        return value

    def resampled(self, members: Array, counts: Floats) -> Floats:
        """Return the values [r] over resamples of the rows ``members`` [m]; ``counts`` [r, m]."""
        inside = self.usable[members]
        members, counts = members[inside], counts if inside.all() else counts[:, inside]
        values: Floats = self.metric(*(column[members] for column in self.columns), counts)
        return values


def report(
    rows: Sequence[Row],
    measures: Sequence[Measure],
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    resample: str = "clips",
    progress: Callable[[int, int], None] = lambda done, total: None,
    more: Callable[[Array], dict[str, Any]] = lambda members: {},
) -> dict[str, Any]:
    """Compute the measures of n rows with 95 % bootstrap intervals, overall and by group.

    Returns ``{"clips", "unusable", "overall": group, "groups": {grouping: {value: group}}}`` where a group is
    ``{"clips", "measures": {name: {"value", "low", "high", "n"}}, **more(indices of its rows)}``. ``unusable`` clips
    are in no measure. Left out are measures that are undefined or have fewer than SMALLEST_GROUP clips in their group,
    and rows whose grouping is unknown. ``low`` and ``high`` are None if there is no interval.

    ``bootstrap`` is the number of resamples (0: no intervals). ``resample`` "clips" draws clips; "speakers" draws whole
    speakers, because clips of one speaker are not independent; with few speakers such intervals are rough. The same
    seed draws the same clips for every model. Raises UsageError for "speakers" if a row has no speaker.
    """
    cluster = clusters(rows, resample)
    groups = {grouping: _members(rows, grouping) for grouping in GROUPINGS}
    total, done = 1 + sum(map(len, groups.values())), 0

    def figures(members: Array, smallest: int) -> dict[str, Any]:
        nonlocal done
        rng = np.random.default_rng(seed)
        values = _figures(measures, members, smallest, cluster, bootstrap, rng)
        done += 1
        progress(done, total)
        return {"clips": len(members), "measures": values, **more(members)}

    usable = np.any([measure.usable for measure in measures], axis=0) if measures else np.zeros(len(rows), bool)
    return {
        "clips": len(rows),
        "unusable": int((~usable).sum()),
        "overall": figures(np.arange(len(rows)), 1),
        "groups": {
            grouping: {value: figures(members, SMALLEST_GROUP) for value, members in by_value.items()}
            for grouping, by_value in groups.items()
        },
    }


def shown(figure: Mapping[str, Any] | None, digits: int = 3) -> str:
    """Format a value and its interval, ``0.512 [0.470, 0.551]``; empty for None."""
    if figure is None:
        return ""
    text = f"{figure['value']:.{digits}f}"
    if figure["low"] is None:
        return text
    return f"{text} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"


def markdown(report: dict[str, Any], groupings: Iterable[str], measures: Sequence[str]) -> list[str]:
    """Return the lines of a Markdown table: a row for all clips and one per group, with columns ``measures``."""
    groups = [("all", report["overall"])]
    for grouping in groupings:
        groups += [(f"{grouping} {value}", group) for value, group in report["groups"][grouping].items()]
    lines = [f"| group | clips | {' | '.join(measures)} |", f"|---|---:|{'---|' * len(measures)}"]
    for name, group in groups:
        cells = " | ".join(shown(group["measures"].get(measure)) for measure in measures)
        lines.append(f"| {name} | {group['clips']} | {cells} |")
    return lines


def clusters(rows: Sequence[Row], resample: str) -> npt.NDArray[np.intp]:
    """Return cluster numbers [n]; rows of equal number are drawn together. Options and errors as ``report``."""
    if resample == "clips":
        return np.arange(len(rows))
    if nameless := next((row for row in rows if not row.speaker), None):
        raise UsageError(f"{nameless.file}: has no speaker, so speakers cannot be resampled; resample clips")
    speakers = [_key(row, "speaker") for row in rows]
    return np.unique(speakers, return_inverse=True)[1] if rows else np.arange(0)


def _figures(
    measures: Sequence[Measure],
    members: Array,
    smallest: int,
    clusters: Array,
    bootstrap: int,
    rng: np.random.Generator,
) -> dict[str, dict[str, Any]]:
    defined = [
        (measure, value)
        for measure in measures
        if measure.usable[members].sum() >= smallest and not np.isnan(value := measure.on(members))
    ]
    resampled = [partial(measure.resampled, members) for measure, _ in defined]
    ends = intervals(resampled, clusters[members], bootstrap, rng)
    result: dict[str, dict[str, Any]] = {}
    for (measure, value), (low, high) in zip(defined, ends, strict=True):
        interval = {"low": None, "high": None} if np.isnan(low) else {"low": low, "high": high}
        result[measure.name] = {"value": value, **interval, "n": int(measure.usable[members].sum())}
    return result


def _members(rows: Sequence[Row], grouping: str) -> dict[str, Array]:
    members = defaultdict(list)
    for i, row in enumerate(rows):
        if getattr(row, grouping):
            members[_key(row, grouping)].append(i)
    return {value: np.array(indices) for value, indices in sorted(members.items())}


def _key(row: Row, grouping: str) -> str:
    # Two corpora may both have a speaker 01.
    return f"{row.corpus}/{row.speaker}" if grouping == "speaker" else str(getattr(row, grouping))
