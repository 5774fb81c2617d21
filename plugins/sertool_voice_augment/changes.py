"""White noise, pitch and polarity. Each maps float32 [n] at 16 kHz and a numpy Generator to new float32 [n].

The definitions are those of audiomentations (0.43): AddGaussianNoise, PitchShift and PolarityInversion. That library
draws from the global generators of `random` and `numpy.random`, which threads share and which start in the same state
in forked workers. Therefore all random values are drawn here, from the given generator; noise and polarity then take
one line each, and only the pitch shift is left to the library.
"""

import numpy as np

from sertool import audio
from sertool._types import Samples
from sertool.errors import AudioError, UsageError


class GaussianNoise:
    """Add white noise whose standard deviation is drawn uniformly from ``low`` to ``high``; full scale is 1.

    The length does not change; energy and range do. Raises UsageError for an invalid range.
    """

    def __init__(self, low: float = 0.001, high: float = 0.015) -> None:
        self.low, self.high = _range("gaussian-noise", low, high, 0, 1)

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        amplitude = np.float32(rng.uniform(self.low, self.high))
        return samples + amplitude * rng.standard_normal(len(samples), np.float32)


class Pitch:
    """Shift the pitch by a number of semitones drawn uniformly from ``low`` to ``high``; formants shift too.

    Length and speed do not change; energy and range change little. The shift is audiomentations' PitchShift with
    Signalsmith Stretch, a spectral method with frames of 0.12 s: F0 is a few cents too high, the last 30 ms fade out,
    and a clip shorter than a frame gets quieter. Raises AudioError for NaN or infinity, which would spread over the
    whole clip, and UsageError for a range that is invalid or exceeds two octaves, or if audiomentations is not
    installed.
    """

    def __init__(self, low: float = -2.0, high: float = 2.0) -> None:
        self.low, self.high = _range("pitch", low, high, -24, 24)
        try:
            from audiomentations import PitchShift
        except ImportError:
            raise UsageError("pitch needs audiomentations: pip install 'sertool[augment]'") from None
        self.shift = PitchShift

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        if not np.isfinite(samples).all():
            raise AudioError("pitch: NaN or infinity in the samples")
        # One object per call: threads would overwrite each other's parameters. Frozen parameters are not redrawn.
        shift = self.shift(method="signalsmith_stretch", p=1.0)
        shift.parameters = {"should_apply": True, "num_semitones": rng.uniform(self.low, self.high)}
        shift.freeze_parameters()
        shifted: Samples = shift(
            np.array(samples, np.float32), audio.SAMPLE_RATE
        )  # a copy: it rejects read-only arrays
        return shifted


class Polarity:
    """Multiply every sample by -1, which is inaudible. Length, energy and range do not change."""

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        return -samples


def _range(name: str, low: float, high: float, least: float, most: float) -> tuple[float, float]:
    if any(type(value) not in (int, float) for value in (low, high)) or not least <= low <= high <= most:
        raise UsageError(f"{name}: low and high must be numbers from {least} to {most} in order, not {low!r}, {high!r}")
    return low, high
