"""Helpers for augmentations: filter by frequency response, and preserve energy."""

from collections.abc import Callable

import numpy as np

from sertool import audio
from sertool._types import Array, Floats, Samples


def filtered(samples: Samples, response: Callable[[Floats], Array]) -> Samples:
    """Return float32 [n]: each frequency of ``samples`` [n] times ``response(hertz [bins])``, without delay."""
    size = fft_size(len(samples))
    hertz = np.linspace(0, audio.SAMPLE_RATE / 2, size // 2 + 1)
    return np.fft.irfft(np.fft.rfft(samples, size) * response(hertz), size)[: len(samples)].astype(np.float32)


def fft_size(length: int) -> int:
    """Return the next power of two, at least 2: lengths with a large prime factor take ten times as long."""
    return 1 << max(1, (length - 1).bit_length())


def energy(samples: Samples) -> float:
    """Return the sum of squares."""
    return float(np.sum(np.square(samples, dtype=np.float64)))


def with_energy_of(samples: Samples, changed: Samples) -> Samples:
    """Return float32 [n]: ``changed`` scaled to the energy of ``samples``, or ``samples`` if ``changed`` is silent."""
    left = energy(changed)
    return (changed * np.sqrt(energy(samples) / left)).astype(np.float32) if left else samples.copy()
