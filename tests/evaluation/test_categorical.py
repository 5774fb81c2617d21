"""Reports on classes against scikit-learn and audmetric, group by group."""

import audmetric
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from sertool.corpora import Row
from sertool.errors import UsageError
from sertool.evaluation.bootstrap import resamples
from sertool.evaluation.categorical import (
    confusion_cells,
    confusion_markdown,
    headline,
    markdown,
    reliability,
    report,
    truths,
)
from sertool.evaluation.grouped import shown
from sertool.evaluation.metrics import ece

NAMES = ["angry", "happy", "neutral", "sad"]
LABELS = {"Anger": "angry", "happiness": "happy", "excited": "happy", "calm": "neutral", "neutral": "neutral"}
LABELS |= {"sad": "sad", "disgust": None, "": None}


@pytest.fixture(scope="module")
def measured():
    """(rows, probabilities): two corpora of three speakers each, of which one has the same name in both."""
    rng = np.random.default_rng(0)
    rows, probabilities = [], []
    for i in range(300):
        corpus, label = "ab"[i % 2], rng.choice(list(LABELS))
        speaker = f"{i % 3}" if corpus == "a" else f"{2 + i % 3}"
        rows.append(Row(f"{i}.wav", corpus, speaker, str(label), sex="mf"[i % 3 == 0] if i % 5 else "", language="en"))
        logits = rng.normal(0, 1, 4) + 1.5 * (np.array(NAMES) == LABELS[label])
        probabilities.append(np.round(np.exp(logits) / np.exp(logits).sum(), 6))
    return rows, np.array(probabilities)


def by_hand(rows, probabilities, smallest=1):
    """Measure -> value, from the libraries."""
    told = [(LABELS[row.emotion], p) for row, p in zip(rows, probabilities, strict=True) if LABELS[row.emotion]]
    truth, predicted = [name for name, _ in told], [NAMES[np.argmax(p)] for _, p in told]
    found = {
        "WA": accuracy_score(truth, predicted),
        "UA": audmetric.unweighted_average_recall(truth, predicted, labels=sorted(set(truth))),
        "macro-F1": f1_score(truth, predicted, average="macro"),
        "ECE": ece(np.array([max(p) for _, p in told]), np.array(truth) == np.array(predicted)),
    }
    assert found["UA"] == pytest.approx(recall_score(truth, predicted, labels=sorted(set(truth)), average="macro"))
    by_class = f1_score(truth, predicted, labels=NAMES, average=None)
    found |= {f"F1 {name}": value for name, value in zip(NAMES, by_class, strict=True)}
    recalls = recall_score(truth, predicted, labels=NAMES, average=None, zero_division=0)
    enough = [truth.count(name) >= smallest for name in NAMES]
    found |= {f"recall {n}": r for n, r, told in zip(NAMES, recalls, enough, strict=True) if told}
    return found, confusion_matrix(truth, predicted, labels=NAMES).tolist()


def values(group):
    return {name: figure["value"] for name, figure in group["measures"].items()}


def test_report_has_the_libraries_figures_overall_and_by_group(measured):
    rows, probabilities = measured
    found = report(rows, probabilities, NAMES, bootstrap=0)
    figures, matrix = by_hand(rows, probabilities)
    assert list(values(found["overall"])) == list(figures)
    assert values(found["overall"]) == pytest.approx(figures, abs=1e-12)
    assert found["overall"]["confusion"] == matrix
    known = [LABELS[row.emotion] for row in rows]
    assert found["clips"] == found["overall"]["clips"] == 300
    assert found["unusable"] == known.count(None) > 50
    assert found["overall"]["measures"]["F1 sad"]["n"] == 300 - known.count(None)
    assert found["overall"]["measures"]["recall sad"]["n"] == known.count("sad")
    assert {grouping: list(groups) for grouping, groups in found["groups"].items()} == {
        "corpus": ["a", "b"],
        "language": ["en"],
        "sex": ["f", "m"],
        "speaker": ["a/0", "a/1", "a/2", "b/2", "b/3", "b/4"],
    }
    left_out = 0
    for grouping, groups in found["groups"].items():
        for name, group in groups.items():
            inside = [
                i
                for i, row in enumerate(rows)
                if name == (f"{row.corpus}/{row.speaker}" if grouping == "speaker" else getattr(row, grouping))
            ]
            figures, matrix = by_hand([rows[i] for i in inside], probabilities[inside], 10)
            assert group["clips"] == len(inside)
            assert values(group) == pytest.approx(figures, abs=1e-12)
            assert group["confusion"] == matrix
            left_out += 12 - len(figures)
    assert left_out > 0  # recalls of under ten clips


def test_labels_count_as_the_classes_there_are():
    rows = [Row("x", "c", "s", label) for label in LABELS]
    assert truths(rows, NAMES).tolist() == [0, 1, 1, 2, 2, 3, -1, -1]
    assert truths(rows, ["calm", "sad", "angry"]).tolist() == [2, -1, -1, 0, -1, 1, -1, -1]


def test_what_cannot_be_told_is_left_out():
    rows = [Row(f"{i}", "c", "s" if i < 9 else "t", "angry" if i % 2 else "bored") for i in range(31)]
    found = report(rows, np.tile([0.1, 0.2, 0.3, 0.4], (31, 1)), NAMES, bootstrap=10)
    assert found["unusable"] == 16
    assert list(found["overall"]["measures"]) == ["WA", "UA", "macro-F1", "ECE", "F1 angry", "F1 sad", "recall angry"]
    assert values(found["overall"])["F1 sad"] == values(found["overall"])["recall angry"] == 0
    few = found["groups"]["speaker"]["c/s"]
    assert few == {"clips": 9, "measures": {}, "confusion": [[0, 0, 0, 4], *[[0] * 4] * 3]}
    assert found["groups"]["speaker"]["c/t"]["measures"]["WA"]["n"] == 11


