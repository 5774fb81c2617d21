"""Where somebody speaks: a probability every 10 ms, and segments from probabilities.

Two calls, each streaming or at once: what finds the probabilities can be replaced without touching the segments.
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np

from .filters import AMIN, SAMPLE_RATE
from .kernel import as_samples
from .logmel import LogMel

#: Samples a probability stands for: 10 ms.
FRAME = 160

_ROWS = 5  # LogMel rows a frame
_BLOCK, _PAST, _AHEAD = 100, 300, 50  # frames: computed at once, and seen before and after them
_STEP = 10  # frames: the unit in which floor and peak of the level are tracked
_GROUPS = (1, 3, 5, 7, 11, 15, 18, 21, 24, 26)  # borders of nine groups of mel bands; band 0 is empty
_SYNCHRONOUS = [1, 3, 5, 7, 9, 11, *range(12, 24)]  # the bands that share no Fourier bin with another one below 2 kHz
_REACH = ((2, 2), (7, 7), (20, 20), (50, 50), (250, 50))  # frames before and after, of every average
_LIMITS = (-10, 40)  # dB to which differences of levels are clipped
_GAIN = 4096  # puts the noise of quiet recordings, too, above LogMel's -100 dB
_HIDDEN = 8

# [24 features + bias, 8] and [8 + bias], row by row: printed by `python tests/bench/vad.py --fit`, which trains them on
# speech (split "train") mixed with every other file of noise.
_WEIGHTS = np.array(
    """
-.444 -.386 -.216 -.084 -.268 -.121 .27 -.197 .036 -.438 -.118 -.134 -.264 .0789 -.0787 -.523 -.371 .482 -.0437 .137
-.352 .212 .29 .299 -.335 .481 .221 .551 -.0808 .174 -.221 .358 -.709 .0732 -1.12 .03 .904 -.208 .0931 -.517 .103
.0297 .475 -.539 .182 .097 -.387 .031 -.188 -.545 .115 -.0868 .462 -.342 .0149 -.199 1.29 .122 .0372 -5.99 -2.13 -.629
-.334 1.08 -.111 -1.49 -.591 -1.56 .231 .226 .561 -2.27 .234 -.163 -.474 -.00922 .388 -.0156 .355 -.674 -.165 -.272
-.0668 .0275 .019 -.0567 .218 .13 .0392 .617 -.0356 .0827 -.0128 .16 -.129 -.621 -.235 .218 1.1 .315 .567 .261 .932
-.12 -.459 2.08 -.832 1.3 -.182 1.84 .374 .368 1.47 .538 -1.06 .49 -.89 -1.82 -.806 -.786 -1.49 -1 .997 .447 -1.48
.0479 -.866 -.675 .839 .993 .0246 -.527 1.55 -2.31 1.65 .63 1.41 -.0574 -.212 -.602 .315 .706 .364 -.616 1.21 .579
.0344 .76 -.0271 .376 -2.85 2.08 1.08 .537 -1.64 -.175 -.431 .342 -.569 -3.08 -1.17 -.532 -3.24 .295 -.154 1.03 -.166
-1.93 .721 .853 1.31 -.28 .792 -.521 .223 .484 -.246 -.0304 .444 -.108 .239 1.17 -.59 .913 .702 .11 -.0291 .0308
-.0555 .0135 -.0876 -.528 1.9 .686 -.686 1.14 .693 1.88 -1.26 4.07 -1.16 1.09 -1.23 -2.25 -1.54 -1.51 .946 .792 -.0974
""".split(),  # noqa: SIM905
    np.float32,
)


class Vad:
    """Streaming probabilities of speech: push samples as they come, get those of the frames that can be told.

    16 kHz samples in, float32 [frames] between 0 and 1 out, one per 160 samples; ceil(n / 160) in all, the last frame
    may be cut short. What follows within 0.6 s is taken into account, and frames are computed 100 at a time: each is
    told at the latest 1.5 s after it. Memory does not depend on the length, nor the bits on how the samples are cut
    into pushes, nor what is found on the level.

    Seen are differences of level only: to floor and peak of the last 3 s, their spread, the shape of the spectrum, and
    how far the bands rise and fall together within 10 ms, as they do with the pulses of a voice. A network of 8 hidden
    units joins them.
    """

    def __init__(self):
        self._kernel = LogMel(64)
        self._kernel.normalise(0, _GAIN)
        self._rows = np.empty((0, self._kernel.geometry.n_mels), np.float32)
        self._seen = None  # what _describe says of the last _PAST + _BLOCK + _AHEAD frames
        self._samples = self._blocks = 0

    def push(self, samples) -> np.ndarray:
        """Take float32 [n] in, return [frames]; ValueError on NaN or infinity, and nothing was taken."""
        samples = as_samples(samples)
        rows = self._kernel.push(samples)
        self._samples += len(samples)
        return self._advance(np.concatenate([self._rows, rows]))

    def finish(self) -> np.ndarray:
        """The probabilities [frames] still missing; then ready for another recording."""
        missing = -(-self._samples // FRAME) - max(0, self._blocks * _BLOCK - _AHEAD)
        blocks = -(-(missing + (0 if self._blocks else _AHEAD)) // _BLOCK) if missing else 0
        if self._samples >= self._kernel.geometry.shortest:
            last = self._kernel.finish()
        else:
            last = np.full((1, self._rows.shape[1]), 10 * np.log10(AMIN), np.float32)
        rows = np.concatenate([self._rows, last])
        size = blocks * _BLOCK * _ROWS
        out = self._advance(np.pad(rows, ((0, max(0, size - len(rows))), (0, 0)), "edge")[:size])[:missing]
        self.__init__()
        return out

    def _advance(self, rows: np.ndarray) -> np.ndarray:
        """Compute all whole blocks, always of one size: numpy's bits depend on sizes."""
        size, done = _BLOCK * _ROWS, []
        while len(rows) >= size:
            frames, rows = _describe(rows[:size]), rows[size:]
            first = self._seen is None
            past = np.repeat(frames[:1], _PAST + _AHEAD, axis=0) if first else self._seen[_BLOCK:]
            self._seen = np.concatenate([past, frames])
            self._blocks += 1
            done.append(self._decide(_features(self._seen))[_AHEAD if first else 0 :])
        self._rows = rows.copy()
        return np.concatenate(done) if done else np.empty(0, np.float32)

    def _decide(self, features: np.ndarray) -> np.ndarray:
        """[frames, 24] -> probabilities [frames]."""
        split = (features.shape[1] + 1) * _HIDDEN
        inner, outer = _WEIGHTS[:split].reshape(-1, _HIDDEN), _WEIGHTS[split:]
        hidden = np.maximum(features @ inner[:-1] + inner[-1], 0)
        return 0.5 + 0.5 * np.tanh(0.5 * (hidden @ outer[:-1] + outer[-1]))


