"""White noise, pitch and polarity. Each takes float32 [n] at 16 kHz and a numpy Generator; new float32 [n].

The definitions are audiomentations' (0.43): AddGaussianNoise, PitchShift and PolarityInversion. It draws from the
global generators of `random` and `numpy.random`, which other threads share and forked workers begin alike. So what is
random is drawn here, from the generator given; that leaves one line of noise and one of polarity, and to the library
the pitch.
"""

import numpy as np

from sertool import audio
from sertool.errors import AudioError, UsageError


class GaussianNoise:
    """Add white noise whose standard deviation is drawn evenly from ``low`` to ``high``, full scale being 1.

    Length kept; energy and range are not. UsageError for a range that is none.
    """

    def __init__(self, low: float = 0.001, high: float = 0.015):
        self.low, self.high = _range("gaussian-noise", low, high, 0, 1)

    def __call__(self, samples, rng):
        amplitude = np.float32(rng.uniform(self.low, self.high))
        return samples + amplitude * rng.standard_normal(len(samples), np.float32)


class Pitch:
    """Raise by a number of semitones drawn evenly from ``low`` to ``high``, negative ones lower; formants move along.

    Length and speed kept; energy and range nearly. The shift is audiomentations' PitchShift by Signalsmith Stretch, a
    spectral method with frames of 0.12 s: F0 comes out a few cents high, the last 30 ms fade, and a clip shorter than
    a frame comes out fainter. AudioError for NaN or infinity, which would spread over the whole clip; UsageError for a
    range that is none or beyond two octaves, or if audiomentations is not installed.
    """

    def __init__(self, low: float = -2.0, high: float = 2.0):
        self.low, self.high = _range("pitch", low, high, -24, 24)
        try:
            from audiomentations import PitchShift
        except ImportError:
            raise UsageError("pitch needs audiomentations: pip install 'sertool[augment]'") from None
        self.shift = PitchShift

    def __call__(self, samples, rng):
        if not np.isfinite(samples).all():
            raise AudioError("pitch: not a number in the samples")
        # One a call, since threads would overwrite each other's parameters. Frozen ones are not drawn again.
        shift = self.shift(method="signalsmith_stretch", p=1.0)
        shift.parameters = {"should_apply": True, "num_semitones": rng.uniform(self.low, self.high)}
        shift.freeze_parameters()
        return shift(np.array(samples, np.float32), audio.SAMPLE_RATE)  # a copy: it refuses arrays that are read-only


class Polarity:
    """Multiply every sample by -1: nothing that is heard, but another waveform. Length, energy and range kept."""

    def __call__(self, samples, rng):
        return -samples


def _range(name: str, low, high, least: float, most: float) -> tuple[float, float]:
    if any(type(value) not in (int, float) for value in (low, high)) or not least <= low <= high <= most:
        raise UsageError(f"{name}: low and high must be numbers from {least} to {most} in order, not {low!r}, {high!r}")
    return low, high
