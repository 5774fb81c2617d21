"""What trainings in the tests share: the recipe that learns from labels, made small."""

import pytest

from sertool.plugins import load_plugins


@pytest.fixture
def labels():
    """Path of the shipped recipe that trains from labels."""
    recipes = load_plugins().get("models", "wav2small").recipes
    return next(path for path in recipes if path.stem == "wav2small-labels")


@pytest.fixture
def overrides(corpus):
    """The shipped recipe made small."""
    settings = {
        "steps": 6,
        "batch": 4,
        "validate_every": 2,
        "shortest_s": 0.3,
        "longest_s": 0.6,
        "threads": 1,
        "workers": 0,
        "warmup": 2,
        "restarts": [4],
    }
    return [
        f"data.root={corpus}",
        "data.corpora=[]",
        "bundle.runs=0",
        *(f"train.{key}={value}" for key, value in settings.items()),
    ]
