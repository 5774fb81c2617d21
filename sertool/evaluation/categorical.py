"""Report on a model of emotion classes: accuracy overall and by class, and calibration."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from sertool._types import Array, Floats
from sertool.corpora import Row
from sertool.corpora.classes import class_of
from sertool.evaluation import grouped, metrics
from sertool.evaluation.grouped import Measure

_HEADLINE = ("WA", "UA", "macro-F1")


def report(rows: Sequence[Row], probabilities: Array, names: Sequence[str], **how: Any) -> dict[str, Any]:
    """Return measures for probabilities [n, len(names)] of n rows; structure and options as :func:`.grouped.report`.

    A row's class is the one of ``names`` that its label counts as (corpora.classes.class_of); rows of other emotions
    are unusable. The class with the largest probability is the prediction. Measures: weighted accuracy ``WA`` (share of
    correct clips), unweighted accuracy ``UA`` (mean recall of the classes in the group's truth), ``macro-F1`` (mean F1
    of the classes that are true or predicted in the group, as in scikit-learn), ``ECE`` (expected calibration error,
    lower is better), and ``F1`` and ``recall`` of each class, recall only of classes with enough clips in the group.
    Each group also has ``"confusion"``: [[clips]], rows are true classes, columns predicted ones, ordered as ``names``.
    """
    probabilities = np.asarray(probabilities, np.float64).reshape(len(rows), len(names))
    truth, predicted = truths(rows, names), probabilities.argmax(axis=1)

    def confusion(members: Array) -> dict[str, Any]:
        members = members[truth[members] >= 0]
        return {"confusion": metrics.confusion(predicted[members], truth[members], len(names)).tolist()}

    measures = list(_measures(truth, predicted, probabilities.max(axis=1), names))
    return grouped.report(rows, measures, more=confusion, **how)


def truths(rows: Sequence[Row], names: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return the index in ``names`` of the class that each row's label counts as, [n]; -1 if there is none."""
    names = list(names)
    classes = [class_of(row.emotion, names) for row in rows]
    return np.array([-1 if name is None else names.index(name) for name in classes], np.int64)


def reliability(rows: Sequence[Row], probabilities: Array, names: Sequence[str]) -> dict[str, Array]:
    """Return accuracy by confidence, as metrics.reliability, for probabilities [n, len(names)] of n rows."""
    probabilities = np.asarray(probabilities, np.float64).reshape(len(rows), len(names))
    truth = truths(rows, names)
    known, right = truth >= 0, truth == probabilities.argmax(axis=1)
    return metrics.reliability(probabilities.max(axis=1)[known], right[known])


def headline(report: dict[str, Any]) -> list[str]:
    """Return the main measures of a report: WA, UA and macro-F1."""
    return [name for name in report["overall"]["measures"] if name in _HEADLINE]


def markdown(
    report: dict[str, Any], groupings: Sequence[str] = ("corpus",), measures: Sequence[str] | None = None
) -> list[str]:
    """Return the lines of a Markdown table: a row for all clips and one per group; default columns: ``headline``."""
    return grouped.markdown(report, groupings, headline(report) if measures is None else measures)


def confusion_cells(confusion: list[list[int]]) -> list[list[str]]:
    """Format a confusion matrix, clips and their share of the row: ``12 (0.60)``; no share in an empty row."""
    shares = metrics.row_shares(confusion)
    return [
        [str(clips) if np.isnan(share) else f"{clips} ({share:.2f})" for clips, share in zip(row, part, strict=True)]
        for row, part in zip(confusion, shares, strict=True)
    ]


def confusion_markdown(confusion: list[list[int]], names: Sequence[str]) -> list[str]:
    """Return the lines of a Markdown table of a group's confusion: clips and their share of the true class's clips."""
    lines = [f"| true / predicted | {' | '.join(names)} | clips |", f"|---|{'---:|' * (len(names) + 1)}"]
    for name, row, cells in zip(names, confusion, confusion_cells(confusion), strict=True):
        lines.append(f"| {name} | {' | '.join(cells)} | {sum(row)} |")
    return lines


def _measures(truth: Array, predicted: Array, confidence: Floats, names: Sequence[str]) -> Iterator[Measure]:
    known, classes = truth >= 0, (predicted, truth)
    yield Measure("WA", metrics.accuracy, classes, known)
    yield Measure("UA", metrics.uar, classes, known)
    yield Measure("macro-F1", metrics.macro_f1, classes, known)
    yield Measure("ECE", metrics.ece, (confidence, predicted == truth), known)
    for number, name in enumerate(names):
        yield Measure(f"F1 {name}", partial(metrics.f1, label=number), classes, known)
    for number, name in enumerate(names):
        yield Measure(f"recall {name}", metrics.accuracy, classes, truth == number)
