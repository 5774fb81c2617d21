"""Sounds that are no speech, synthesised: tones, beeps, chords, noise, clicks, sweeps."""

from collections.abc import Iterator

import numpy as np

from sertool._types import Floats, Samples
from sertool.features.mel import SAMPLE_RATE

#: Shortest and longest sound, in seconds; lowest and highest peak, as powers of ten.
_LENGTHS, _LEVELS = (0.4, 5.0), (-2.0, -0.05)
_KINDS = ("tone", "beeps", "notes", "white noise", "brown noise", "clicks", "sweep", "buzz")


def noises(number: int, seed: int = 0) -> Iterator[Samples]:
    """Yield ``number`` sounds, float32 [n] at 16 kHz, of eight kinds in turn."""
    for index in range(number):
        rng = np.random.default_rng([seed, index])
        time = np.arange(int(SAMPLE_RATE * rng.uniform(*_LENGTHS))) / SAMPLE_RATE
        sound = _sound(_KINDS[index % len(_KINDS)], time, rng)
        yield (sound / np.abs(sound).max() * 10 ** rng.uniform(*_LEVELS)).astype(np.float32)


def _sound(kind: str, time: Floats, rng: np.random.Generator) -> Floats:
    frequency, n = rng.uniform(80, 4000), len(time)
    if kind == "tone":
        return _wave(frequency, time)
    if kind == "beeps":
        return _wave(frequency, time) * ((time * rng.uniform(1, 8)) % 1 < 0.5)
    if kind == "notes":
        chord = [_wave(110 * 2 ** (step / 12), time) for step in rng.integers(0, 36, 4)]
        decay: Floats = np.exp(-3 * ((2 * time) % 1))
        notes: Floats = np.sum(chord, axis=0) * decay
        return notes
    if kind == "white noise":
        return rng.standard_normal(n)
    if kind == "brown noise":
        walk: Floats = np.cumsum(rng.standard_normal(n))
        walk -= walk.mean()
        return walk
    if kind == "clicks":
        clicks = (rng.random(n) < 0.001) * rng.standard_normal(n)
        clicks[n // 2] = 1.0
        return clicks
    if kind == "sweep":
        return _wave(200 + rng.uniform(50, 800) * time, time)
    buzz: Floats = np.sign(_wave(rng.uniform(60, 1000), time))
    return buzz


def _wave(frequency: float | Floats, time: Floats) -> Floats:
    wave: Floats = np.sin(2 * np.pi * frequency * time)
    return wave
