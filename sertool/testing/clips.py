"""Generated clips for checks."""

import csv
from pathlib import Path

import numpy as np

from sertool._types import Samples
from sertool.features.mel import SAMPLE_RATE

#: Emotion -> (pitch in Hz, level), distinguishable by their spectrum.
VOICES = {"angry": (2400, 0.5), "happy": (1200, 0.4), "neutral": (450, 0.2), "sad": (150, 0.1)}


def write_clips(folder: Path | str) -> Path:
    """Write a labelled corpus of generated voices that trains in seconds: manifest.csv and 32 clips of 0.5 to 1 s.

    Two speakers in split train, one each in val and test-ood, with the emotions angry, happy, neutral and sad. Returns
    the folder, which is created if it does not exist.
    """
    import soundfile

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "corpus", "speaker", "emotion", "split", "licence"])
        for speaker, split in enumerate(["train", "train", "val", "test-ood"]):
            for emotion, (pitch, level) in VOICES.items():
                for take in range(2):
                    time = np.arange(int(rng.uniform(0.5, 1) * SAMPLE_RATE)) / SAMPLE_RATE
                    voice = np.sin(2 * np.pi * pitch * (1 + 0.05 * speaker) * time)
                    samples = level * (voice + 0.1 * rng.standard_normal(len(time)))
                    name = f"{speaker}-{emotion}-{take}.wav"
                    soundfile.write(folder / name, samples, SAMPLE_RATE)
                    table.writerow([name, "generated", speaker, emotion, split, "CC0-1.0"])
    return folder


def sound(n: int, level: float = 0.1, seed: int = 0) -> Samples:
    """Return a buzz with vibrato and pauses, faint noise and a small offset, float32 [n]; different for each n."""
    rng = np.random.default_rng([n, seed])
    time = np.arange(n) / SAMPLE_RATE
    pitch = 110 * 2 ** (rng.uniform(0, 1) + 0.03 * np.sin(2 * np.pi * 4 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 20)) * (np.sin(2 * np.pi * 1.3 * time) > -0.5)
    return (level * (buzz + 0.1 * rng.standard_normal(n) + 0.2)).astype(np.float32)
