"""What an arousal, dominance, valence model is worth where there are targets, and where there are only classes."""

import numpy as np

from sertool.corpora.classes import canonical
from sertool.evaluation import grouped
from sertool.evaluation.grouped import Measure
from sertool.evaluation.metrics import auc, ccc, mae, pearson

#: Measure -> (output, classes that should score high, classes that should score low).
CLASS_PAIRS = {
    "arousal AUC": ("arousal", {"angry", "happy", "fearful"}, {"sad", "neutral", "calm"}),
    "valence AUC": ("valence", {"happy"}, {"angry", "sad"}),
}

#: Outputs that a row may hold the truth of, in [0, 1].
DIMENSIONS = ("arousal", "dominance", "valence")

#: Measure -> metric, where truth is a number.
NUMERIC = {"CCC": ccc, "Pearson": pearson, "MAE": mae}


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


def report(rows, outputs: np.ndarray, names, **how) -> dict:
    """Figures for outputs [n, len(names)] of n rows, shaped as :func:`.grouped.report` says, with its options.

    CCC, Pearson and MAE of each output where rows have its number, AUC of CLASS_PAIRS where they have classes.
    """
    outputs = np.asarray(outputs, np.float64).reshape(len(rows), len(names))
    measures = [*_numeric_measures(rows, outputs, names), *_class_measures(rows, outputs, names)]
    return grouped.report(rows, measures, **how)


def headline(report: dict) -> list[str]:
    """The measures of a report that say most: CCC and AUC, without Pearson and MAE."""
    return [name for name in report["overall"]["measures"] if name.endswith(("CCC", "AUC"))]


def markdown(report: dict, groupings=("corpus",), measures=None) -> list[str]:
    """Lines of a Markdown table: a row for all clips and one a group, columns ``measures``, by default headline."""
    return grouped.markdown(report, groupings, headline(report) if measures is None else measures)


def _numeric_measures(rows, outputs, names):
    for dimension in DIMENSIONS:
        truth = np.array([getattr(row, dimension) for row in rows], np.float64)  # None becomes NaN
        if dimension in names:
            output = outputs[:, list(names).index(dimension)]
            for name, metric in NUMERIC.items():
                yield Measure(f"{dimension} {name}", metric, (output, truth), np.isfinite(truth))


def _class_measures(rows, outputs, names):
    emotions = np.array([canonical(row.emotion) for row in rows], str)
    for name, (output, high, low) in CLASS_PAIRS.items():
        if output in names:
            is_high, is_low = np.isin(emotions, list(high)), np.isin(emotions, list(low))
            yield Measure(name, auc, (outputs[:, list(names).index(output)], is_high), is_high | is_low)
