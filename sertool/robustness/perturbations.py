"""Changes to a recording that do not change its emotion: small edits, noise, a telephone, tilt, rooms.

Each function takes float32 [n] at 16 kHz that is not silent, and a numpy Generator, and returns new float32 samples.
The length is unchanged unless stated otherwise; the level is not limited: only :func:`clip` and the telephone's
compressor clip samples. Definitions: audEERING's ser-tests (docs/method-tests.rst; Derington et al., arXiv 2312.06270).
If a change has several strengths, one is drawn per recording, as in ser-tests. Their rule to scale results whose peak
exceeds 1 back to 1 is left out, because models take floats.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from sertool import audio
from sertool._types import Array, Floats, Samples
from sertool.errors import AudioError, UsageError

RATE = audio.SAMPLE_RATE
NARROW_RATE = 8000

#: noise(samples, rng): noise for a recording, of the same length, at any level.
Noise: TypeAlias = Callable[[Samples, np.random.Generator], Array]
_Point: TypeAlias = Sequence[float] | Floats

#: Gain of the spectral tilt at 8 kHz relative to 0 Hz, in dB, up or down. ser-tests publishes its two filters only as a
#: plot of straight lines over linear frequency on a 30 dB axis, so the value is a choice of this module.
TILT_DB = 20.0

#: Shoebox rooms: size in m, absorption of all walls, source, microphone. Chosen so that sizes, distances (1.5 to
#: 2.25 m) and reverberation times (.12, .23, .43, .78 s) are similar to the rooms of these names in the AIR database.
ROOMS = {
    "booth": ((3.0, 1.8, 2.2), 0.50, (0.75, 0.9, 1.2), (2.25, 0.9, 1.2)),
    "meeting": ((8.0, 5.0, 3.1), 0.54, (3.0, 2.4, 1.3), (4.9, 2.4, 1.3)),
    "office": ((5.0, 6.4, 2.9), 0.30, (2.4, 2.2, 1.3), (2.4, 4.2, 1.3)),
    "lecture": ((10.8, 10.9, 3.15), 0.30, (5.0, 5.0, 1.5), (7.25, 5.0, 1.5)),
}


def additive_tone(samples: Samples, rng: np.random.Generator) -> Samples:
    """Add a sine of 5 to 7 kHz with an amplitude 40, 45 or 50 dB below the recording's peak."""
    amplitude: float = _peak(samples) * _gain(-rng.choice([40, 45, 50]))
    phase = 2 * np.pi * rng.integers(5000, 7001) / RATE * np.arange(len(samples))
    return (samples + amplitude * np.sin(phase)).astype(np.float32)


def append_zeros(samples: Samples, rng: np.random.Generator) -> Samples:
    """Append 100, 500 or 1000 zeros; the length grows accordingly."""
    return np.concatenate([samples, np.zeros(_count(rng), np.float32)])


def prepend_zeros(samples: Samples, rng: np.random.Generator) -> Samples:
    """Prepend 100, 500 or 1000 zeros; the length grows accordingly."""
    return np.concatenate([np.zeros(_count(rng), np.float32), samples])


def clip(samples: Samples, rng: np.random.Generator) -> Samples:
    """Clip the loudest .1, .2 or .3 % of the samples (rounded down, at least one) to the next lower level."""
    count = max(1, int(rng.choice([0.001, 0.002, 0.003]) * len(samples)))
    loudness = np.sort(np.abs(samples))
    ceiling = loudness[max(0, len(samples) - count - 1)]
    return np.clip(samples, -ceiling, ceiling)


