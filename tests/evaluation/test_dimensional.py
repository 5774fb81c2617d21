"""Reports against scikit-learn and audmetric, group by group."""

import audmetric
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sertool.corpora import Row
from sertool.errors import UsageError
from sertool.evaluation.bootstrap import resamples
from sertool.evaluation.dimensional import class_pairs, headline, markdown, report
from sertool.evaluation.grouped import shown

NAMES = ["valence", "arousal", "dominance"]  # not in the order of the rows' own
EMOTIONS = ["angry", "happy", "fearful", "sad", "neutral", "calm", "disgust"]


@pytest.fixture(scope="module")
def measured():
    """(rows, outputs): two corpora of three speakers each, of which one has the same name in both."""
    rng = np.random.default_rng(0)
    rows, outputs = [], []
    for i in range(240):
        corpus, truth = "ab"[i % 2], rng.uniform(0, 1, 3)
        speaker = f"{i % 3}" if corpus == "a" else f"{2 + i % 3}"
        numbers = dict(zip(NAMES, truth.tolist(), strict=True)) if corpus == "a" or i % 4 == 1 else {}
        sex = "mf"[i % 3 == 0] if i % 5 else ""
        rows.append(Row(f"{i}.wav", corpus, speaker, rng.choice(EMOTIONS), sex=sex, language="en", **numbers))
        outputs.append(np.round(0.5 * truth + 0.4 * rng.random(3), 2))
    return rows, np.array(outputs)


def by_hand(rows, outputs):
    """Measure -> value, from the libraries."""
    found = {}
    for name, column in zip(NAMES, outputs.T, strict=True):
        pairs = [(getattr(row, name), value) for row, value in zip(rows, column, strict=True)]
        truth, output = np.array([pair for pair in pairs if pair[0] is not None]).T
        found[f"{name} CCC"] = audmetric.concordance_cc(truth, output)
        found[f"{name} Pearson"] = audmetric.pearson_cc(truth, output)
        found[f"{name} MAE"] = audmetric.mean_absolute_error(truth, output)
    high, low = {"arousal": ["angry", "happy", "fearful"], "valence": ["happy"]}, {"valence": ["angry", "sad"]}
    low["arousal"] = ["sad", "neutral", "calm"]
    for name in ("arousal", "valence"):
        chosen = [i for i, row in enumerate(rows) if row.emotion in high[name] + low[name]]
        truth = [rows[i].emotion in high[name] for i in chosen]
        found[f"{name} AUC"] = roc_auc_score(truth, outputs[chosen, NAMES.index(name)])
    return found


def values(group):
    return {name: figure["value"] for name, figure in group["measures"].items()}


def test_report_has_the_libraries_figures_overall_and_by_group(measured):
    rows, outputs = measured
    found = report(rows, outputs, NAMES, bootstrap=0)
    assert values(found["overall"]) == pytest.approx(by_hand(rows, outputs), abs=1e-9)
    assert found["overall"]["measures"]["arousal CCC"]["n"] == sum(row.arousal is not None for row in rows) < 240
    assert {grouping: list(groups) for grouping, groups in found["groups"].items()} == {
        "corpus": ["a", "b"],
        "language": ["en"],
        "sex": ["f", "m"],
        "speaker": ["a/0", "a/1", "a/2", "b/2", "b/3", "b/4"],
    }
    for grouping, groups in found["groups"].items():
        for name, group in groups.items():
            inside = [
                i
                for i, row in enumerate(rows)
                if name == (f"{row.corpus}/{row.speaker}" if grouping == "speaker" else getattr(row, grouping))
            ]
            assert group["clips"] == len(inside)
            assert values(group) == pytest.approx(by_hand([rows[i] for i in inside], outputs[inside]), abs=1e-9)


def test_intervals_hold_the_value_and_depend_on_the_seed_only(measured):
    rows, outputs = measured
    found = report(rows, outputs, NAMES, bootstrap=200, seed=1)
    assert found == report(rows, outputs, NAMES, bootstrap=200, seed=1)
    assert found != report(rows, outputs, NAMES, bootstrap=200, seed=2)
    for figure in found["overall"]["measures"].values():
        assert figure["low"] < figure["value"] < figure["high"]
    one, all_ = (group["measures"]["arousal MAE"] for group in (found["groups"]["speaker"]["a/1"], found["overall"]))
    assert one["high"] - one["low"] > all_["high"] - all_["low"]