def probabilities(samples) -> np.ndarray:
    """Probabilities of speech, float32 [ceil(n / 160)], of float32 [n], 16 kHz: those of Vad, bit for bit.

    Raises ValueError on NaN or infinity.
    """
    vad = Vad()
    return np.concatenate([vad.push(samples), vad.finish()])


@functools.cache
def _averages() -> np.ndarray:
    """Rows that average over each of _REACH around each frame of a block, float32 [5 * 100, 450]."""
    rows = np.zeros((len(_REACH), _BLOCK, _PAST + _BLOCK + _AHEAD), np.float32)
    for matrix, (before, after) in zip(rows, _REACH, strict=True):
        width = before + after + 1
        window = np.hanning(width + 2)[1:-1] if before == after else np.ones(width)
        for t, row in enumerate(matrix, _PAST):
            row[t - before : t + after + 1] = window / window.sum()
    return rows.reshape(-1, rows.shape[-1])


def _describe(rows: np.ndarray) -> np.ndarray:
    """LogMel rows [500, 26] -> [100, 11]: dB of the nine groups, their mean, synchrony of the bands (0 to 1)."""
    rows = rows.reshape(_BLOCK, _ROWS, -1)
    mean = rows.mean(axis=1)
    groups = np.stack([mean[:, a:b].mean(axis=1) for a, b in itertools.pairwise(_GROUPS)], axis=1)
    moves = rows[:, :, _SYNCHRONOUS]
    moves = moves - moves.mean(axis=1, keepdims=True)
    together, each = (moves.mean(axis=2) ** 2).mean(axis=1), (moves**2).mean(axis=(1, 2))
    return np.column_stack([groups, groups.mean(axis=1), together / (each + 1)])


