"""Mixing, rotation and lost frequencies. Each takes float32 [n] at 16 kHz and a numpy Generator; new float32 [n]."""

import numpy as np

from sertool import audio
from sertool.errors import UsageError
from sertool.training.buckets import Bucket


class Mixup:
    """``first`` times the clip plus ``second`` times a random excerpt as long, from one bucket chosen evenly.

    ``sounds``, ``speech``, ``ambience``: the buckets, each a folder or whatever Bucket takes; those not given take no
    part. UsageError if none is given. Length kept; neither energy nor range is (two full-scale clips reach
    ``first + second``), and silence becomes the excerpt. Source: arXiv 2408.13920, 0.64 and 0.41.
    """

    def __init__(self, sounds=None, speech=None, ambience=None, first: float = 0.64, second: float = 0.41):
        self.buckets = [Bucket(spec) for spec in (sounds, speech, ambience) if spec is not None]
        if not self.buckets:
            raise UsageError("mixup needs something to mix in: give it sounds, speech or ambience, each a folder")
        self.first, self.second = np.float32(first), np.float32(second)

    def __call__(self, samples, rng):
        bucket = self.buckets[rng.integers(len(self.buckets))]
        return self.first * samples + self.second * bucket.excerpt(len(samples), rng)


class Rotate:
    """Begin at a random sample and go on from the end to the beginning (arXiv 2408.13920).

    Every sample is kept, and with them length, energy and range.
    """

    def __call__(self, samples, rng):
        return np.roll(samples, rng.integers(max(1, len(samples))))


class DropFrequencies:
    """Take one to ``bands`` random bands, up to ``width`` Hz each, out of the clip; the rest gets their energy.

    Length and energy kept, range not; silence stays silence. The rest is raised evenly. A clip that would keep less
    than a hundredth of its energy, as a pure tone in a dropped band, is returned as it is. arXiv 2408.13920 says
    "random frequencies" only; numbers and widths are ours, at the defaults 0 to 2 kHz in all. The edges are raised
    cosines of 100 Hz outside the bands: steeper ones would ring into the pauses. UsageError for no bands or no width.
    """

    EDGE = 100.0  # Hz

    def __init__(self, bands: int = 4, width: float = 500.0):
        if bands < 1 or width <= 0:
            raise UsageError(f"drop-frequencies: bands must be 1 or more and width above 0, not {bands} and {width}")
        self.bands, self.width = bands, width

    def __call__(self, samples, rng):
        size = 1 << (len(samples) - 1).bit_length()  # a clip's own length may be a prime, ten times as slow
        spectrum = np.fft.rfft(samples, size)
        frequency = np.linspace(0, audio.SAMPLE_RATE / 2, len(spectrum))
        for _ in range(rng.integers(1, self.bands, endpoint=True)):
            centre, width = rng.uniform(0, audio.SAMPLE_RATE / 2), rng.uniform(0, self.width)
            low, high = np.searchsorted(frequency, (centre - width / 2 - self.EDGE, centre + width / 2 + self.EDGE))
            outside = np.abs(frequency[low:high] - centre) - width / 2
            spectrum[low:high] *= 0.5 - 0.5 * np.cos(np.pi * np.clip(outside / self.EDGE, 0, 1))
        kept = np.fft.irfft(spectrum, size)[: len(samples)]
        before, after = _energy(samples), _energy(kept)
        if after <= before / 100:
            return samples.copy()
        return (kept * np.sqrt(before / after)).astype(np.float32)


def _energy(samples) -> float:
    return float(np.sum(np.square(samples, dtype=np.float64)))
