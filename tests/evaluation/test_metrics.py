"""Metrics against audmetric and scikit-learn."""

import audmetric
import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import mean_absolute_error, roc_auc_score

from sertool.corpora import Row
from sertool.evaluation.dimensional import class_pairs, concordance
from sertool.evaluation.metrics import auc, ccc, mae, pearson


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
        assert all(np.isnan(metric(np.zeros(0), np.zeros(0))) for metric in (ccc, pearson, mae, auc))


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
