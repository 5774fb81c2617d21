"""The augmentations. Each takes float32 [n] at 16 kHz and a numpy Generator and returns new float32 samples."""

import io
from typing import ClassVar

import numpy as np
import soundfile

from sertool import audio
from sertool.audio.spectrum import energy, fft_size, filtered, with_energy_of
from sertool.corpora.buckets import Bucket
from sertool.errors import UsageError


class Gain:
    """Multiply by a random factor between ``low`` and ``high`` dB; length kept."""

    def __init__(self, low: float = -18.0, high: float = 6.0):
        self.low, self.high = low, high

    def __call__(self, samples, rng):
        return samples * np.float32(10 ** (rng.uniform(self.low, self.high) / 20))


class Noise:
    """Add a random stretch of a random file below ``folder`` at ``low`` to ``high`` dB signal-to-noise ratio.

    Length kept. Noise shorter than the clip is repeated; a silent clip or a silent noise leaves the clip as it is.
    """

    def __init__(self, folder: str, low: float = 5.0, high: float = 30.0):
        self.recordings = Bucket(folder)
        self.low, self.high = low, high

    def __call__(self, samples, rng):
        noise = self.recordings.recording(rng)
        start = rng.integers(max(1, len(noise) - len(samples) + 1))
        noise = np.resize(noise[start:], len(samples))
        snr = rng.uniform(self.low, self.high)
        if energy(noise) == 0:
            return samples.copy()
        return samples + with_energy_of(samples, noise) * np.float32(10 ** (-snr / 20))


class Room:
    """Convolve with a random impulse response below ``folder``; length and energy kept.

    The response's strongest sample is taken as time zero, so that the words stay where they were.
    """

    def __init__(self, folder: str):
        self.recordings = Bucket(folder)

    def __call__(self, samples, rng):
        response = self.recordings.recording(rng)
        response = response[np.argmax(np.abs(response)) :]
        size = fft_size(len(samples) + len(response) - 1)
        wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]
        return with_energy_of(samples, wet)


class Speed:
    """Play ``low`` to ``high`` times as fast, pitch and formants moving along; the length is divided by the factor."""

    def __init__(self, low: float = 0.9, high: float = 1.1):
        self.low, self.high = low, high

    def __call__(self, samples, rng):
        factor = rng.uniform(self.low, self.high)
        return audio.resample(samples, audio.SAMPLE_RATE, audio.SAMPLE_RATE / factor)


class Equaliser:
    """Filter with a random smooth response of up to +-``range`` dB at ``bands`` points; length and energy kept.

    It stands for the microphones and channels that tell one corpus from another.
    """

    def __init__(self, bands: int = 6, range: float = 6.0):
        self.bands, self.range = bands, range

    def __call__(self, samples, rng):
        decibels = rng.uniform(-self.range, self.range, self.bands)
        # Points spaced by octaves from 125 Hz up, where hearing and mel filters resolve.
        points = np.geomspace(125, audio.SAMPLE_RATE / 2, self.bands)
        return with_energy_of(samples, filtered(samples, lambda hertz: 10 ** (np.interp(hertz, points, decibels) / 20)))


class Band:
    """Take away what lies above a random frequency between ``low`` and ``high`` Hz, as telephones and codecs do.

    Length kept; energy is lost. The edge is a raised cosine 500 Hz wide.
    """

    def __init__(self, low: float = 3400.0, high: float = 8000.0):
        self.low, self.high = low, high

    def __call__(self, samples, rng):
        edge = rng.uniform(self.low, self.high)
        return filtered(samples, lambda hertz: 0.5 + 0.5 * np.cos(np.pi * np.clip((hertz - edge) / 500 + 0.5, 0, 1)))


class Codec:
    """Write through a random one of ``kinds`` and read again, as telephones and messengers do.

    ulaw and gsm at 8 kHz; mp3, vorbis and opus at 16 kHz and a random quality. Length kept; energy and range nearly.
    Louder than full scale is clipped. UsageError for a kind that there is not.
    """

    #: Kind -> (container, coding, rate in Hz, compression levels of libsndfile from and to).
    KINDS: ClassVar = {
        "ulaw": ("WAV", "ULAW", 8_000, None),
        "gsm": ("WAV", "GSM610", 8_000, None),
        "mp3": ("MP3", "MPEG_LAYER_III", audio.SAMPLE_RATE, (0.5, 0.99)),
        "vorbis": ("OGG", "VORBIS", audio.SAMPLE_RATE, (0.5, 0.95)),
        "opus": ("OGG", "OPUS", audio.SAMPLE_RATE, (0.5, 0.99)),
    }

    def __init__(self, kinds=tuple(KINDS)):
        if not kinds or not {*kinds} <= {*self.KINDS}:
            raise UsageError(f"codec: kinds are of {', '.join(self.KINDS)}, not {kinds!r}")
        self.kinds = tuple(kinds)

    def __call__(self, samples, rng):
        container, coding, rate, levels = self.KINDS[self.kinds[rng.integers(len(self.kinds))]]
        level = None if levels is None else rng.uniform(*levels)
        file = io.BytesIO()
        sent = np.clip(audio.resample(samples, audio.SAMPLE_RATE, rate), -1, 1)
        soundfile.write(file, sent, rate, coding, format=container, compression_level=level)
        file.seek(0)
        heard, rate = soundfile.read(file, dtype="float32")
        heard = audio.resample(heard, rate, audio.SAMPLE_RATE)[: len(samples)]
        return np.pad(heard, (0, len(samples) - len(heard)))
