"""What a model of emotion classes is worth: how often it is right, class by class, and how well it knows that."""

from functools import partial

import numpy as np

from sertool.corpora.classes import class_of
from sertool.evaluation import grouped, metrics
from sertool.evaluation.grouped import Measure

_HEADLINE = ("WA", "UA", "macro-F1")


def report(rows, probabilities: np.ndarray, names, **how) -> dict:
    """Figures for probabilities [n, len(names)] of n rows, shaped as :func:`.grouped.report` says, with its options.

    A row's class is the one of ``names`` that its label counts as (corpora.classes.class_of); rows of other emotions
    are unusable. The largest probability is the prediction. Measures: weighted accuracy ``WA`` (share of clips that are
    right), unweighted accuracy ``UA`` (mean recall of the classes that the group's truth has), ``macro-F1`` (mean F1 of
    the classes that are true or predicted in the group, as scikit-learn), ``ECE`` (expected calibration error, lower is
    better), and ``F1`` and ``recall`` of each class, recall of those alone that have enough clips in the group. A group
    has beside them ``"confusion"``: [[clips]], a row a true class, a column a predicted one, in the order of ``names``.
    """
    probabilities = np.asarray(probabilities, np.float64).reshape(len(rows), len(names))
    truth, predicted = truths(rows, names), probabilities.argmax(axis=1)

    def confusion(members):
        members = members[truth[members] >= 0]
        return {"confusion": metrics.confusion(predicted[members], truth[members], len(names)).tolist()}

    measures = list(_measures(truth, predicted, probabilities.max(axis=1), names))
    return grouped.report(rows, measures, more=confusion, **how)


def truths(rows, names) -> np.ndarray:
    """[n]: which of ``names`` each row's label counts as, by number; -1 for another emotion, or none."""
    names = list(names)
    classes = [class_of(row.emotion, names) for row in rows]
    return np.array([-1 if name is None else names.index(name) for name in classes], np.int64)


def reliability(rows, probabilities: np.ndarray, names) -> dict[str, np.ndarray]:
    """How often each confidence is right, as metrics.reliability, for probabilities [n, len(names)] of n rows."""
    probabilities = np.asarray(probabilities, np.float64).reshape(len(rows), len(names))
    truth = truths(rows, names)
    known, right = truth >= 0, truth == probabilities.argmax(axis=1)
    return metrics.reliability(probabilities.max(axis=1)[known], right[known])


def headline(report: dict) -> list[str]:
    """The measures of a report that say most: WA, UA and macro-F1."""
    return [name for name in report["overall"]["measures"] if name in _HEADLINE]


def markdown(report: dict, groupings=("corpus",), measures=None) -> list[str]:
    """Lines of a Markdown table: a row for all clips and one a group, columns ``measures``, by default headline."""
    return grouped.markdown(report, groupings, headline(report) if measures is None else measures)


def confusion_cells(confusion) -> list[list[str]]:
    """A confusion matrix as text, clips and their share of the row: ``12 (0.60)``; without a share in an empty row."""
    shares = metrics.row_shares(confusion)
    return [
        [str(clips) if np.isnan(share) else f"{clips} ({share:.2f})" for clips, share in zip(row, part, strict=True)]
        for row, part in zip(confusion, shares, strict=True)
    ]


def confusion_markdown(confusion, names) -> list[str]:
    """Lines of a Markdown table of a group's confusion: clips and their share of the true class's."""
    lines = [f"| true / predicted | {' | '.join(names)} | clips |", f"|---|{'---:|' * (len(names) + 1)}"]
    for name, row, cells in zip(names, confusion, confusion_cells(confusion), strict=True):
        lines.append(f"| {name} | {' | '.join(cells)} | {sum(row)} |")
    return lines


def _measures(truth, predicted, confidence, names):
    known, classes = truth >= 0, (predicted, truth)
    yield Measure("WA", metrics.accuracy, classes, known)
    yield Measure("UA", metrics.uar, classes, known)
    yield Measure("macro-F1", metrics.macro_f1, classes, known)
    yield Measure("ECE", metrics.ece, (confidence, predicted == truth), known)
    for number, name in enumerate(names):
        yield Measure(f"F1 {name}", partial(metrics.f1, label=number), classes, known)
    for number, name in enumerate(names):
        yield Measure(f"recall {name}", metrics.accuracy, classes, truth == number)
