"""Changes to a recording that leave its emotion as it was: small edits, noise, a telephone, tilt, rooms.

Each takes float32 [n] at 16 kHz with sound in it, and a numpy Generator, and returns new float32 samples, of the same
length unless it says otherwise and at whatever level comes of it: nothing but :func:`clip` and the telephone's
compressor cuts at +-1. Definitions: audEERING's ser-tests (docs/method-tests.rst; Derington et al., arXiv 2312.06270).
Where a change has several strengths one is drawn for each recording, as there. Their rule to scale a result whose peak
exceeds 1 back to 1 is left out: a model is given floats.
"""

import math
from functools import cache, partial
from pathlib import Path

import numpy as np

from sertool import audio
from sertool.errors import AudioError, UsageError

RATE = audio.SAMPLE_RATE
NARROW_RATE = 8000

#: What the spectral tilt adds to or takes from 8 kHz relative to 0 Hz, in dB. ser-tests publishes its two filters only
#: as a drawing of straight lines over linear frequency on a 30 dB axis, so the size is chosen here.
TILT_DB = 20.0

#: Shoebox rooms: size in m, absorption of all walls, source, microphone. Chosen here so that sizes, distances (1.5 to
#: 2.25 m) and reverberation times (.12, .23, .43, .78 s) are of the order of the AIR database's rooms of these names.
ROOMS = {
    "booth": ((3.0, 1.8, 2.2), 0.50, (0.75, 0.9, 1.2), (2.25, 0.9, 1.2)),
    "meeting": ((8.0, 5.0, 3.1), 0.54, (3.0, 2.4, 1.3), (4.9, 2.4, 1.3)),
    "office": ((5.0, 6.4, 2.9), 0.30, (2.4, 2.2, 1.3), (2.4, 4.2, 1.3)),
    "lecture": ((10.8, 10.9, 3.15), 0.30, (5.0, 5.0, 1.5), (7.25, 5.0, 1.5)),
}


def additive_tone(samples, rng):
    """Add a sine of 5 to 7 kHz whose amplitude is 40, 45 or 50 dB below the recording's peak."""
    amplitude = _peak(samples) * _gain(-rng.choice([40, 45, 50]))
    phase = 2 * np.pi * rng.integers(5000, 7001) / RATE * np.arange(len(samples))
    return (samples + amplitude * np.sin(phase)).astype(np.float32)


def append_zeros(samples, rng):
    """100, 500 or 1000 zeros at the end; longer by as much."""
    return np.concatenate([samples, np.zeros(_count(rng), np.float32)])


def prepend_zeros(samples, rng):
    """100, 500 or 1000 zeros at the beginning; longer by as much."""
    return np.concatenate([np.zeros(_count(rng), np.float32), samples])


def clip(samples, rng):
    """Cut the loudest .1, .2 or .3 % of the samples (rounded down, at least one) to the level of the next lower one."""
    count = max(1, int(rng.choice([0.001, 0.002, 0.003]) * len(samples)))
    loudness = np.sort(np.abs(samples))
    ceiling = loudness[max(0, len(samples) - count - 1)]
    return np.clip(samples, -ceiling, ceiling)