def test_what_cannot_be_told_is_left_out():
    rows = [Row(f"{i}", "c", "s" if i < 9 else "t", "angry" if i % 2 else "sad", arousal=0.1 * i) for i in range(19)]
    rows += [Row("x", "d", "u", "bored"), Row("y", "d", "u", arousal=float("nan"))]
    found = report(rows, np.random.default_rng(0).random((21, 1)), ["arousal"], bootstrap=10)
    assert found["clips"] == 21
    assert found["unusable"] == 2
    ten = found["groups"]["speaker"]["c/t"]["measures"]
    assert list(ten) == ["arousal CCC", "arousal Pearson", "arousal MAE", "arousal AUC"]
    assert found["groups"]["speaker"]["c/s"] == {"clips": 9, "measures": {}}  # fewer than ten
    assert found["groups"]["corpus"]["d"] == {"clips": 2, "measures": {}}
    assert found["groups"]["sex"] == {}
    one_class = report(rows[1:19:2], np.zeros((9, 1)), ["arousal"], bootstrap=10)["overall"]["measures"]
    assert list(one_class) == ["arousal CCC", "arousal MAE"]  # a constant has no Pearson, angry alone no AUC


def test_nothing_measured_is_a_report_too():
    found = report([], [], NAMES)
    assert found == {
        "clips": 0,
        "unusable": 0,
        "overall": {"clips": 0, "measures": {}},
        "groups": {"corpus": {}, "language": {}, "sex": {}, "speaker": {}},
    }


def test_other_names_of_a_class_count():
    emotions = ["Anger", "happiness", "FEAR", "Sadness", "neutral", "joy"]
    rows = [Row("x", "c", "s", emotion) for emotion in emotions]
    outputs = np.array([[0.9], [0.8], [0.7], [0.2], [0.1], [0.15]])
    assert class_pairs(outputs, rows, ["arousal"]) == {"c": {"arousal AUC": 7 / 8}}


def test_speakers_are_resampled_whole():
    rng = np.random.default_rng(0)
    bias = rng.uniform(-0.4, 0.4, 8)
    rows = [Row(f"{i}", "c", f"{i % 8}", arousal=0.5) for i in range(400)]
    outputs = np.array([[0.5 + bias[i % 8]] for i in range(400)])

    def width(resample):
        figure = report(rows, outputs, ["arousal"], resample=resample)["overall"]["measures"]["arousal MAE"]
        return figure["high"] - figure["low"]

    # Clips of a speaker all say the same: 8 independent errors, not 400.
    assert width("speakers") == pytest.approx(width("clips") * np.sqrt(400 / 8), rel=0.25)
    figures = report(rows, outputs, ["arousal"], resample="speakers")["groups"]["speaker"]["c/1"]["measures"]
    assert figures["arousal MAE"]["low"] is None
    # Speakers of two corpora are different ones.
    again = [Row(f"{i}", f"c{i // 200}", f"{i % 4}", arousal=0.5) for i in range(400)]
    one = [Row(f"{i}", "c", f"{i // 200}{i % 4}", arousal=0.5) for i in range(400)]
    assert (
        report(again, outputs, ["arousal"], resample="speakers")["overall"]
        == report(one, outputs, ["arousal"], resample="speakers")["overall"]
    )
    with pytest.raises(UsageError, match=r"7\.wav: has no speaker"):
        report([Row("7.wav", "c", "")], [[0.5]], ["arousal"], resample="speakers")


def test_resamples_take_what_is_rated_along_with_what_is_not(measured):
    rows, outputs = measured
    overall = report(rows, outputs, NAMES, bootstrap=50, seed=4, resample="speakers")["overall"]
    figure = overall["measures"]["arousal MAE"]
    speakers = np.unique([f"{row.corpus}/{row.speaker}" for row in rows], return_inverse=True)[1]
    (counts,) = resamples(speakers, 50, np.random.default_rng(4))
    truth = np.array([row.arousal for row in rows], float)
    errors = np.abs(outputs[:, 1] - truth)  # NaN where there is none
    means = [np.nanmean(np.repeat(errors, times.astype(int))) for times in counts]
    assert (figure["low"], figure["high"]) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=1e-12)


def test_progress_ends_with_the_last_group(measured):
    calls = []
    report(*measured, NAMES, bootstrap=0, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i, 12) for i in range(1, 13)]  # all, two corpora, one language, two sexes, six speakers


def test_markdown_is_a_table_for_a_model_card(measured):
    rows, outputs = measured
    found = report(rows, outputs, NAMES, bootstrap=20)
    head, rule, everything, *groups = markdown(found)
    assert head == f"| group | clips | {' | '.join(headline(found))} |"
    assert headline(found) == ["arousal CCC", "dominance CCC", "valence CCC", "arousal AUC", "valence AUC"]
    assert len(rule.split("|")) == len(head.split("|")) == 9
    assert everything.startswith(f"| all | 240 | {shown(found['overall']['measures']['arousal CCC'])} |")
    assert [line.split("|")[1] for line in groups] == [" corpus a ", " corpus b "]
    assert markdown(found, (), ["arousal MAE"])[0] == "| group | clips | arousal MAE |"
