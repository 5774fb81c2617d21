"""Metrics against audmetric and scikit-learn."""

import audmetric
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sertool.corpora import Row
from sertool.evaluation.dimensional import class_pairs, concordance
from sertool.evaluation.metrics import auc, ccc


@pytest.mark.parametrize("seed", range(5))
def test_ccc_is_audmetrics(seed):
    rng = np.random.default_rng(seed)
    target = rng.uniform(0, 1, 200)
    output = 0.6 * target + 0.3 * rng.uniform(0, 1, 200) + 0.1
    assert ccc(output, target) == pytest.approx(audmetric.concordance_cc(target, output), abs=1e-12)


def test_ccc_of_constants_is_defined():
    assert np.isnan(ccc(np.full(5, 0.5), np.full(5, 0.5)))
    assert ccc(np.full(5, 0.5), np.arange(5.0)) == 0


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
