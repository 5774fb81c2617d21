"""Report on a model of arousal, dominance and valence, for corpora with numeric targets and with classes only."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sertool._types import Array, Floats
from sertool.corpora import Row
from sertool.corpora.classes import canonical
from sertool.evaluation import grouped
from sertool.evaluation.grouped import Measure
from sertool.evaluation.metrics import Metric, auc, ccc, mae, pearson

#: Measure -> (output, classes that should score high, classes that should score low).
CLASS_PAIRS = {
    "arousal AUC": ("arousal", {"angry", "happy", "fearful"}, {"sad", "neutral", "calm"}),
    "valence AUC": ("valence", {"happy"}, {"angry", "sad"}),
}

#: Outputs that a row may have targets for, in [0, 1].
DIMENSIONS = ("arousal", "dominance", "valence")

#: Measure -> metric, for numeric targets.
NUMERIC: dict[str, Metric] = {"CCC": ccc, "Pearson": pearson, "MAE": mae}


def concordance(outputs: Array, targets: Array, names: Sequence[str]) -> dict[str, float]:
    """Return the CCC of each output; both arrays are [n, len(names)]."""
    return {name: ccc(outputs[:, i], targets[:, i]) for i, name in enumerate(names)}


def class_pairs(outputs: Array, rows: Sequence[Row], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return corpus -> measure -> AUC, for outputs [n, len(names)] of n rows with emotion labels.

    A measure is left out if a corpus lacks one side of the pair.
    """
    result: dict[str, dict[str, float]] = {corpus: {} for corpus in sorted({row.corpus for row in rows})}
    corpora = np.array([row.corpus for row in rows])
    for measure in _class_measures(rows, outputs, names):
        for corpus, values in result.items():
            value = measure.on(np.flatnonzero(corpora == corpus))
            if not np.isnan(value):
                values[measure.name] = value
    return result


def report(rows: Sequence[Row], outputs: Array, names: Sequence[str], **how: Any) -> dict[str, Any]:
    """Return measures for outputs [n, len(names)] of n rows; structure and options as :func:`.grouped.report`.

    CCC, Pearson and MAE of each output over rows with a target for it, AUC of CLASS_PAIRS over rows with classes.
    """
    outputs = np.asarray(outputs, np.float64).reshape(len(rows), len(names))
    measures = [*_numeric_measures(rows, outputs, names), *_class_measures(rows, outputs, names)]
    return grouped.report(rows, measures, **how)


def headline(report: dict[str, Any]) -> list[str]:
    """Return the main measures of a report: CCC and AUC, without Pearson and MAE."""
    return [name for name in report["overall"]["measures"] if name.endswith(("CCC", "AUC"))]


def markdown(
    report: dict[str, Any], groupings: Sequence[str] = ("corpus",), measures: Sequence[str] | None = None
) -> list[str]:
    """Return the lines of a Markdown table: a row for all clips and one per group; default columns: ``headline``."""
    return grouped.markdown(report, groupings, headline(report) if measures is None else measures)


def _numeric_measures(rows: Sequence[Row], outputs: Floats, names: Sequence[str]) -> Iterator[Measure]:
    for dimension in DIMENSIONS:
        truth = np.array([getattr(row, dimension) for row in rows], np.float64)  # None becomes NaN
        if dimension in names:
            output = outputs[:, list(names).index(dimension)]
            for name, metric in NUMERIC.items():
                yield Measure(f"{dimension} {name}", metric, (output, truth), np.isfinite(truth))


def _class_measures(rows: Sequence[Row], outputs: Array, names: Sequence[str]) -> Iterator[Measure]:
    emotions = np.array([canonical(row.emotion) for row in rows], str)
    for name, (output, high, low) in CLASS_PAIRS.items():
        if output in names:
            is_high, is_low = np.isin(emotions, list(high)), np.isin(emotions, list(low))
            yield Measure(name, auc, (outputs[:, list(names).index(output)], is_high), is_high | is_low)
