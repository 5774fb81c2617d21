"""Metrics against audmetric and scikit-learn."""

from functools import partial

import audmetric
import numpy as np
import pytest
import scipy.stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    mean_absolute_error,
    recall_score,
    roc_auc_score,
)

from sertool.corpora import Row
from sertool.evaluation.dimensional import class_pairs, concordance
from sertool.evaluation.metrics import (
    accuracy,
    auc,
    ccc,
    confusion,
    ece,
    f1,
    macro_f1,
    mae,
    pearson,
    reliability,
    row_shares,
    uar,
)

OF_CLASSES = [accuracy, uar, macro_f1, partial(f1, label=1)]


@pytest.mark.parametrize("seed", range(5))
def test_ccc_is_audmetrics(seed):
    rng = np.random.default_rng(seed)
    target = rng.uniform(0, 1, 200)
    output = 0.6 * target + 0.3 * rng.uniform(0, 1, 200) + 0.1
    assert ccc(output, target) == pytest.approx(audmetric.concordance_cc(target, output), abs=1e-12)


def test_ccc_of_constants_is_defined():
    assert np.isnan(ccc(np.full(5, 0.5), np.full(5, 0.5)))
    assert ccc(np.full(5, 0.5), np.arange(5.0)) == 0


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_samples_are_as_audmetric_has_them(n):
    output, target = np.array([0.1, 0.4, 0.3])[:n], np.array([0.2, 0.9, 0.1])[:n]
    assert ccc(output, target) == pytest.approx(audmetric.concordance_cc(target, output), nan_ok=True)
    assert pearson(output, target) == pytest.approx(audmetric.pearson_cc(target, output), nan_ok=True)
    assert mae(output, target) == pytest.approx(audmetric.mean_absolute_error(target, output))


@pytest.mark.parametrize("seed", range(5))
def test_pearson_is_scipys_and_mae_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    target = np.round(rng.uniform(0, 1, 100), 1)
    output = (0.3 * target + 0.5 * rng.uniform(0, 1, 100) + 100).astype(np.float32)
    assert pearson(output, target) == pytest.approx(scipy.stats.pearsonr(output.astype(float), target)[0], abs=1e-10)
    assert mae(output, target) == pytest.approx(mean_absolute_error(target, output.astype(float)), abs=1e-12)


@pytest.mark.parametrize("value", [0.1, 0.3, 0.5, 1e6 / 3])
def test_a_constant_has_no_correlation_whatever_its_rounding(value):
    constant, other = np.full(7, value), np.random.default_rng(0).uniform(0, 1, 7)
    assert np.isnan(pearson(constant, other))
    assert np.isnan(pearson(other, constant))
    assert np.isnan(ccc(constant, constant))
    assert ccc(constant, other) == ccc(constant, constant + 1) == 0


def test_nothing_is_nan_without_a_warning():
    with np.errstate(all="raise"):
        assert all(np.isnan(metric(np.zeros(0), np.zeros(0))) for metric in (ccc, pearson, mae, auc, ece, *OF_CLASSES))


@pytest.mark.parametrize("metric", [ccc, pearson, mae, auc])
def test_counts_are_as_repeating_the_samples(metric):
    rng = np.random.default_rng(1)
    output = np.round(rng.uniform(0, 1, 12), 1)  # ties
    other = rng.random(12) < 0.5 if metric is auc else np.round(rng.uniform(0, 1, 12), 1)
    counts = rng.integers(0, 3, (50, 12))
    counts[0] = 0
    counts[1] = 3 * (np.arange(12) == 4)  # one sample again and again
    found = metric(output, other, counts)
    assert found.shape == (50,)
    expected = [metric(np.repeat(output, times), np.repeat(other, times)) for times in counts]
    for value, by_hand in zip(found, expected, strict=True):
        assert value == pytest.approx(by_hand, abs=1e-12, nan_ok=True)


def test_concordance_is_per_output():
    target = np.random.default_rng(0).uniform(0, 1, (50, 2))
    output = np.stack([target[:, 0], 1 - target[:, 1]], axis=1)
    result = concordance(output, target, ["arousal", "valence"])
    assert result["arousal"] == pytest.approx(1)
    assert result["valence"] < 0


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_scikit_learns_ties_included(seed):
    rng = np.random.default_rng(seed)
    positive = rng.random(100) < 0.3
    scores = np.round(rng.normal(positive.astype(float), 1), 1)  # rounding makes ties
    assert auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)


def test_auc_of_one_class_is_nan():
    assert np.isnan(auc(np.arange(3), np.ones(3, bool)))


def test_class_pairs_are_by_corpus_and_leave_out_what_a_corpus_lacks():
    emotions = ["angry", "happy", "sad", "neutral", "angry", "disgust"]
    corpora = ["a", "a", "a", "a", "b", "b"]
    rows = [Row(file="x", corpus=c, speaker="s", emotion=e) for c, e in zip(corpora, emotions, strict=True)]
    outputs = np.array([[0.9, 0.1], [0.8, 0.9], [0.1, 0.2], [0.2, 0.5], [0.5, 0.5], [0.5, 0.5]])
    result = class_pairs(outputs, rows, ["arousal", "valence"])
    assert result == {"a": {"arousal AUC": 1.0, "valence AUC": 1.0}, "b": {}}


