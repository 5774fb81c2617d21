"""Targets: what a row is worth to a model of numbers and to one of classes, with the figure of each."""

import audmetric
import numpy as np
import pytest
from sklearn.metrics import recall_score

from sertool.corpora import Row
from sertool.corpora.coordinates import coordinates
from sertool.errors import UsageError
from sertool.plugins import load_plugins
from sertool.registry import Model
from sertool.training.recipe import load_recipe
from sertool.training.targets import targets_of

CLASSES = ("angry", "happy", "neutral", "sad")


def row(emotion="", **known):
    return Row(file="x.wav", corpus="c", speaker="s", emotion=emotion, **known)


@pytest.fixture
def targets(tmp_path):
    """targets(model, *overrides) of a recipe that says nothing else."""

    def make(model, *overrides):
        (tmp_path / "r.toml").write_text(f'[model]\nname = "{model}"\n')
        recipe = load_recipe(tmp_path / "r.toml", overrides, complete=False)
        return targets_of(load_plugins().get("models", model), recipe)

    return make


def test_a_class_is_one_of_four_places(targets):
    of = targets("wav2small-emotion").of
    assert of(row("Anger")) == (1, 0, 0, 0)
    assert of(row("excited")) == (0, 1, 0, 0)
    assert of(row("calm")) == (0, 0, 1, 0)
    assert of(row("sad", arousal=0.1, dominance=0.2, valence=0.3)) == (0, 0, 0, 1)
    assert of(row("fearful")) is None
    assert of(row()) is None


def test_labelled_rows_are_those_with_a_target(targets):
    classes, numbers = targets("wav2small-emotion"), targets("wav2small")
    assert classes.labelled(row("sad")) == row("sad")
    assert classes.labelled(row("bored")) is None
    angry = numbers.labelled(row("angry"))
    assert (angry.arousal, angry.dominance, angry.valence) == coordinates("angry")
    assert angry.emotion == "angry"
    assert numbers.labelled(row("plain")) is None
    assert "angry or happy or neutral or sad" in classes.missing


def eye(*numbers):
    return np.eye(4, dtype=np.float32)[list(numbers)]


def test_classes_are_validated_by_the_mean_recall_of_those_that_are_there(targets):
    rng = np.random.default_rng(0)
    logits, truth = rng.standard_normal((40, 4)), rng.integers(0, 3, 40)  # nobody is sad
    found = targets("wav2small-emotion").score(logits, eye(*truth))
    expected = recall_score(truth, logits.argmax(axis=1), labels=[0, 1, 2], average="macro")
    assert found == {"UA": pytest.approx(expected)}
    assert targets("wav2small-emotion").figures == ("UA",)


def test_numbers_are_validated_by_ccc(targets):
    rng = np.random.default_rng(0)
    outputs, truth = rng.random((20, 3)), rng.random((20, 3))
    names = ("arousal", "dominance", "valence")
    found = targets("wav2small").score(outputs, truth)
    assert tuple(found) == names == tuple(targets("wav2small").figures)
    for i, name in enumerate(names):
        assert found[name] == pytest.approx(audmetric.concordance_cc(truth[:, i], outputs[:, i]))


@pytest.mark.parametrize(
    "outputs",
    [("valence", "arousal", "dominance"), ("valence",), ("dominance", "arousal"), ("arousal", "dominance", "valence")],
)
def test_targets_go_by_the_outputs_names(outputs, tmp_path):
    """A network that gives valence first must not learn arousal there."""
    model = Model("it", "", None, outputs, 33)
    (tmp_path / "r.toml").write_text('[model]\nname = "it"\n')
    found = targets_of(model, load_recipe(tmp_path / "r.toml", complete=False))
    rated = row(arousal=0.1, dominance=0.2, valence=0.3)
    assert found.of(rated) == tuple(getattr(rated, name) for name in outputs)
    place = dict(zip(("arousal", "dominance", "valence"), coordinates("angry"), strict=True))
    assert found.of(row("angry")) == tuple(place[name] for name in outputs)
    assert found.labelled(row("angry")).valence == (place["valence"] if "valence" in outputs else None)
    targets = np.array([[0.1 * (n + k) for k in range(len(outputs))] for n in range(9)])
    assert list(found.score(targets, targets)) == list(outputs)


def test_an_output_without_targets_is_refused_before_anything_is_trained(tmp_path):
    model = Model("it", "", None, ("arousal", "stress"), 33)
    (tmp_path / "r.toml").write_text('[model]\nname = "it"\n')
    with pytest.raises(UsageError, match=r"it: there are no targets for its output 'stress' \(there are: arousal"):
        targets_of(model, load_recipe(tmp_path / "r.toml", complete=False)).of(row("angry"))
