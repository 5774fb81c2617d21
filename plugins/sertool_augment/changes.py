"""The augmentations. Each takes float32 [n] at 16 kHz and a numpy Generator and returns new float32 samples."""

import io
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import soundfile

from sertool import audio
from sertool._types import Array, Samples
from sertool.audio.spectrum import energy, fft_size, filtered, with_energy_of
from sertool.corpora.buckets import Bucket, BucketSource
from sertool.errors import UsageError


class Gain:
    """Multiply by a random factor between ``low`` and ``high`` dB; the length does not change."""

    def __init__(self, low: float = -18.0, high: float = 6.0) -> None:
        self.low, self.high = low, high

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        return samples * np.float32(10 ** (rng.uniform(self.low, self.high) / 20))


class Noise:
    """Add a random excerpt of a random file in ``folder`` at ``low`` to ``high`` dB signal-to-noise ratio.

    The length does not change. Noise shorter than the clip is repeated; if the clip or the noise is silent, the clip is
    returned unchanged.
    """

    def __init__(self, folder: BucketSource | list[BucketSource], low: float = 5.0, high: float = 30.0) -> None:
        self.recordings = Bucket(folder)
        self.low, self.high = low, high

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        noise = self.recordings.recording(rng)
        start = rng.integers(max(1, len(noise) - len(samples) + 1))
        noise = np.resize(noise[start:], len(samples))
        snr = rng.uniform(self.low, self.high)
        if energy(noise) == 0:
            return samples.copy()
        return samples + with_energy_of(samples, noise) * np.float32(10 ** (-snr / 20))


class Room:
    """Convolve with a random impulse response from ``folder``; length and energy do not change.

    The strongest sample of the response is time zero, so that the speech is not delayed.
    """

    def __init__(self, folder: BucketSource | list[BucketSource]) -> None:
        self.recordings = Bucket(folder)

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        response = self.recordings.recording(rng)
        response = response[np.argmax(np.abs(response)) :]
        size = fft_size(len(samples) + len(response) - 1)
        wet: Array = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)
        return with_energy_of(samples, wet[: len(samples)])


class Speed:
    """Play ``low`` to ``high`` times as fast; pitch and formants shift too, and the length is divided by the factor."""

    def __init__(self, low: float = 0.9, high: float = 1.1) -> None:
        self.low, self.high = low, high

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        factor = rng.uniform(self.low, self.high)
        return audio.resample(samples, audio.SAMPLE_RATE, audio.SAMPLE_RATE / factor)


class Equaliser:
    """Filter with a random smooth response of up to +-``range`` dB at ``bands`` points; length and energy are kept.

    Simulates the differences between the microphones and channels of corpora.
    """

    def __init__(self, bands: int = 6, range: float = 6.0) -> None:
        self.bands, self.range = bands, range

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        decibels = rng.uniform(-self.range, self.range, self.bands)
        # Points are spaced logarithmically from 125 Hz, like the resolution of hearing and of mel filters.
        points = np.geomspace(125, audio.SAMPLE_RATE / 2, self.bands)
        return with_energy_of(samples, filtered(samples, lambda hertz: 10 ** (np.interp(hertz, points, decibels) / 20)))


class Band:
    """Apply a low-pass filter at a random frequency between ``low`` and ``high`` Hz, as telephones and codecs do.

    The length does not change; energy is lost. The transition is a raised cosine 500 Hz wide.
    """

    def __init__(self, low: float = 3400.0, high: float = 8000.0) -> None:
        self.low, self.high = low, high

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        edge = rng.uniform(self.low, self.high)
        return filtered(samples, lambda hertz: 0.5 + 0.5 * np.cos(np.pi * np.clip((hertz - edge) / 500 + 0.5, 0, 1)))


class Codec:
    """Encode with a random one of ``kinds`` and decode, as telephones and messengers do.

    ulaw and gsm run at 8 kHz; mp3, vorbis and opus at 16 kHz and a random quality. The length does not change; energy
    and range change little. Samples beyond full scale are clipped. Raises UsageError for an unknown kind.
    """

    #: Kind -> (container, encoding, rate in Hz, lowest and highest libsndfile compression level).
    KINDS: ClassVar[dict[str, tuple[str, str, int, tuple[float, float] | None]]] = {
        "ulaw": ("WAV", "ULAW", 8_000, None),
        "gsm": ("WAV", "GSM610", 8_000, None),
        "mp3": ("MP3", "MPEG_LAYER_III", audio.SAMPLE_RATE, (0.5, 0.99)),
        "vorbis": ("OGG", "VORBIS", audio.SAMPLE_RATE, (0.5, 0.95)),
        "opus": ("OGG", "OPUS", audio.SAMPLE_RATE, (0.5, 0.99)),
    }

    def __init__(self, kinds: Sequence[str] = tuple(KINDS)) -> None:
        if not kinds or not {*kinds} <= {*self.KINDS}:
            raise UsageError(f"codec: kinds must be a list of {', '.join(self.KINDS)}, not {kinds!r}")
        self.kinds = tuple(kinds)

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        container, encoding, rate, levels = self.KINDS[self.kinds[rng.integers(len(self.kinds))]]
        level = None if levels is None else rng.uniform(*levels)
        file = io.BytesIO()
        clipped = np.clip(audio.resample(samples, audio.SAMPLE_RATE, rate), -1, 1)
        soundfile.write(file, clipped, rate, encoding, format=container, compression_level=level)
        file.seek(0)
        decoded, rate = soundfile.read(file, dtype="float32")
        decoded = audio.resample(decoded, rate, audio.SAMPLE_RATE)[: len(samples)]
        return np.pad(decoded, (0, len(samples) - len(decoded)))
