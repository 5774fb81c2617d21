"""Mixing, rotation, frequency removal. Each maps float32 [n] at 16 kHz and a numpy Generator to new float32 [n]."""

import numpy as np

from sertool import audio
from sertool._types import Floats, Samples
from sertool.audio.spectrum import energy, filtered, with_energy_of
from sertool.corpora.buckets import Bucket, BucketSource
from sertool.errors import UsageError


class Mixup:
    """Return ``first`` times the clip plus ``second`` times a random excerpt of the same length.

    The excerpt is from one of the buckets ``sounds``, ``speech`` and ``ambience`` that are given, chosen with equal
    probability; each is a folder or anything else that Bucket accepts. Raises UsageError if none is given. The length
    does not change; energy and range do (two full-scale clips reach ``first + second``), and silence becomes the
    excerpt. Source: arXiv 2408.13920, 0.64 and 0.41.
    """

    def __init__(
        self,
        sounds: BucketSource | list[BucketSource] | None = None,
        speech: BucketSource | list[BucketSource] | None = None,
        ambience: BucketSource | list[BucketSource] | None = None,
        first: float = 0.64,
        second: float = 0.41,
    ) -> None:
        self.buckets = [Bucket(spec) for spec in (sounds, speech, ambience) if spec is not None]
        if not self.buckets:
            raise UsageError("mixup has nothing to mix in: give sounds, speech or ambience, each a folder")
        self.first, self.second = np.float32(first), np.float32(second)

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        bucket = self.buckets[rng.integers(len(self.buckets))]
        return self.first * samples + self.second * bucket.excerpt(len(samples), rng)


class Rotate:
    """Rotate the clip cyclically so that it starts at a random sample (arXiv 2408.13920).

    Length, energy and range do not change.
    """

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        return np.roll(samples, rng.integers(max(1, len(samples))))


class DropFrequencies:
    """Remove one to ``bands`` random bands, each up to ``width`` Hz wide, and scale the rest to the original energy.

    Length and energy do not change, the range does; silence stays silence. If less than a hundredth of the energy would
    remain, for example of a pure tone in a removed band, the clip is returned unchanged. arXiv 2408.13920 only says
    "random frequencies"; number and widths of the bands are our choice, by default 0 to 2 kHz in total. The edges are
    raised cosines of 100 Hz outside the bands: steeper edges would ring into the pauses. Raises UsageError if ``bands``
    or ``width`` is not positive.
    """

    EDGE = 100.0  # Hz

    def __init__(self, bands: int = 4, width: float = 500.0) -> None:
        if bands < 1 or width <= 0:
            raise UsageError(f"drop-frequencies: bands must be 1 or more and width above 0, not {bands} and {width}")
        self.bands, self.width = bands, width

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        count = rng.integers(1, self.bands, endpoint=True)
        bands = [(rng.uniform(0, audio.SAMPLE_RATE / 2), rng.uniform(0, self.width)) for _ in range(count)]

        def response(hertz: Floats) -> Floats:
            share = np.ones(len(hertz))
            for centre, width in bands:
                low, high = np.searchsorted(hertz, (centre - width / 2 - self.EDGE, centre + width / 2 + self.EDGE))
                outside = np.abs(hertz[low:high] - centre) - width / 2
                share[low:high] *= 0.5 - 0.5 * np.cos(np.pi * np.clip(outside / self.EDGE, 0, 1))
            return share

        result = filtered(samples, response)
        if energy(result) <= energy(samples) / 100:
            return samples.copy()
        return with_energy_of(samples, result)
