"""A corpus of generated voices, small enough to train on in seconds."""

import csv

import numpy as np
import pytest
import soundfile

from sertool.plugins import load_plugins

#: Emotion -> (pitch in Hz, level): told apart by their spectrum.
EMOTIONS = {"angry": (2400, 0.5), "happy": (1200, 0.4), "sad": (150, 0.1), "neutral": (450, 0.2)}


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A manifest of 4 speakers x 4 emotions x 2 clips in train, val and ood, with noise and rooms beside it."""
    root = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    with open(root / "manifest.csv", "w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "corpus", "speaker", "emotion", "intensity", "split", "licence"])
        for speaker, split in enumerate(["train", "train", "val", "test-ood"]):
            for emotion, (pitch, level) in EMOTIONS.items():
                for take in range(2):
                    name = f"{speaker}-{emotion}-{take}.wav"
                    time = np.arange(int(rng.uniform(8_000, 20_000))) / 16_000
                    voice = np.sin(2 * np.pi * pitch * (1 + 0.05 * speaker) * time)
                    samples = level * (voice + 0.1 * rng.standard_normal(len(time)))
                    soundfile.write(root / name, samples, 16_000)
                    table.writerow([name, f"corpus{speaker == 3:d}", speaker, emotion, "", split, "CC0"])
    for folder in ("noise", "rir"):
        (root / folder).mkdir()
        soundfile.write(
            root / folder / "x.wav", np.exp(-np.arange(4000) / 400) * rng.standard_normal(4000) * 0.1, 16_000
        )
    return root


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