def classes(seed, n=200, number=4):
    """(predicted, truth): class 3 is rare, and class 0 is taken for class 1 half of the time."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(number, n, p=[0.4, 0.3, 0.25, 0.05])
    predicted = np.where(rng.random(n) < 0.6, truth, rng.integers(0, number, n))
    return np.where((truth == 0) & (rng.random(n) < 0.5), 1, predicted), truth


@pytest.mark.parametrize("seed", range(5))
def test_metrics_of_classes_are_scikit_learns_and_audmetrics(seed):
    predicted, truth = classes(seed)
    assert accuracy(predicted, truth) == pytest.approx(accuracy_score(truth, predicted))
    assert uar(predicted, truth) == pytest.approx(recall_score(truth, predicted, average="macro"))
    assert uar(predicted, truth) == pytest.approx(audmetric.unweighted_average_recall(truth, predicted))
    assert uar(predicted, truth) != pytest.approx(accuracy(predicted, truth), abs=0.01)
    assert macro_f1(predicted, truth) == pytest.approx(f1_score(truth, predicted, average="macro"))
    by_class = [f1(predicted, truth, label=label) for label in range(4)]
    assert by_class == pytest.approx(f1_score(truth, predicted, average=None).tolist())
    assert np.array_equal(confusion(predicted, truth, 4), confusion_matrix(truth, predicted))


def test_absent_classes_by_hand_and_as_scikit_learn():
    truth, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 2, 1])  # 2 is never true, 3 is in neither
    assert uar(predicted, truth) == pytest.approx((2 / 3 + 1) / 2)  # of 0 and 1
    assert f1(predicted, truth, label=0) == pytest.approx(0.8)
    assert f1(predicted, truth, label=2) == 0
    assert np.isnan(f1(predicted, truth, label=3))
    assert macro_f1(predicted, truth) == pytest.approx((0.8 + 1 + 0) / 3)
    assert macro_f1(predicted, truth) == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert confusion(predicted, truth, 4).tolist() == [[2, 0, 1, 0], [0, 1, 0, 0], [0] * 4, [0] * 4]


@pytest.mark.parametrize("metric", OF_CLASSES)
def test_counts_of_classes_are_as_repeating_the_samples(metric):
    predicted, truth = classes(2, 12)
    counts = np.random.default_rng(1).integers(0, 3, (50, 12))
    counts[0] = 0
    counts[1, truth == 1] = 0  # a resample that lacks a class
    counts[2] = 3 * (np.arange(12) == 4)
    found = metric(predicted, truth, counts)
    assert found.shape == (50,)
    expected = [metric(np.repeat(predicted, times), np.repeat(truth, times)) for times in counts]
    for value, by_hand in zip(found, expected, strict=True):
        assert value == pytest.approx(by_hand, abs=1e-12, nan_ok=True)


def test_row_shares_are_scikit_learns_and_nan_without_clips():
    predicted, truth = classes(0)
    expected = confusion_matrix(truth, predicted, normalize="true")
    assert row_shares(confusion(predicted, truth, 4)) == pytest.approx(expected)
    with np.errstate(all="raise"):
        assert row_shares([[3, 1], [0, 0]]) == pytest.approx(np.array([[0.75, 0.25], [np.nan, np.nan]]), nan_ok=True)


def confident(n=400, seed=0):
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.25, 1, n)
    return confidence, rng.random(n) < confidence**2  # too sure


def test_reliability_is_scikit_learns_curve():
    confidence, right = confident()
    found = reliability(confidence, right)
    accuracies, confidences = calibration_curve(right, confidence, n_bins=15, strategy="uniform")
    there = found["clips"] > 0
    assert found["accuracy"][there] == pytest.approx(accuracies)
    assert found["confidence"][there] == pytest.approx(confidences)
    assert found["clips"].tolist() == np.histogram(confidence, 15, (0, 1))[0].tolist()
    assert there.sum() == 12
    assert np.isnan(found["accuracy"][~there]).all()


def test_ece_is_the_weighted_gap_of_the_bins():
    confidence, right = confident()
    accuracies, confidences = calibration_curve(right, confidence, n_bins=15, strategy="uniform")
    clips = np.histogram(confidence, 15, (0, 1))[0]
    expected = np.average(np.abs(accuracies - confidences), weights=clips[clips > 0])
    assert ece(confidence, right) == pytest.approx(expected, abs=1e-12)
    assert expected > 0.1
    # By hand: an upper edge belongs to its bin, so 0.6 = 9/15 is with 0.59, and 0.65 is alone.
    assert ece(np.array([0.6, 0.59, 0.65, 1.0]), np.array([True, False, True, True])) == pytest.approx(
        (abs(1 - 1.19) + 0.35 + 0) / 4
    )
    assert ece(np.array([0.0, 1.0]), np.array([False, True])) == 0


def test_counts_of_ece_are_as_repeating_the_samples():
    confidence, right = confident(20)
    counts = np.random.default_rng(1).integers(0, 3, (50, 20))
    expected = [ece(np.repeat(confidence, times), np.repeat(right, times)) for times in counts]
    assert ece(confidence, right, counts) == pytest.approx(np.array(expected), abs=1e-12)