def test_nothing_measured_is_a_report_too():
    empty = {"clips": 0, "measures": {}, "confusion": [[0, 0], [0, 0]]}
    assert report([], [], NAMES[:2]) == {
        "clips": 0,
        "unusable": 0,
        "overall": empty,
        "groups": {"corpus": {}, "language": {}, "sex": {}, "speaker": {}},
    }
    unknown = report([Row("x", "c", "s")], [[0.2, 0.8]], NAMES[:2])
    assert (unknown["unusable"], unknown["overall"]) == (1, empty | {"clips": 1})


@pytest.mark.slow("takes about a second")
def test_intervals_are_percentiles_over_the_same_resamples_as_scikit_learns_figures(measured):
    rows, probabilities = measured
    overall = report(rows, probabilities, NAMES, bootstrap=60, seed=4)["overall"]["measures"]
    (counts,) = resamples(np.arange(300), 60, np.random.default_rng(4))
    truth, predicted = truths(rows, NAMES), probabilities.argmax(axis=1)
    drawn = [np.repeat(np.arange(300), times.astype(int)) for times in counts]
    pairs = [(truth[places], predicted[places]) for chosen in drawn for places in [chosen[truth[chosen] >= 0]]]
    for name, score in (
        ("WA", accuracy_score),
        ("UA", lambda *pair: recall_score(*pair, average="macro")),
        ("macro-F1", lambda *pair: f1_score(*pair, average="macro")),
        ("F1 neutral", lambda *pair: f1_score(*pair, average=None)[2]),
        ("recall neutral", lambda *pair: recall_score(*pair, average=None)[2]),
    ):
        expected = np.percentile([score(*pair) for pair in pairs], [2.5, 97.5])
        assert (overall[name]["low"], overall[name]["high"]) == pytest.approx(tuple(expected), abs=1e-12)
        assert overall[name]["low"] < overall[name]["value"] < overall[name]["high"]


def test_resamples_that_lack_a_class_count_for_the_others():
    # One of 20 clips is sad: every third resample has none, and its UA is the recall of angry alone, 1.
    rows = [Row(f"{i}", "c", "s", "angry" if i else "sad") for i in range(20)]
    found = report(rows, np.tile([0.9, 0.1], (20, 1)), ["angry", "sad"])["overall"]["measures"]
    assert (found["UA"]["value"], found["UA"]["low"], found["UA"]["high"]) == (0.5, 0.5, 1)
    assert (found["recall sad"]["value"], found["recall sad"]["low"]) == (0, 0)
    assert found["WA"]["low"] < 0.95 < found["WA"]["high"]


def test_intervals_depend_on_the_seed_and_on_what_is_drawn(measured):
    rows, probabilities = measured
    found = report(rows, probabilities, NAMES, bootstrap=100, seed=1)
    assert found == report(rows, probabilities, NAMES, bootstrap=100, seed=1)
    assert found != report(rows, probabilities, NAMES, bootstrap=100, seed=2)
    speakers = report(rows, probabilities, NAMES, bootstrap=100, seed=1, resample="speakers")
    assert speakers["overall"]["measures"]["UA"] != found["overall"]["measures"]["UA"]
    assert speakers["groups"]["speaker"]["a/1"]["measures"]["UA"]["low"] is None
    with pytest.raises(UsageError, match=r"7\.wav: has no speaker"):
        report([Row("7.wav", "c", "")], [[1, 0]], NAMES[:2], resample="speakers")


def test_reliability_is_of_what_has_a_class(measured):
    rows, probabilities = measured
    found = reliability(rows, probabilities, NAMES)
    gaps = found["clips"] * np.abs(found["accuracy"] - found["confidence"])
    overall = report(rows, probabilities, NAMES, bootstrap=0)
    assert found["clips"].sum() == 300 - overall["unusable"]
    assert np.nansum(gaps) / found["clips"].sum() == pytest.approx(values(overall["overall"])["ECE"], abs=1e-12)


def test_markdown_is_a_table_for_a_model_card(measured):
    found = report(*measured, NAMES, bootstrap=20)
    head, rule, everything, *groups = markdown(found)
    assert headline(found) == ["WA", "UA", "macro-F1"]
    assert head == "| group | clips | WA | UA | macro-F1 |"
    assert len(rule.split("|")) == len(head.split("|"))
    assert everything.startswith(f"| all | 300 | {shown(found['overall']['measures']['WA'])} |")
    assert [line.split("|")[1] for line in groups] == [" corpus a ", " corpus b "]
    assert markdown(found, ("sex",), ["ECE"])[3].startswith("| sex f | ")


def test_confusion_is_shown_as_clips_and_shares():
    assert confusion_cells([[3, 1], [0, 0]]) == [["3 (0.75)", "1 (0.25)"], ["0", "0"]]
    assert confusion_markdown([[3, 1], [0, 0]], ["angry", "sad"]) == [
        "| true / predicted | angry | sad | clips |",
        "|---|---:|---:|---:|",
        "| angry | 3 (0.75) | 1 (0.25) | 4 |",
        "| sad | 0 | 0 | 0 |",
    ]