def _features(seen: np.ndarray) -> np.ndarray:
    """What the network sees of the block in the midst of _describe's [450, 11]: float32 [100, 24]."""
    steps = seen[:, :10].reshape(-1, _STEP, 10).mean(axis=1)
    steps = np.lib.stride_tricks.sliding_window_view(steps, (_PAST + _AHEAD) // _STEP + 1, axis=0)
    peak = steps[:, 9].max(axis=-1)
    floor = np.maximum(steps[:, :9].min(axis=-1), peak[:, None] - 50).mean(axis=1)  # digital silence is no floor
    peak, floor = np.repeat(peak, _STEP), np.repeat(floor, _STEP)
    origin = seen[_PAST, 9]  # squares of small numbers keep their digits
    level = seen[:, 9:10] - origin
    averages = _averages() @ np.concatenate([seen[:, :9], level, level**2, seen[:, 10:]], axis=1)
    averages = averages.reshape(len(_REACH), _BLOCK, -1)
    levels, synchrony = averages[:, :, 9] + origin, averages[:, :, 11]
    spread = np.sqrt(np.maximum(averages[2:, :, 10] - averages[2:, :, 9] ** 2, 0))
    shape = averages[3, :, :9].T
    differences = np.clip(np.stack([*(levels - floor), peak - floor, peak - levels[1]]), *_LIMITS)
    return np.concatenate([differences / 10, spread / 10, 5 * synchrony, (shape - shape.mean(axis=0)) / 10]).T


@dataclass(frozen=True)
class Parameters:
    """What makes a segment of probabilities: speech begins at ``threshold`` and ends below ``lower``; the rest in s.

    An end counts once ``shortest_silence_s`` have passed since without reaching the threshold again. Segments shorter
    than ``shortest_speech_s`` are dropped, the others lengthened by ``padding_s`` on both sides, at most to the middle
    of a pause. Raises ValueError unless 0 <= lower <= threshold <= 1 and no time is negative.
    """

    threshold: float = 0.5
    lower: float = 0.35
    shortest_speech_s: float = 0.25
    shortest_silence_s: float = 0.1
    padding_s: float = 0.03

    def __post_init__(self):
        if not 0 <= self.lower <= self.threshold <= 1:
            raise ValueError(
                f"thresholds: 0 <= {self.lower} (lower) <= {self.threshold} (threshold) <= 1 does not hold"
            )
        if not min(self.shortest_speech_s, self.shortest_silence_s, self.padding_s) >= 0:
            raise ValueError(f"times must be 0 or more: {self}")


class Segmenter:
    """Streaming segments of speech, (start, end) in samples: in order, without overlaps, however they are pushed.

    The rules are those of silero-vad's get_speech_timestamps (without its limit on a segment's length): what runs at
    the end of the recording ends there. A segment is given as soon as its end is certain.
    """

    def __init__(self, parameters: Parameters = Parameters()):
        self.parameters = parameters
        times = (parameters.shortest_speech_s, parameters.shortest_silence_s, parameters.padding_s)
        self._speech, self._silence, self._padding = (round(time * SAMPLE_RATE) for time in times)
        self._reset()

    def _reset(self) -> None:
        self._position = 0
        self._start = self._end = None  # of the segment that runs; its end is set while it is not certain
        self._held = None  # the last segment, as long as the next may begin too near for all of its padding

    @property
    def uncertain(self) -> int:
        """The first sample that a segment still to come may have."""
        if self._held:
            return self._held[0]
        return max(0, (self._position if self._start is None else self._start) - self._padding)

    def push(self, probabilities) -> list[tuple[int, int]]:
        """Take [frames] in, return the segments that became certain."""
        done = []
        for probability in np.asarray(probabilities).tolist():
            if probability >= self.parameters.threshold:
                self._end = None
                if self._start is None:
                    self._start = self._position
            elif probability < self.parameters.lower and self._start is not None:
                if self._end is None:
                    self._end = self._position
                if self._position - self._end >= self._silence:
                    done += self._close(self._end)
            self._position += FRAME
        if self._held:
            start, end = self._held
            if (self._position if self._start is None else self._start) - end >= 2 * self._padding:
                done.append((start, end + self._padding))
                self._held = None
        return done

    def finish(self, length: int | None = None) -> list[tuple[int, int]]:
        """The rest, for a recording of ``length`` samples (left out: whole frames); then ready for another one.

        ValueError if so many samples do not make as many frames as were pushed.
        """
        length = self._position if length is None else length
        if -(-length // FRAME) * FRAME != self._position:
            raise ValueError(f"{length} samples are not the {self._position // FRAME} frames pushed")
        done = self._close(length) if self._start is not None else []
        if self._held:
            start, end = self._held
            done.append((start, min(length, end + self._padding)))
        self._reset()
        return done

    def _close(self, end: int) -> list[tuple[int, int]]:
        """End the segment that runs; the one before it, if it was held."""
        start, self._start, self._end = self._start, None, None
        if end - start < self._speech:
            return []
        if self._held is None:
            self._held = max(0, start - self._padding), end
            return []
        held_start, held_end = self._held
        margin = min(self._padding, (start - held_end) // 2)
        self._held = start - margin, end
        return [(held_start, held_end + margin)]


def segments(probabilities, parameters: Parameters = Parameters(), samples: int | None = None) -> list[tuple[int, int]]:
    """Segments (start, end) in samples of the probabilities [frames] of a whole recording of so many samples.

    The rules are Segmenter's. Raises ValueError if so many samples do not make as many frames.
    """
    segmenter = Segmenter(parameters)
    return segmenter.push(probabilities) + segmenter.finish(samples)