def crop_beginning(samples: Samples, rng: np.random.Generator) -> Samples:
    """Remove the first 100, 500 or 1000 samples, but at most half of the recording."""
    return samples[min(_count(rng), len(samples) // 2) :].copy()


def crop_end(samples: Samples, rng: np.random.Generator) -> Samples:
    """Remove the last 100, 500 or 1000 samples, but at most half of the recording."""
    return samples[: len(samples) - min(_count(rng), len(samples) // 2)].copy()


def gain(samples: Samples, rng: np.random.Generator) -> Samples:
    """Change the level by -2, -1, 1 or 2 dB."""
    return samples * np.float32(_gain(rng.choice([-2, -1, 1, 2])))


def high_pass(samples: Samples, rng: np.random.Generator) -> Samples:
    """Apply a Butterworth high-pass of order 1 at 50, 100 or 150 Hz."""
    return _filtered(samples, partial(_butterworth, cutoff=rng.choice([50, 100, 150]), high=True))


def low_pass(samples: Samples, rng: np.random.Generator) -> Samples:
    """Apply a Butterworth low-pass of order 1 at 7500, 7000 or 6500 Hz."""
    return _filtered(samples, partial(_butterworth, cutoff=rng.choice([7500, 7000, 6500])))


def white_noise(samples: Samples, rng: np.random.Generator) -> Samples:
    """Add Gaussian white noise at a signal-to-noise ratio (RMS) of 35, 40 or 45 dB."""
    return _mixed(samples, rng.standard_normal(len(samples)), rng.choice([35, 40, 45])).astype(np.float32)


def background(samples: Samples, rng: np.random.Generator, noise: Noise, snr: float) -> Samples:
    """Add ``noise(samples, rng)`` [n] at ``snr`` dB (RMS over the whole recording); the level (RMS) is unchanged."""
    return _at_level_of(samples, _mixed(samples, noise(samples, rng), snr))


def white(samples: Samples, rng: np.random.Generator) -> Floats:
    """Return Gaussian white noise [n]."""
    return rng.standard_normal(len(samples))


class Babble:
    """4 to 7 simultaneous voices [n]: random other ``clips``, each starting at a random point and repeated.

    ser-tests takes voices from MUSAN and attenuates them by 13 to 20 dB; here they are normalised to one level first,
    so that levels differ by at most these 7 dB.
    """

    def __init__(self, clips: Sequence[Samples]) -> None:
        self.clips = clips

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Floats:
        others = [clip for clip in self.clips if clip is not samples]
        mix = np.zeros(len(samples))
        for _ in range(rng.integers(4, 8)):
            voice = others[int(rng.integers(len(others)))]
            mix += _looped(voice, len(samples), rng) / _rms(voice) * _gain(-rng.integers(13, 21))
        return mix


class Recorded:
    """Noise [n] from a random one of ``paths``, starting at a random point and repeated.

    With ``once``, the noise occurs once at a random place; if it is longer than the recording, a random excerpt of it
    is used. Raises AudioError if a file cannot be read, and if twenty draws in a row are silent.
    """

    def __init__(self, paths: Sequence[Path], once: bool = False) -> None:
        self.paths, self.once = paths, once

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        for _ in range(20):
            sound = _read(self.paths[int(rng.integers(len(self.paths)))])
            if self.once and len(sound) <= len(samples):
                start = rng.integers(len(samples) - len(sound) + 1)
                sound = np.pad(sound, (start, len(samples) - len(sound) - start))
            elif self.once:
                start = rng.integers(len(sound) - len(samples) + 1)
                sound = sound[start : start + len(samples)]
            else:
                sound = _looped(sound, len(samples), rng)
            if sound.any():
                return sound
        raise AudioError(f"{self.paths[0].parent}: too much silence in the noise; remove silent files")


def low_quality_phone(samples: Samples, rng: np.random.Generator) -> Samples:
    """Simulate a bad telephone line: compressor, AMR narrow-band at 7.4 kbit/s, and hiss above 3 kHz.

    The level (RMS) is unchanged. Steps, in ser-tests' order: resample to 8 kHz, normalise the peak to 1; compressor
    (above -20 dB .8 dB out per 1 dB in, 0 dB stays 0 dB, attack .01 s, release .02 s, no knee); AMR-NB encoding and
    decoding; resample to 16 kHz, normalise the peak to 1; add pink noise with its peak at -25 dB through a Butterworth
    high-pass of order 2 at 3 kHz. The codec's delay of 5 ms is removed. The codec is part of PyAV's wheels
    (``sertool[av]``); raises UsageError if it is not installed.
    """
    narrow = audio.resample(samples, RATE, NARROW_RATE)
    line = audio.resample(_amr(_compressed(narrow / _peak(narrow))), NARROW_RATE, RATE)
    line = np.pad(line, (0, max(0, len(samples) - len(line))))[: len(samples)]
    pink = _pink(len(samples), rng)
    hiss = _filtered(pink / _peak(pink) * _gain(-25), partial(_butterworth, cutoff=3000, order=2, high=True))
    return _at_level_of(samples, line / _peak(line) + hiss)


def tilt(samples: Samples, rng: np.random.Generator, decibels: float) -> Samples:
    """Tilt the spectrum by ``decibels`` from 0 Hz to 8 kHz, linearly in dB over Hz, with zero phase; RMS unchanged."""
    return _at_level_of(samples, _filtered(samples, lambda frequency: _gain(decibels * frequency / (RATE / 2))))


def room(samples: Samples, rng: np.random.Generator, responses: Sequence[Array | Path]) -> Samples:
    """Convolve with a random one of ``responses`` [m] (or their paths), cut to n samples, normalise the peak to 1.

    In a file, the strongest sample is taken as time zero, because the length of the leading part is unknown. Raises
    AudioError if a file cannot be read.
    """
    response = responses[int(rng.integers(len(responses)))]
    if isinstance(response, Path):
        recorded = _read(response)
        response = recorded[np.argmax(np.abs(recorded)) :]
    size = _fast(len(samples) + len(response))
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]
    return (wet / _peak(wet)).astype(np.float32)


@cache
def positions() -> tuple[list[Floats], list[Floats]]:
    """Return impulse responses of a talker 1 m in front, and at eight other places: ([one], [eight]), float64 [m].

    The places are 1, 2 and 3 m away, in front and 45 degrees to either side, in a simulated room of 6 x 5.5 x 2.8 m
    with a reverberation time of .4 s. ser-tests uses the nine places of the MARDY database. Raises as :func:`simulate`.
    """
    microphone = np.array((1.5, 2.75, 1.4))
    places = [
        microphone + metres * np.array((math.cos(angle), math.sin(angle), 0))
        for metres in (1, 2, 3)
        for angle in (0, -math.pi / 4, math.pi / 4)
    ]
    base, *others = (simulate((6.0, 5.5, 2.8), 0.30, place, microphone) for place in places)
    return [base], others


@cache
def rooms() -> tuple[list[Floats], list[Floats]]:
    """Return impulse responses of a booth and of other rooms: ([booth], [meeting, office, lecture]), float64 [m].

    The rooms of :data:`ROOMS`, simulated; ser-tests uses those of the AIR database. Raises as :func:`simulate`.
    """
    booth, *others = (simulate(*layout) for layout in ROOMS.values())
    return [booth], others


def simulate(size: _Point, absorption: float, source: _Point, microphone: _Point) -> Floats:
    """Return the impulse response float64 [m] of a shoebox room; size and positions in m.

    Uses image sources up to order 40 (pyroomacoustics). Raises UsageError if pyroomacoustics is not installed.
    """
    try:
        import pyroomacoustics
    except ImportError:
        raise UsageError("simulated rooms need pyroomacoustics: pip install 'sertool[eval]'") from None
    walls = pyroomacoustics.Material(absorption)
    shoebox = pyroomacoustics.ShoeBox(size, fs=RATE, materials=walls, max_order=40)
    shoebox.add_source(source)
    shoebox.add_microphone(microphone)
    shoebox.compute_rir()
    return np.asarray(shoebox.rir[0][0], np.float64)


def require_codec() -> Any:
    """Return PyAV's AMR-NB encoder for 8 kHz mono int16. Raises UsageError if it is not installed."""
    try:
        import av

        encoder = av.CodecContext.create("libopencore_amrnb", "w")
    except (ImportError, ValueError):  # ValueError: PyAV built without it
        raise UsageError("the telephone check needs PyAV with its AMR encoder: pip install 'sertool[av]'") from None
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = NARROW_RATE, "mono", "s16", 7400
    return encoder


def _amr(samples: Array) -> Array:
    """Encode and decode samples [n] at 8 kHz with AMR-NB at 7.4 kbit/s, and remove the codec's delay."""
    import av

    encoder = require_codec()
    decoder: Any = av.CodecContext.create("amrnb", "r")  # an AudioCodecContext, which the stubs do not say
    decoder.sample_rate, decoder.layout = NARROW_RATE, "mono"
    frame_size, delay = 160, 40
    integers = np.round(np.pad(samples, (0, delay + -(len(samples) + delay) % frame_size)) * 32767).astype(np.int16)
    packets = []
    for start in range(0, len(integers), frame_size):
        frame = av.AudioFrame.from_ndarray(integers[None, start : start + frame_size], format="s16", layout="mono")
        frame.sample_rate, frame.pts = NARROW_RATE, start
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoded = np.concatenate([frame.to_ndarray()[0] for packet in packets for frame in decoder.decode(packet)])
    result: Array = decoded[delay : delay + len(samples)]
    return result


def _compressed(samples: Array) -> Array:
    attack, release = (1 - math.exp(-1 / (NARROW_RATE * seconds)) for seconds in (0.01, 0.02))
    level = 0.0
    levels: list[float] = []
    for value in np.abs(samples).tolist():
        level += (value - level) * (attack if value > level else release)
        levels.append(level)
    decibels: Floats = 20 * np.log10(np.maximum(levels, 1e-10))
    return np.clip(samples * _gain(-0.2 * np.maximum(decibels, -20)), -1, 1)


def _pink(count: int, rng: np.random.Generator) -> Floats:
    """Return noise [count] whose power falls by 3 dB per octave."""
    spectrum = np.fft.rfft(rng.standard_normal(count + count % 2))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    return np.fft.irfft(spectrum)[:count]


def _butterworth(frequency: Floats, cutoff: float, order: int = 1, high: bool = False) -> npt.NDArray[np.complex128]:
    """Return the response of a Butterworth filter (bilinear transform, order 1 or 2) at frequencies [m] in Hz."""
    s = 1j * np.tan(np.pi * frequency / RATE) / math.tan(math.pi * cutoff / RATE)
    response: npt.NDArray[np.complex128] = (s**order if high else 1) / (
        s + 1 if order == 1 else s**2 + math.sqrt(2) * s + 1
    )
    return response


def _filtered(samples: Array, response: Callable[[Floats], Array]) -> Samples:
    """Filter samples [n] with ``response(frequency [m] in Hz)``; the FFT is padded for the filter's ringing."""
    size = _fast(len(samples) + RATE // 8)
    frequency: Floats = np.asarray(np.fft.rfftfreq(size, 1 / RATE), np.float64)
    spectrum = np.fft.rfft(samples.astype(np.float64), size) * response(frequency)
    return np.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32)


def _looped(sound: Samples, count: int, rng: np.random.Generator) -> Samples:
    return np.resize(np.roll(sound, -rng.integers(max(1, len(sound)))), count)


def _mixed(samples: Samples, noise: Array, snr: float) -> Array:
    return samples + noise * (_rms(samples) / _rms(noise) * _gain(-snr))


def _at_level_of(samples: Samples, changed: Array) -> Samples:
    return (changed * (_rms(samples) / _rms(changed))).astype(np.float32)


def _read(path: Path) -> Samples:
    try:
        return audio.read(path)
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from None


def _count(rng: np.random.Generator) -> int:
    return int(rng.choice([100, 500, 1000]))


@overload
def _gain(decibels: float | np.integer[Any]) -> float: ...
@overload
def _gain(decibels: Floats) -> Floats: ...
def _gain(decibels: float | np.integer[Any] | Floats) -> float | Floats:
    """Return the factor for a level change in dB."""
    return 10.0 ** (decibels / 20)


def _rms(samples: Array) -> float:
    return math.sqrt(np.mean(np.square(samples, dtype=np.float64))) or 1.0


def _peak(samples: Array) -> float:
    return float(np.abs(samples).max()) or 1.0


def _fast(count: int) -> int:
    """Return the next power of two, a fast FFT size."""
    return 1 << (count - 1).bit_length()
