"""Bootstrap intervals against scipy's and against resampling by hand."""

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from sertool.evaluation import bootstrap
from sertool.evaluation.bootstrap import intervals, resamples
from sertool.evaluation.metrics import auc, mae, pearson


def data(n, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 1, n)
    return 0.5 * truth + 0.4 * rng.uniform(0, 1, n), truth


def test_clips_are_drawn_with_replacement_as_many_as_there_are():
    counts = np.concatenate(list(resamples(np.arange(50), 4000, np.random.default_rng(0))))
    assert counts.shape == (4000, 50)
    assert (counts.sum(axis=1) == 50).all()
    assert counts.mean(axis=0) == pytest.approx(1, abs=0.1)
    assert (counts == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, abs=0.01)


def test_clusters_are_drawn_whole_as_many_as_there_are():
    clusters = np.array([5, 5, 5, 2, 2, 9])
    counts = np.concatenate(list(resamples(clusters, 500, np.random.default_rng(0))))
    for name in (5, 2, 9):
        assert (np.ptp(counts[:, clusters == name], axis=1) == 0).all()
    assert (counts[:, [0, 3, 5]].sum(axis=1) == 3).all()
    assert len(np.unique(counts.sum(axis=1))) > 3  # clusters differ in size


def test_small_blocks_draw_the_same(monkeypatch):
    (whole,) = resamples(np.arange(30), 100, np.random.default_rng(3))
    monkeypatch.setattr(bootstrap, "_BLOCK", 200)
    parts = list(resamples(np.arange(30), 100, np.random.default_rng(3)))
    assert len(parts) == 17
    assert np.array_equal(np.concatenate(parts), whole)


def test_interval_is_scipys():
    output, truth = data(300)
    (found,) = intervals(
        [lambda counts: pearson(output, truth, counts)], np.arange(300), 4000, np.random.default_rng(0)
    )
    expected = scipy.stats.bootstrap(
        (output, truth),
        lambda x, y: np.corrcoef(x, y)[0, 1],
        paired=True,
        vectorized=False,
        n_resamples=1000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert found == pytest.approx(tuple(expected), abs=0.01)


def test_interval_of_auc_is_the_percentiles_of_scikit_learns():
    rng = np.random.default_rng(0)
    positive = rng.random(60) < 0.4
    scores = np.round(rng.normal(positive, 1), 1)
    (found,) = intervals([lambda counts: auc(scores, positive, counts)], np.arange(60), 60, np.random.default_rng(5))
    (counts,) = resamples(np.arange(60), 60, np.random.default_rng(5))
    values = [roc_auc_score(positive, scores, sample_weight=times) for times in counts]
    assert found == pytest.approx((np.percentile(values, 2.5), np.percentile(values, 97.5)), abs=1e-12)


def test_undefined_resamples_are_left_out_until_they_are_half():
    def sometimes(share):
        return lambda counts: np.where(np.arange(len(counts)) < share * len(counts), np.nan, np.arange(len(counts)))

    some, half, never = intervals([sometimes(0.2), sometimes(0.5), sometimes(0)], np.arange(5), 100, _rng())
    assert some == pytest.approx((np.percentile(range(20, 100), 2.5), np.percentile(range(20, 100), 97.5)))
    assert np.isnan(half).all()
    assert never == pytest.approx((2.475, 96.525))


def test_what_resampling_cannot_tell_is_nan():
    metric = lambda counts: mae(np.arange(4.0), np.zeros(4), counts)  # noqa: E731
    assert np.isnan(intervals([metric], np.zeros(4), 100, _rng())).all()  # one speaker
    assert np.isnan(intervals([metric], np.arange(4), 0, _rng())).all()
    assert not np.isnan(intervals([metric], np.arange(4), 100, _rng())).any()


def _rng():
    return np.random.default_rng(0)
