"""What an arousal, dominance, valence model is worth where there are targets, and where there are only classes."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..errors import UsageError
from .bootstrap import intervals
from .metrics import auc, ccc, mae, pearson

#: Measure -> (output, classes that should score high, classes that should score low).
CLASS_PAIRS = {
    "arousal AUC": ("arousal", {"angry", "happy", "fearful"}, {"sad", "neutral", "calm"}),
    "valence AUC": ("valence", {"happy"}, {"angry", "sad"}),
}

#: The same classes as other corpora name them.
SYNONYMS = {"anger": "angry", "fear": "fearful", "happiness": "happy", "joy": "happy", "sadness": "sad"}

#: Outputs that a row may hold the truth of, in [0, 1].
DIMENSIONS = ("arousal", "dominance", "valence")

#: Measure -> metric, where truth is a number.
NUMERIC = {"CCC": ccc, "Pearson": pearson, "MAE": mae}

#: What results are broken down by.
GROUPINGS = ("corpus", "language", "sex", "speaker")

#: A group has no figure on fewer clips than this.
SMALLEST_GROUP = 10

RESAMPLE = ("clips", "speakers")


def concordance(outputs: np.ndarray, targets: np.ndarray, names) -> dict[str, float]:
    """CCC per output name; both arrays [n, len(names)]."""
    return {name: ccc(outputs[:, i], targets[:, i]) for i, name in enumerate(names)}


def class_pairs(outputs: np.ndarray, rows, names) -> dict[str, dict[str, float]]:
    """Corpus -> measure -> AUC, for outputs [n, len(names)] of n rows with emotion labels.

    A measure is left out where a corpus lacks one side of the pair.
    """
    result = {corpus: {} for corpus in sorted({row.corpus for row in rows})}
    corpora = np.array([row.corpus for row in rows])
    for measure in _class_measures(rows, outputs, names):
        for corpus, found in result.items():
            value = measure.on(np.flatnonzero(corpora == corpus))
            if not np.isnan(value):
                found[measure.name] = value
    return result


def emotion(row) -> str:
    """A row's class under the name that CLASS_PAIRS uses, if it is one of those."""
    name = row.emotion.lower()
    return SYNONYMS.get(name, name)


def report(
    rows,
    outputs: np.ndarray,
    names,
    *,
    bootstrap: int = 1000,
    seed: int = 0,
    resample: str = "clips",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict:
    """Figures with 95 % bootstrap intervals for outputs [n, len(names)] of n rows, overall and by group.

    CCC, Pearson and MAE of each output where rows have its number, AUC of CLASS_PAIRS where they have classes:
    ``{"clips", "unusable", "overall": group, "groups": {grouping: {value: group}}}``, a group being ``{"clips",
    "measures": {name: {"value", "low", "high", "n"}}}``. ``unusable`` clips are in no figure. What cannot be told is
    left out: a measure that is not defined, or that has under SMALLEST_GROUP clips in its group; rows of which the
    grouping is unknown. ``low`` and ``high`` are None where resampling tells nothing.

    ``bootstrap`` resamples (0: no intervals) of clips, or of whole ``speakers``, whose clips are not independent; with
    few speakers such intervals are rough. The same seed draws the same clips for every model. Raises UsageError for
    ``speakers`` if a row has none.
    """
    outputs = np.asarray(outputs, np.float64).reshape(len(rows), len(names))
    measures = [*_numeric_measures(rows, outputs, names), *_class_measures(rows, outputs, names)]
    drawn = clusters(rows, resample)
    groups = {grouping: _members(rows, grouping) for grouping in GROUPINGS}
    total, done = 1 + sum(map(len, groups.values())), 0

    def figures(members, smallest):
        nonlocal done
        rng = np.random.default_rng(seed)
        found = {"clips": len(members), "measures": _figures(measures, members, smallest, drawn, bootstrap, rng)}
        done += 1
        progress(done, total)
        return found

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


def headline(report: dict) -> list[str]:
    """The measures of a report that say most: CCC and AUC, without Pearson and MAE."""
    return [name for name in report["overall"]["measures"] if name.endswith(("CCC", "AUC"))]


def shown(figure: dict | None, digits: int = 3) -> str:
    """A figure and its interval as text, ``0.512 [0.470, 0.551]``; empty for None."""
    if figure is None:
        return ""
    text = f"{figure['value']:.{digits}f}"
    if figure["low"] is None:
        return text
    return f"{text} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"


def markdown(report: dict, groupings=("corpus",), measures=None) -> list[str]:
    """Lines of a Markdown table: a row for all clips and one a group, columns ``measures``, by default headline."""
    measures = headline(report) if measures is None else measures
    groups = [("all", report["overall"])]
    for grouping in groupings:
        groups += [(f"{grouping} {value}", group) for value, group in report["groups"][grouping].items()]
    lines = [f"| group | clips | {' | '.join(measures)} |", f"|---|---:|{'---|' * len(measures)}"]
    for name, group in groups:
        cells = " | ".join(shown(group["measures"].get(measure)) for measure in measures)
        lines.append(f"| {name} | {group['clips']} | {cells} |")
    return lines


@dataclass(frozen=True)
class _Measure:
    """A metric of two columns [n], of the rows that are ``usable`` [n] for it."""

    name: str
    metric: Callable
    output: np.ndarray
    truth: np.ndarray
    usable: np.ndarray

    def on(self, members: np.ndarray) -> float:
        members = members[self.usable[members]]
        return self.metric(self.output[members], self.truth[members])

    def resampled(self, members: np.ndarray, counts: np.ndarray) -> np.ndarray:
        inside = self.usable[members]
        members, counts = members[inside], counts if inside.all() else counts[:, inside]
        return self.metric(self.output[members], self.truth[members], counts)


def _numeric_measures(rows, outputs, names):
    for dimension in DIMENSIONS:
        truth = np.array([getattr(row, dimension) for row in rows], np.float64)  # None becomes NaN
        if dimension in names:
            output = outputs[:, list(names).index(dimension)]
            for name, metric in NUMERIC.items():
                yield _Measure(f"{dimension} {name}", metric, output, truth, np.isfinite(truth))


def _class_measures(rows, outputs, names):
    emotions = np.array([emotion(row) for row in rows], str)
    for name, (output, high, low) in CLASS_PAIRS.items():
        if output in names:
            is_high, is_low = np.isin(emotions, list(high)), np.isin(emotions, list(low))
            yield _Measure(name, auc, outputs[:, list(names).index(output)], is_high, is_high | is_low)


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


def clusters(rows, resample: str) -> np.ndarray:
    """[n]: rows of equal number are drawn together, as ``resample`` says. Raises UsageError as ``report``."""
    if resample == "clips":
        return np.arange(len(rows))
    if nameless := next((row for row in rows if not row.speaker), None):
        raise UsageError(f"{nameless.file}: has no speaker, so speakers cannot be resampled; resample clips")
    speakers = [_key(row, "speaker") for row in rows]
    return np.unique(speakers, return_inverse=True)[1] if rows else np.arange(0)


def _members(rows, grouping: str) -> dict[str, np.ndarray]:
    found = defaultdict(list)
    for i, row in enumerate(rows):
        if getattr(row, grouping):
            found[_key(row, grouping)].append(i)
    return {value: np.array(members) for value, members in sorted(found.items())}


def _key(row, grouping: str) -> str:
    # Two corpora may both have a speaker 01.
    return f"{row.corpus}/{row.speaker}" if grouping == "speaker" else getattr(row, grouping)
