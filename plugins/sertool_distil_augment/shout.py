"""Make speech sound shouted: pitch-synchronous overlap-add with higher pitch, longer vowels and a flatter spectrum."""

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sertool._types import Floats, Samples
from sertool.audio.spectrum import filtered
from sertool.errors import UsageError

HOP = 160  # samples between pitch estimates
WINDOW = 512  # samples compared with those one period later
SHORTEST, LONGEST = 32, 228  # range of periods in samples: 500 to 70 Hz
VOICED = 0.65  # normalised correlation above which a frame counts as voiced
QUIET = 1e-4  # power, relative to the loudest frame, below which a frame counts as unvoiced
SHORTEST_RUN = 4  # frames
BLOCK = 2000  # frames correlated at a time, so that a long recording takes no more memory than 20 s
TILT_FROM, TILT_TO = 500.0, 4000.0  # Hz between which the spectrum is tilted up

_Ints: TypeAlias = npt.NDArray[np.int_]


class Shout:
    """Make the voiced parts of speech sound shouted: higher, longer, brighter.

    Three parameters are drawn uniformly from [low, high] for each clip: ``pitch``, the factor on F0; ``stretch``, the
    factor on the duration of the voiced parts; ``tilt``, the decibels per octave by which the spectrum of the voiced
    parts is raised from 500 Hz to 4 kHz (and constant above). Formants do not move. Unvoiced parts are copied (except
    for a cross-fade of one period at the boundaries of voiced parts), so that a clip without voice, such as silence or
    white noise, is returned unchanged; short parts of music or low rumble may be classified as voice. The clip gets
    longer with its voiced parts; energy and range change and may exceed full scale. Raises UsageError for an invalid
    range.

    The kinds of change are from Raitio, Suni, Pohjalainen, Airaksinen, Vainio and Alku, "Analysis and synthesis of
    shouted speech" (Interspeech 2013), which arXiv 2408.13920 uses; the amounts are our choice, below the factor of
    nearly two on F0 that Andersson, Eriksson and Traunmueller report ("Cries and whispers", TMH-QPSR 2/1996). Method:
    TD-PSOLA (Moulines and Charpentier, Speech Communication 9, 1990), pitch by normalised autocorrelation.
    """

    def __init__(
        self,
        pitch: Sequence[float] = (1.4, 1.9),
        stretch: Sequence[float] = (1.1, 1.3),
        tilt: Sequence[float] = (2.0, 5.0),
    ) -> None:
        self.pitch = _range("pitch", pitch, positive=True)
        self.stretch = _range("stretch", stretch, positive=True)
        self.tilt = _range("tilt", tilt)

    def __call__(self, samples: Samples, rng: np.random.Generator) -> Samples:
        pitch, stretch, tilt = (rng.uniform(*limits) for limits in (self.pitch, self.stretch, self.tilt))
        runs = [marks for run in _voiced(samples) if len(marks := _marks(samples, *run)) > 2]
        if not runs:
            return samples.copy()
        bright = _tilted(samples, tilt)
        ends = np.array([0, *(int(at) for marks in runs for at in np.rint(marks[[0, -1]])), len(samples)])
        gaps = np.diff(ends)[::2]  # before, between and after the runs
        pieces: list[tuple[int, Samples]] = []  # (position in the result, samples to add there)
        read = write = fall = 0  # position in the clip, position in the result, fade-out of the previous run
        for marks, before, after in zip(runs, gaps, gaps[1:], strict=False):
            rise = min(int(marks[1] - marks[0]), before // 2)
            pieces.append((write, samples[read : read + before] * _window(fall, before, rise)))
            fall = min(int(marks[-1] - marks[-2]), after // 2)
            places, order = _schedule(marks, pitch, stretch)
            places += write + before
            grains = _grains(bright, marks, rise, fall)
            pieces += [(place - grains[k][0], grains[k][1]) for place, k in zip(places, order, strict=True)]
            read, write = int(np.rint(marks[-1])), places[-1]
        pieces.append((write, samples[read:] * _window(fall, len(samples) - read, 0)))
        result = np.zeros(write + len(samples) - read, np.float32)
        for place, piece in pieces:
            result[place : place + len(piece)] += piece
        return result


def _range(name: str, limits: Any, positive: bool = False) -> tuple[float, float]:
    try:
        low, high = map(float, limits)
        if low <= high and (low > 0 or not positive):
            return low, high
    except (TypeError, ValueError):
        pass  # not two numbers: the error below
    raise UsageError(f"shout: {name} must be [low, high]{' above 0' if positive else ''}, not {limits!r}")


def _voiced(samples: Samples) -> list[tuple[int, _Ints]]:
    """Return the voiced runs: (first frame, period in samples of each frame); frame i is centred at i * HOP."""
    span = WINDOW + LONGEST + 1
    padded = np.pad(samples, (span // 2, span))
    framed = np.lib.stride_tricks.sliding_window_view(padded, span)[: len(samples) : HOP]
    parts = [_periods(framed[at : at + BLOCK]) for at in range(0, len(framed), BLOCK)]
    period, similarity, power = (np.concatenate(part) for part in zip(*parts, strict=True))
    sure = (similarity > VOICED) & (power > QUIET * power.max())
    voiced = np.convolve(sure, np.ones(5), "same") > 2  # remove isolated frames and gaps
    edges = np.flatnonzero(np.diff(voiced, prepend=False, append=False))
    runs = []
    for first, end in edges.reshape(-1, 2):
        if end - first < SHORTEST_RUN:
            continue
        periods, usual = period[first:end], np.median(period[first:end][sure[first:end]])
        # Pitch trackers often return half or a multiple of the period.
        periods = np.where((periods > usual / 1.5) & (periods < usual * 1.5), periods, usual)
        runs.append((int(first), periods.astype(int)))
    return runs


def _periods(framed: Samples) -> tuple[_Ints, Floats, Floats]:
    """Return (period in samples, its normalised correlation, power), each [frames].

    ``framed`` is [frames, WINDOW + LONGEST + 1].
    """
    size = 768  # at least span + 1, so that none of the lags wraps around
    spectrum = np.fft.rfft(framed, size)
    product = np.fft.irfft(np.conj(np.fft.rfft(framed[:, :WINDOW], size)) * spectrum, size)
    lags = slice(SHORTEST - 1, LONGEST + 2)
    sums = np.cumsum(np.square(framed, dtype=np.float64), axis=1)
    sums = np.pad(sums, ((0, 0), (1, 0)))
    later = (sums[:, WINDOW:] - sums[:, :-WINDOW])[:, lags]
    similarity = product[:, lags] / np.sqrt(later * sums[:, WINDOW : WINDOW + 1] + 1e-20)
    inner = similarity[:, 1:-1]
    # Only peaks count: the correlation of rumble decreases from lag 0 and would look like the shortest period.
    peaks = np.where((inner > similarity[:, :-2]) & (inner >= similarity[:, 2:]), inner, 0)
    best = peaks.max(axis=1)
    # Take the first peak nearly as high as the highest: multiples of the period correlate as well as the period.
    period = SHORTEST + np.argmax(peaks >= 0.93 * best[:, None], axis=1)
    return period, best, sums[:, -1]


def _marks(samples: Samples, first: int, periods: _Ints) -> Floats:
    """Return the pitch marks of a run, float64 in samples, ascending, one per period: its highest peak repeated."""
    start = max(0, first * HOP - HOP // 2)
    end = min(len(samples), (first + len(periods)) * HOP - HOP // 2)
    peak = float(start + np.argmax(np.abs(samples[start:end])))
    before, after = (_walk(samples, peak, first, periods, start, end, step) for step in (-1, 1))
    return np.array([*before[::-1], peak, *after])


def _walk(samples: Samples, place: float, first: int, periods: _Ints, start: int, end: int, step: int) -> list[float]:
    """Return the marks from ``place`` in one direction, each where the clip is most similar to the previous mark."""
    marks: list[float] = []
    while True:
        at = round(place)
        period = int(periods[min(max(round(at / HOP) - first, 0), len(periods) - 1)])
        half, spread = period // 2, max(2, period * 3 // 20)
        left, right = at + step * period - half - spread, at + step * period + half + spread + 1
        inside = start <= at + step * period < end and min(left, at - half) >= 0
        if not inside or max(right, at + half + 1) > len(samples):
            return marks
        similarity = np.correlate(samples[left:right], samples[at - half : at + half + 1])
        best = int(np.argmax(similarity))
        # Interpolate to fractions of a sample, or rounding errors would accumulate from period to period.
        shift = 0.0
        if 0 < best < len(similarity) - 1:
            a, b, c = (float(value) for value in similarity[best - 1 : best + 2])
            shift = (a - c) / (2 * (a - 2 * b + c)) if a - 2 * b + c < 0 else 0.0
        place += step * period + best - spread + shift
        marks.append(place)


def _schedule(marks: Floats, pitch: float, stretch: float) -> tuple[_Ints, _Ints]:
    """Return the position of each grain, from 0, and the index of its mark, from the first to the last of the run."""
    last, rate = len(marks) - 1, pitch * stretch  # periods in the run, output periods per input period
    periods = np.arange(round(last * rate) + 1) / rate
    at = np.interp(periods, np.arange(last + 2), np.append(marks, 2 * marks[-1] - marks[-2]))
    order = np.minimum(np.rint(periods), last).astype(int)
    order[-1] = last
    # Grains are cut at whole samples, a fraction of a sample off their marks: add the same offset to the position.
    offset = (np.rint(marks) - marks)[order]
    return np.rint((at - marks[0]) * stretch + offset - offset[0]).astype(int), order


def _grains(samples: Samples, marks: Floats, rise: int, fall: int) -> list[tuple[int, Samples]]:
    """Return for each mark (number of samples before it, samples between its neighbours, faded in and out)."""
    whole = np.rint(marks).astype(int)
    widths = [rise, *np.diff(whole), fall]
    return [
        (left, samples[at - left : at + right] * np.concatenate([_fade(left), 1 - _fade(right)]))
        for at, left, right in zip(whole, widths, widths[1:], strict=False)
    ]


def _window(rise: int, length: int, fall: int) -> Samples:
    """Return ones, float32 [length], that fade in over ``rise`` and out over ``fall`` samples."""
    window = np.ones(length, np.float32)
    window[:rise] = _fade(rise)
    window[length - fall :] = 1 - _fade(fall)
    return window


@functools.cache
def _fade(length: int) -> Samples:
    """Return the rising half of a Hann window, float32 [length]; with its complement it adds up to 1."""
    return (0.5 - 0.5 * np.cos(np.pi * np.arange(length) / max(1, length))).astype(np.float32)


def _tilted(samples: Samples, tilt: float) -> Samples:
    """Raise the spectrum by ``tilt`` dB per octave from TILT_FROM to TILT_TO, without delay."""

    def response(hertz: Floats) -> Floats:
        octaves = np.log2(np.clip(hertz, TILT_FROM, TILT_TO) / TILT_FROM)
        factors: Floats = 10 ** (tilt * octaves / 20)
        return factors

    return filtered(samples, response)
