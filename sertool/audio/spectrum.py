"""What augmentations share: filtering by a frequency response, and energy kept."""

import numpy as np

from sertool import audio


def filtered(samples: np.ndarray, response) -> np.ndarray:
    """float32 [n]: each frequency of ``samples`` [n] multiplied by ``response(hertz [bins])``, without delay."""
    size = fft_size(len(samples))
    hertz = np.linspace(0, audio.SAMPLE_RATE / 2, size // 2 + 1)
    return np.fft.irfft(np.fft.rfft(samples, size) * response(hertz), size)[: len(samples)].astype(np.float32)


def fft_size(length: int) -> int:
    """The next power of two, at least 2: lengths with a large prime factor take ten times as long."""
    return 1 << max(1, (length - 1).bit_length())


def energy(samples: np.ndarray) -> float:
    """Sum of squares."""
    return float(np.sum(np.square(samples, dtype=np.float64)))


def with_energy_of(samples: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """float32 [n]: ``changed`` brought to the energy of ``samples``; ``samples`` where nothing of them is left."""
    left = energy(changed)
    return (changed * np.sqrt(energy(samples) / left)).astype(np.float32) if left else samples.copy()
