"""The fits, against scikit-learn and scipy, and the rules of cross-validation, adaptation and calibration."""

import numpy as np
import pytest

from sertool.bundle import Calibration
from sertool.bundle.calibration import centred
from sertool.errors import UsageError
from sertool.tuning import adapt, calibrate
from sertool.tuning import tune as tuning
from sertool.tuning.noises import noises
from sertool.tuning.solver import Design, Penalties, softmax
from sertool.tuning.tail import Tail

FREE = Penalties(np.inf, 0.1)


def clusters(n=60, classes=3, width=20, seed=0, apart=2.0):
    """Return (embeddings, labels) of classes whose means lie ``apart``."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    means = apart * np.random.default_rng(99).standard_normal((classes, width)) / np.sqrt(width)
    return means[labels] + rng.standard_normal((n, width)) / np.sqrt(width), labels


def scaled(embeddings):
    """Return standardised embeddings as the docstring of solver says: variances shrunk to their mean by ten clips."""
    n, variance = len(embeddings), embeddings.var(axis=0)
    variance = (n * variance + 10 * variance.mean()) / (n + 10)
    return 5 * (embeddings - embeddings.mean(axis=0)) / np.sqrt(variance) / np.sqrt(embeddings.shape[1])


def test_classes_are_fitted_as_by_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    embeddings, labels = clusters()
    targets = np.eye(3)[labels]
    ours = Design(np.zeros((60, 0)), embeddings).fit(targets, np.zeros((3, 0)), FREE, classes=True)
    # Its penalty is half the square over C, its loss a sum: ours is a mean.
    theirs = linear.LogisticRegression(C=1 / (0.1 * 60), max_iter=5000, tol=1e-8).fit(scaled(embeddings), labels)
    expected = theirs.predict_proba(scaled(embeddings))
    assert np.abs(softmax(ours(np.zeros((60, 0)), embeddings)) - expected).max() < 0.01


def test_classes_weigh_the_same_however_many_clips_they_have():
    linear = pytest.importorskip("sklearn.linear_model")
    embeddings, labels = clusters(90)
    kept = np.concatenate([np.nonzero(labels == 0)[0], np.nonzero(labels == 1)[0][:6], np.nonzero(labels == 2)[0][:10]])
    embeddings, labels = embeddings[kept], labels[kept]
    ours = Design(np.zeros((len(kept), 0)), embeddings).fit(np.eye(3)[labels], np.zeros((3, 0)), FREE, classes=True)
    weights = (1 / np.bincount(labels) / 3)[labels]
    theirs = linear.LogisticRegression(C=1 / 0.1, max_iter=5000, tol=1e-8).fit(scaled(embeddings), labels, weights)
    expected = theirs.predict_proba(scaled(embeddings))
    assert np.abs(softmax(ours(np.zeros((len(kept), 0)), embeddings)) - expected).max() < 0.01


def test_numbers_are_fitted_as_by_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    embeddings, _ = clusters()
    targets = embeddings @ np.random.default_rng(1).standard_normal((20, 2)) + 0.3
    ours = Design(np.zeros((60, 0)), embeddings).fit(targets, np.zeros((2, 0)), FREE, classes=False)
    theirs = linear.Ridge(alpha=0.1 * 60).fit(scaled(embeddings), targets)
    expected = theirs.predict(scaled(embeddings))
    assert np.abs(ours(np.zeros((60, 0)), embeddings) - expected).max() < 0.02


def test_an_infinite_penalty_keeps_the_prior():
    embeddings, labels = clusters()
    z = np.random.default_rng(2).standard_normal((60, 3))
    fitted = Design(z, embeddings).fit(np.eye(3)[labels], np.eye(3), Penalties(np.inf, np.inf), classes=True)
    assert np.array_equal(fitted.outputs, np.eye(3))
    assert fitted.weights is None
    strong = Design(z, embeddings).fit(np.eye(3)[labels], np.eye(3), Penalties(1e6, 1e6), classes=True)
    assert np.abs(strong.outputs - np.eye(3)).max() < 1e-3
    assert np.abs(strong.weights).max() < 1e-3


def task_of(embeddings, labels, names, outputs=None, speakers=None):
    n, k = len(labels), len(names)
    outputs = np.full((n, k), 1 / k) if outputs is None else outputs
    speakers = [""] * n if speakers is None else speakers
    return tuning.task(names, True, np.eye(k)[labels], outputs, embeddings, names, True, speakers)


def test_what_is_learnt_holds_on_new_clips():
    embeddings, labels = clusters(60, apart=3.0)
    tuned = tuning.tune(task_of(embeddings, labels, ["a", "b", "c"]), lambda done, total: None)
    new, truth = clusters(600, seed=7, apart=3.0)
    right = (tuned.linear(np.zeros((600, 3)), new).argmax(axis=1) == truth).mean()
    assert right > 0.8
    assert tuned.after.low <= right <= tuned.after.high
    assert tuned.better
    assert tuned.before.value < 0.5


def test_nothing_is_promised_where_there_is_nothing_to_learn():
    rng = np.random.default_rng(3)
    embeddings, labels = rng.standard_normal((40, 300)), np.arange(40) % 2
    tuned = tuning.tune(task_of(embeddings, labels, ["a", "b"]), lambda done, total: None)
    assert tuned.after.low < 0.5 < tuned.after.high
    assert not tuned.better


def test_a_good_prior_is_kept_when_the_clips_say_nothing():
    rng = np.random.default_rng(4)
    labels = np.arange(24) % 4
    outputs = softmax(4 * np.eye(4)[labels] + 0.3 * rng.standard_normal((24, 4)))
    tuned = tuning.tune(task_of(rng.standard_normal((24, 50)), labels, list("abcd"), outputs), lambda a, b: None)
    assert tuned.before.value == 1.0
    assert tuned.after.value > 0.9


def test_a_speaker_is_never_on_both_sides():
    _, labels = clusters(40, 2)
    speakers = [f"s{i // 4}" for i in range(40)]
    task = task_of(np.zeros((40, 5)), labels, ["a", "b"], speakers=speakers)
    assert task.by == "speaker"
    parts = tuning._parts(task, np.arange(40), seed=0)
    assert sorted(np.concatenate(parts)) == list(range(40))
    for part in parts:
        rest = np.setdiff1d(np.arange(40), part)
        assert not {speakers[i] for i in part} & {speakers[i] for i in rest}


def test_leaving_out_speakers_sees_what_leaving_out_files_does_not():
    rng = np.random.default_rng(5)
    voices = rng.standard_normal((6, 30))
    labels = np.arange(60) % 6 % 2  # each speaker has one mood: the voice tells it, but of no new speaker
    speakers = [f"s{i % 6}" for i in range(60)]
    embeddings = voices[np.arange(60) % 6] + 0.1 * rng.standard_normal((60, 30))
    by_speaker = tuning.tune(task_of(embeddings, labels, ["a", "b"], speakers=speakers), lambda a, b: None)
    by_file = tuning.tune(task_of(embeddings, labels, ["a", "b"]), lambda a, b: None)
    assert by_file.after.value > 0.95
    assert by_speaker.after.value < 0.8


def test_wrong_labels_are_found():
    embeddings, labels = clusters(60, 3, apart=6.0)
    wrong = labels.copy()
    wrong[[5, 17]] = (labels[[5, 17]] + 1) % 3
    tuned = tuning.tune(task_of(embeddings, wrong, ["a", "b", "c"]), lambda a, b: None)
    assert {clip for clip, _ in tuned.doubtful} == {5, 17}
    assert dict(tuned.doubtful)[5] == "abc"[labels[5]]


@pytest.mark.parametrize(
    ("labels", "said"),
    [([0] * 6, "all clips are 'a'"), ([0, 0, 0, 1, 1], r"too few clips of b \(2\): 3 of each class")],
)
def test_too_few_clips_are_refused(labels, said):
    names = ["a", "b"][: max(labels) + 1]
    with pytest.raises(UsageError, match=said):
        task_of(np.zeros((len(labels), 4)), np.array(labels), names, np.full((len(labels), len(names)), 0.5))


def test_more_clips_than_directions_are_fitted_too():
    embeddings, labels = clusters(700, 2, width=400, apart=4.0)
    fitted = Design(np.zeros((700, 0)), embeddings).fit(np.eye(2)[labels], np.zeros((2, 0)), FREE, classes=True)
    assert (fitted(np.zeros((700, 0)), embeddings).argmax(axis=1) == labels).mean() > 0.9


def test_the_temperature_is_the_one_with_the_smallest_loss():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=2000)
    logits = 1.5 * np.eye(3)[truth] + rng.standard_normal((2000, 3))
    sharp = softmax(2.5 * logits)
    found = tuning.temperature(sharp, truth)
    losses = {t: -np.log(softmax(np.log(sharp) / t)[np.arange(2000), truth]).mean() for t in np.linspace(0.5, 5, 300)}
    assert found == pytest.approx(min(losses, key=losses.get), abs=0.03)


def test_intervals_hold_what_they_say():
    rng = np.random.default_rng(1)
    low, high = tuning.conformal(rng.standard_normal(999), 0.8)
    new = rng.standard_normal(20_000)
    assert ((new >= low) & (new <= high)).mean() == pytest.approx(0.8, abs=0.04)
    assert tuning.conformal(np.array([1.0, 2.0]), 0.8) == (1.0, 2.0)  # too few: all of them


def test_a_shift_grows_with_the_clips_and_stops():
    centre, logits = np.zeros(3), np.tile([0.6, 0.0, -0.6], (200, 1))
    lengths = [np.linalg.norm(adapt.shift_of(logits[:n], centre, 10.0)) for n in (1, 5, 20, 200)]
    whole = np.linalg.norm(logits[0])
    assert np.allclose(lengths, [whole / 11, whole / 3, whole * 2 / 3, whole * 2 / 3])
    assert np.linalg.norm(adapt.shift_of(logits, centre, 0.1)) == pytest.approx(0.1)
    assert not adapt.shift_of(np.zeros((9, 3)), centre, 1.0).any()


def test_an_adapted_bundle_leans_less():
    rng = np.random.default_rng(6)
    truth = np.arange(100) % 4
    leaning = softmax(1.5 * np.eye(4)[truth] + 0.5 * rng.standard_normal((100, 4)) + np.array([1.2, 0, 0, 0]))
    calibration = Calibration(1.0, (0.0,) * 4, 1.2)
    adapted = adapt.adapt(leaning, list("abcd"), calibration)
    before = (leaning.argmax(axis=1) == truth).mean()
    after = (adapted.tail(leaning, np.zeros((100, 0))).argmax(axis=1) == truth).mean()
    assert after > before + 0.05
    assert adapted.before["a"] > adapted.after["a"]
    assert adapted.changed == (leaning.argmax(axis=1) != adapted.tail(leaning, np.zeros((100, 0))).argmax(axis=1)).sum()
    assert not adapted.one_sided
    assert adapt.adapt(leaning[truth == 0], list("abcd"), calibration).one_sided == "a"
    with pytest.raises(UsageError, match="run `sertool calibrate`"):
        adapt.adapt(leaning, list("abcd"), Calibration())


def known(truth, outputs, voices, corpora):
    return calibrate.Known(outputs, np.zeros((len(truth), 0)), np.array(truth), voices, corpora)


def test_the_centre_is_that_of_even_classes_and_corpora():
    rng = np.random.default_rng(8)
    truth = np.array([0] * 90 + [1] * 30)
    outputs = softmax(np.eye(2)[truth] * 2 + 0.1 * rng.standard_normal((120, 2)))
    calibration = calibrate.of_classes(known(truth, outputs, ["v"] * 120, ["c"] * 120), ["a", "b"])
    assert np.abs(calibration.centre).max() < 0.05
    assert calibration.spread == 0.0  # of one voice nothing is known
    assert calibration.temperature >= 1.0


def test_the_spread_is_the_distance_of_voices():
    rng = np.random.default_rng(9)
    truth, voice = np.arange(400) % 2, np.arange(400) // 20
    shifts = rng.standard_normal(20)
    logits = np.eye(2)[truth] * 2 + np.stack([shifts[voice], -shifts[voice]], axis=1)
    given = known(truth, softmax(logits), [f"v{v}" for v in voice], ["c"] * 400)
    expected = np.sqrt(2) * np.std(shifts)
    assert calibrate.of_classes(given, ["a", "b"]).spread == pytest.approx(expected, rel=0.05)


def test_speech_is_told_from_other_sounds_at_the_stated_rate():
    speech, _ = clusters(500, 1, seed=1)
    unseen, _ = clusters(1000, 1, seed=2)
    others = np.random.default_rng(3).standard_normal((300, 20)) / np.sqrt(20) + 1
    found = calibrate.of_speech(speech, others[:150], unseen)
    calibration = Calibration(speech=found)
    assert np.mean([calibration.typical(row) < 0.5 for row in unseen]) == pytest.approx(0.01, abs=0.003)
    assert np.mean([calibration.typical(row) < 0.5 for row in others[150:]]) > 0.95


def test_confidence_is_the_scaled_probability_and_falls_where_no_class_is_right():
    calibration = Calibration(2.0)
    shares = np.array([0.7, 0.2, 0.1])
    assert calibration.confidence(shares) == pytest.approx(np.sqrt(0.7) / np.sqrt(shares).sum())
    assert calibration.confidence(shares, 0.9) == calibration.confidence(shares)
    assert calibration.confidence(shares, 0.1) == pytest.approx(0.2 * calibration.confidence(shares))
    assert Calibration().confidence(shares) is None


@pytest.mark.parametrize(
    "table",
    [
        {"temperature": 0},
        {"temperature": True},
        {"centre": [0.0]},
        {"spread": -1},
        {"coverage": 0.8},
        {"coverage": 1.0, "intervals": {"a": [0, 1], "b": [0, 1]}},
        {"coverage": 0.8, "intervals": {"a": [1, 0], "b": [0, 1]}},
        {"coverage": 0.8, "intervals": {"a": [0, 1]}},
        {"speech": {"weights": [], "bias": 0}},
        {"speech": {"weights": [float("nan")], "bias": 0}},
        {"speech": 3},
        {"about": 3},
    ],
)
def test_a_calibration_that_cannot_be_is_refused(table):
    with pytest.raises(ValueError, match=f"calibration: {next(iter(table))}|calibration: intervals"):
        Calibration.parse(table, ["a", "b"])


def test_a_calibration_survives_being_written():
    full = Calibration(1.5, (0.1, -0.1), 0.7, speech=(np.array([0.5, -2.0]), 0.25), about={"on": "x", "clips": 3})
    again = Calibration.parse(full.to_dict(), ["a", "b"])
    assert again.to_dict() == full.to_dict()
    assert again.typical(np.array([1.0, 1.0])) == pytest.approx(full.typical(np.array([1.0, 1.0])))


def test_a_tail_is_the_same_for_logits_that_are_not_centred():
    rng = np.random.default_rng(1)
    logits, weights = rng.standard_normal((5, 4)), rng.standard_normal((3, 4))
    design = Design(np.zeros((5, 4)), np.zeros((5, 0)))
    linear = design.fit(np.eye(3)[[0, 1, 2, 0, 1]], weights, Penalties(np.inf, np.inf), classes=True)
    tail = Tail(linear, had_classes=True, classes=True)
    assert np.allclose(softmax(logits @ tail.from_logits.T + linear.bias), tail(softmax(logits), np.zeros((5, 0))))
    assert np.allclose(centred(softmax(logits)), logits - logits.mean(axis=1, keepdims=True))


def test_noises_are_valid_and_differ():
    sounds = list(noises(16))
    assert len({sound.tobytes() for sound in sounds}) == 16
    assert all(
        sound.dtype == np.float32 and np.isfinite(sound).all() and 0 < np.abs(sound).max() <= 1 for sound in sounds
    )
    assert np.array_equal(sounds[3], list(noises(4))[3])


def test_a_few_clips_that_are_all_right_are_not_certain():
    for n in (9, 40, 400):
        truth = np.arange(n) % 3
        shares = softmax(8.0 * np.eye(3)[truth])
        scaled = Calibration(tuning.temperature(shares, truth))
        assert scaled.confidence(shares[0]) == pytest.approx((n + 1) / (n + 2), abs=2e-3)
