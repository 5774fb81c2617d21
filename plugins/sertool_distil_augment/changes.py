"""Mixing, rotation and lost frequencies. Each takes float32 [n] at 16 kHz and a numpy Generator; new float32 [n]."""

import numpy as np

from sertool import audio
from sertool.audio.spectrum import energy, filtered, with_energy_of
from sertool.corpora.buckets import Bucket
from sertool.errors import UsageError


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
        count = rng.integers(1, self.bands, endpoint=True)
        bands = [(rng.uniform(0, audio.SAMPLE_RATE / 2), rng.uniform(0, self.width)) for _ in range(count)]

        def response(hertz):
            share = np.ones(len(hertz))
            for centre, width in bands:
                low, high = np.searchsorted(hertz, (centre - width / 2 - self.EDGE, centre + width / 2 + self.EDGE))
                outside = np.abs(hertz[low:high] - centre) - width / 2
                share[low:high] *= 0.5 - 0.5 * np.cos(np.pi * np.clip(outside / self.EDGE, 0, 1))
            return share

        kept = filtered(samples, response)
        if energy(kept) <= energy(samples) / 100:
            return samples.copy()
        return with_energy_of(samples, kept)