def crop_beginning(samples, rng):
    """Without the first 100, 500 or 1000 samples, but never without more than half of them."""
    return samples[min(_count(rng), len(samples) // 2) :].copy()


def crop_end(samples, rng):
    """Without the last 100, 500 or 1000 samples, but never without more than half of them."""
    return samples[: len(samples) - min(_count(rng), len(samples) // 2)].copy()


def gain(samples, rng):
    """2 or 1 dB softer or louder."""
    return samples * np.float32(_gain(rng.choice([-2, -1, 1, 2])))


def high_pass(samples, rng):
    """Butterworth high-pass of order 1 at 50, 100 or 150 Hz."""
    return _filtered(samples, partial(_butterworth, cutoff=rng.choice([50, 100, 150]), high=True))


def low_pass(samples, rng):
    """Butterworth low-pass of order 1 at 7500, 7000 or 6500 Hz."""
    return _filtered(samples, partial(_butterworth, cutoff=rng.choice([7500, 7000, 6500])))


def white_noise(samples, rng):
    """Add Gaussian white noise at a signal-to-noise ratio (RMS) of 35, 40 or 45 dB."""
    return _mixed(samples, rng.standard_normal(len(samples)), rng.choice([35, 40, 45])).astype(np.float32)


def background(samples, rng, noise, snr):
    """Add ``noise(samples, rng)`` [n] at ``snr`` dB (RMS over the whole recording); level (RMS) kept."""
    return _at_level_of(samples, _mixed(samples, noise(samples, rng), snr))


def white(samples, rng):
    """Gaussian white noise [n]."""
    return rng.standard_normal(len(samples))


class Babble:
    """4 to 7 voices at once [n], each a random one of the other ``clips``, from a random point on and repeated.

    ser-tests takes the voices from MUSAN, as loud as they are there, 13 to 20 dB down; here they are brought to one
    level first, so that the 7 dB are all that tells them apart.
    """

    def __init__(self, clips):
        self.clips = clips

    def __call__(self, samples, rng):
        others = [clip for clip in self.clips if clip is not samples]
        mix = np.zeros(len(samples))
        for _ in range(rng.integers(4, 8)):
            voice = others[rng.integers(len(others))]
            mix += _looped(voice, len(samples), rng) / _rms(voice) * _gain(-rng.integers(13, 21))
        return mix


class Recorded:
    """Noise [n] from a random one of ``paths``, from a random point on and repeated; ``once``: at a random place, once.

    A sound that is to come once and is longer than the recording gives a random stretch of itself. Raises AudioError
    for a file that cannot be read, and if twenty draws in turn were silent.
    """

    def __init__(self, paths, once: bool = False):
        self.paths, self.once = paths, once

    def __call__(self, samples, rng):
        for _ in range(20):
            sound = _read(self.paths[rng.integers(len(self.paths))])
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
        raise AudioError(f"{self.paths[0].parent}: too much silence in the noise; take such files out")


def low_quality_phone(samples, rng):
    """A bad telephone line: compressor, AMR narrow-band at 7.4 kbit/s, and a hiss above 3 kHz; level (RMS) kept.

    In ser-tests' order: to 8 kHz, peak to 1; compressor (above -20 dB .8 dB out for 1 dB in, 0 dB staying 0 dB, attack
    .01 s, release .02 s, no knee); AMR-NB and back; to 16 kHz, peak to 1; pink noise with its peak at -25 dB through a
    Butterworth high-pass of order 2 at 3 kHz. The codec's delay of 5 ms is taken out. The codec is that of PyAV's
    wheels (``sertool[av]``); raises UsageError where there is none.
    """
    narrow = audio.resample(samples, RATE, NARROW_RATE)
    line = audio.resample(_amr(_compressed(narrow / _peak(narrow))), NARROW_RATE, RATE)
    line = np.pad(line, (0, max(0, len(samples) - len(line))))[: len(samples)]
    hiss = _pink(len(samples), rng)
    hiss = _filtered(hiss / _peak(hiss) * _gain(-25), partial(_butterworth, cutoff=3000, order=2, high=True))
    return _at_level_of(samples, line / _peak(line) + hiss)


def tilt(samples, rng, decibels):
    """Tilt the spectrum by ``decibels`` from 0 Hz to 8 kHz, linearly in dB over Hz, without delay; level (RMS) kept."""
    return _at_level_of(samples, _filtered(samples, lambda frequency: _gain(decibels * frequency / (RATE / 2))))


def room(samples, rng, responses):
    """Convolve with a random one of ``responses`` [m] (or paths of them), cut to n samples, peak to 1.

    A path is read, and its strongest sample taken as time zero, as nobody knows what stands before it. Raises
    AudioError for a file that cannot be read.
    """
    response = responses[rng.integers(len(responses))]
    if isinstance(response, Path):
        response = _read(response)
        response = response[np.argmax(np.abs(response)) :]
    size = _fast(len(samples) + len(response))
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]
    return (wet / _peak(wet)).astype(np.float32)


@cache
def positions() -> tuple[list, list]:
    """Impulse responses of a talker 1 m in front, and of eight other places: ([one], [eight]), each float64 [m].

    1, 2 and 3 m away, in front and 45 degrees to either side, in a simulated room of 6 x 5.5 x 2.8 m with a
    reverberation time of .4 s. ser-tests has the nine places of the MARDY database. Raises as :func:`simulate`.
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
def rooms() -> tuple[list, list]:
    """Impulse responses of a recording booth and of other rooms: ([booth], [meeting, office, lecture]), float64 [m].

    The rooms of :data:`ROOMS`, simulated; ser-tests has those of the AIR database. Raises as :func:`simulate`.
    """
    booth, *others = (simulate(*layout) for layout in ROOMS.values())
    return [booth], others


def simulate(size, absorption, source, microphone) -> np.ndarray:
    """Impulse response float64 [m] of a shoebox room (image sources up to order 40; pyroomacoustics), all in m.

    Raises UsageError where pyroomacoustics is not installed.
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


def require_codec():
    """PyAV's AMR-NB encoder, ready to take 8 kHz mono int16. Raises UsageError if it is not there."""
    try:
        import av

        encoder = av.CodecContext.create("libopencore_amrnb", "w")
    except (ImportError, ValueError):  # ValueError: PyAV built without it
        raise UsageError("the telephone needs PyAV with its AMR encoder: pip install 'sertool[av]'") from None
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = NARROW_RATE, "mono", "s16", 7400
    return encoder


def _amr(samples):
    """float32 [n] through AMR-NB at 7.4 kbit/s and back, at 8 kHz, without its delay."""
    import av

    encoder, decoder = require_codec(), av.CodecContext.create("amrnb", "r")
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
    return decoded[delay : delay + len(samples)]


def _compressed(samples):
    attack, release = (1 - math.exp(-1 / (NARROW_RATE * seconds)) for seconds in (0.01, 0.02))
    level, levels = 0.0, []
    for value in np.abs(samples).tolist():
        level += (value - level) * (attack if value > level else release)
        levels.append(level)
    decibels = 20 * np.log10(np.maximum(levels, 1e-10))
    return np.clip(samples * _gain(-0.2 * np.maximum(decibels, -20)), -1, 1)


def _pink(count, rng):
    """Noise [count] whose power falls by 3 dB an octave."""
    spectrum = np.fft.rfft(rng.standard_normal(count + count % 2))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    return np.fft.irfft(spectrum)[:count]


def _butterworth(frequency, cutoff, order=1, high=False):
    """Response of a digital Butterworth filter (bilinear transform) of order 1 or 2 at frequencies [m] in Hz."""
    s = 1j * np.tan(np.pi * frequency / RATE) / math.tan(math.pi * cutoff / RATE)
    return (s**order if high else 1) / (s + 1 if order == 1 else s**2 + math.sqrt(2) * s + 1)


def _filtered(samples, response):
    """samples [n] through a filter with ``response(frequency [m] in Hz)``; room is left for its ringing."""
    size = _fast(len(samples) + RATE // 8)
    spectrum = np.fft.rfft(samples.astype(np.float64), size) * response(np.fft.rfftfreq(size, 1 / RATE))
    return np.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32)


def _looped(sound, count, rng):
    return np.resize(np.roll(sound, -rng.integers(max(1, len(sound)))), count)


def _mixed(samples, noise, snr):
    return samples + noise * (_rms(samples) / _rms(noise) * _gain(-snr))


def _at_level_of(samples, changed):
    return (changed * (_rms(samples) / _rms(changed))).astype(np.float32)


def _read(path):
    try:
        return audio.read(path)
    except AudioError as error:
        raise AudioError(f"{path}: {error}") from None


def _count(rng):
    return int(rng.choice([100, 500, 1000]))


def _gain(decibels):
    return 10.0 ** (decibels / 20)


def _rms(samples):
    return math.sqrt(np.mean(np.square(samples, dtype=np.float64))) or 1.0


def _peak(samples):
    return float(np.abs(samples).max()) or 1.0


def _fast(count):
    return 1 << (count - 1).bit_length()
