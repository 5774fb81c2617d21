"""Fairness: predictors whose differences are known beforehand."""

import numpy as np
import pytest

from sertool.corpora import Row
from sertool.evaluation import fairness

NAMES = ("arousal", "valence")


def people(**more):
    """Forty clips of each of two languages, half of women, half angry; German has 20 more that are sad."""
    rows = []
    for language in ("de", "en"):
        for number in range(40):
            sex, emotion = ("female", "male")[number % 2], ("angry", "happy")[number // 2 % 2]
            rows.append(Row(f"{language}{number}", "c", "s", emotion, language=language, sex=sex, **more))
    return rows + [Row(f"de-sad{n}", "c", "s", "sad", language="de", sex="female", **more) for n in range(20)]


def by_check(results):
    return {result.check: result for result in results}


def test_a_shift_of_one_language_is_found_and_a_class_that_only_one_has_does_not_count():
    rows = people()
    outputs = np.full((len(rows), 2), 0.55)
    german = np.array([row.language == "de" for row in rows])
    outputs[german, 0] += 0.1
    outputs[[row.emotion == "sad" for row in rows], 1] = 0.0
    found = by_check(fairness.evaluate(rows, outputs, NAMES, "dimensional"))
    shifted, level = found["language: mean arousal"], found["language: mean valence"]
    assert (shifted.groups, shifted.limit, shifted.passed) == (["de", "en"], 0.03, False)
    assert shifted.difference == pytest.approx(0.05)  # from the mean of both
    assert (level.difference, level.passed, level.constant) == (0, True, 0)
    assert found["language: share of arousal in quarter 3"].passed
    assert not [check for check in found if check.startswith("sex")]  # nothing is rated


def test_a_language_that_acts_one_class_more_often_is_not_another_language():
    """Half of the German clips are angry, nine tenths of the English; each class sounds the same in both."""
    rows = [Row(f"de{n}", "c", "s", ("angry", "happy")[n % 2], language="de") for n in range(40)]
    rows += [Row(f"en{n}", "c", "s", ("angry", "happy")[n % 10 == 9], language="en") for n in range(100)]
    outputs = [[0.8 if row.emotion == "angry" else 0.4, 0.5] for row in rows]
    found = by_check(fairness.evaluate(rows, outputs, NAMES, "dimensional"))
    assert found["language: mean arousal"].difference == pytest.approx(0, abs=1e-12)
    assert all(result.passed for result in found.values())


def test_quarters_tell_what_a_mean_does_not():
    rows = people()
    german = np.array([row.language == "de" for row in rows])
    wide = np.where(np.arange(len(rows)) % 4 < 2, 0.3, 0.7)  # as often in each class
    outputs = np.stack([np.where(german, wide, 0.5), wide], axis=1)
    found = by_check(fairness.evaluate(rows, outputs, NAMES, "dimensional"))
    assert found["language: mean arousal"].passed
    assert not found["language: share of arousal in quarter 2"].passed
    assert all(r.passed for name, r in found.items() if "valence" in name)


def test_the_sexes_agreement_with_ratings():
    rng = np.random.default_rng(0)
    rows, outputs = [], []
    for number in range(200):
        true = float(rng.uniform())
        rows.append(Row(f"{number}", "c", "s", "", sex=("female", "male")[number % 2], arousal=true))
        outputs.append([true if number % 2 else float(rng.uniform())])
    (found,) = fairness.evaluate(rows, outputs, ("arousal",), "dimensional")
    assert (found.check, found.limit, found.passed) == ("sex: CCC of arousal", 0.075, False)
    assert 0.7 < found.low < found.difference < found.high < 1.5
    outputs = [[row.arousal] for row in rows]
    (found,) = fairness.evaluate(rows, outputs, ("arousal",), "dimensional")
    assert (found.difference, found.passed) == (pytest.approx(0), True)


def test_classes_are_compared_by_recall_and_by_share():
    rows = people()
    right = np.array([[row.emotion == name for name in ("angry", "happy")] for row in rows], float)
    women_wrong = right.copy()
    women_wrong[[row.sex == "female" and row.emotion == "angry" for row in rows]] = [0, 1]
    for outputs, passed in (right, True), (women_wrong, False):
        found = by_check(fairness.evaluate(rows, outputs, ("angry", "happy"), "categorical"))
        assert found["sex: recall of angry"].passed is passed
        assert found["sex: recall of happy"].passed
        assert found["language: share of angry"].passed
    assert found["sex: recall of angry"].difference == 1
    assert fairness.summary([*found.values()])["model"] == 3 / 4
    assert fairness.summary([*found.values()])["constant"] == 1


def test_nothing_to_compare_is_an_empty_list():
    assert fairness.evaluate([Row("a", "c", "s", "sad")] * 30, np.zeros((30, 2)), NAMES, "dimensional") == []
