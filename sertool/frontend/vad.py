"""Where somebody speaks: a probability every 10 ms, streaming or at once. segments.py makes segments of them."""

import functools

import numpy as np

from .filters import AMIN
from .kernel import as_samples
from .logmel import LogMel

#: Samples a probability stands for: 10 ms.
FRAME = 160

_ROWS = 5  # LogMel rows a frame
_BLOCK, _PAST, _AHEAD = 100, 300, 50  # frames: computed at once, and seen before and after them
_STEP = 10  # frames: the unit in which floor and peak of the level are tracked
_GROUPS = (1, 3, 5, 7, 11, 15, 18, 21, 24, 26)  # borders of nine groups of mel bands; band 0 is empty
_SYNCHRONOUS = [1, 3, 5, 7, 9, 11, *range(12, 24)]  # the bands that share no Fourier bin with another one below 2 kHz
_REACH = (2, 7, 50)  # frames on either side of the three averages: 50 ms, 150 ms, 1 s
_LIMITS = (-10, 40)  # dB over the floor to which levels are clipped
_GAIN = 4096  # puts the noise of quiet recordings, too, above LogMel's -100 dB
_HIDDEN = 8

# [15 features + bias, 8] and [8 + bias], row by row: printed by `python tests/bench/vad.py --fit`, which trains them on
# speech (split "train") mixed with every other file of noise.
_WEIGHTS = np.fromstring(
    """
    .061 -.154 -.0414 -.102 -.0295 -.229 -.351 -.0795 -.109 -.152 -.0174 -.0839 -.449 -.324 -.508 .268 .261 .104 .16
    -.311 .062 -.928 .0813 -.302 -3.28 .0242 -2.85 .624 .175 -.14 1.45 -.34 .152 .114 .0328 -.204 .00974 .661 -.642 .514
    1.04 -.156 .856 -.343 .253 .34 -1.44 1.47 .269 1.03 .0444 -.986 -.364 .452 -.588 -.714 -.862 -1.53 .162 -.145 .8
    -.199 .865 1.15 .422 .046 -.27 -.309 1.63 -.51 1.08 .578 .248 .0871 .409 1.2 -.423 -.0697 -.15 -1.62 -.296 -1.02
    .0819 .0558 -.416 -.161 1.02 -1.67 -.0785 -1.36 .169 .148 .786 .429 -1.21 -1.25 .311 -.152 -.0828 -.0663 .906 -.556
    -.561 1.1 -.0287 -.00263 -.0752 .714 1.11 -.188 -.226 .131 .0426 .304 .296 1.18 -.552 -.402 .323 -.835 .292 .579
    .294 5.5 -.246 -.52 .0541 -1.49 -1.3 -1.07 -1.12 -.609 -1.31 -1.38 -.804 .982 1.12
    """,
    dtype=np.float32,
    sep=" ",
)


class Vad:
    """Streaming probabilities of speech: push samples as they come, get those of the frames that can be told.

    16 kHz samples in, float32 [frames] between 0 and 1 out, one per 160 samples; ceil(n / 160) in all, the last frame
    may be cut short. What follows within 0.6 s is taken into account, and frames are computed 100 at a time: each is
    told at the latest 1.5 s after it. Memory does not depend on the length, nor the bits on how the samples are cut
    into pushes, nor what is found on the level.

    Seen are the level over the floor of the last 3 s, its spread within 1 s, how far the bands rise and fall together
    within 10 ms, as they do with the pulses of a voice, and the shape of the spectrum. A network of 8 hidden units
    joins them.
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
        """[frames, 15] -> probabilities [frames]."""
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
    """Rows that average, Hann windowed, over each of _REACH around each frame of a block: float32 [3 * 100, 200]."""
    rows = np.zeros((len(_REACH), _BLOCK, _AHEAD + _BLOCK + _AHEAD), np.float32)
    for matrix, reach in zip(rows, _REACH, strict=True):
        window = np.hanning(2 * reach + 3)[1:-1]
        for t, row in enumerate(matrix, _AHEAD):
            row[t - reach : t + reach + 1] = window / window.sum()
    return rows.reshape(-1, rows.shape[-1])


def _describe(rows: np.ndarray) -> np.ndarray:
    """LogMel rows [500, 26] -> [100, 11]: dB of the nine groups, their mean, synchrony of the bands (0 to 1)."""
    rows = rows.reshape(_BLOCK, _ROWS, -1)
    groups = np.add.reduceat(rows.mean(axis=1), _GROUPS[:-1], axis=1) / np.diff(_GROUPS).astype(np.float32)
    moves = rows[:, :, _SYNCHRONOUS]
    moves = moves - moves.mean(axis=1, keepdims=True)
    together, each = (moves.mean(axis=2) ** 2).mean(axis=1), (moves**2).mean(axis=(1, 2))
    return np.column_stack([groups, groups.mean(axis=1), together / (each + 1)])


def _features(seen: np.ndarray) -> np.ndarray:
    """What the network sees of the block in the midst of _describe's [450, 11]: float32 [100, 15]."""
    steps = seen[:, :10].reshape(-1, _STEP, 10).mean(axis=1)
    steps = np.lib.stride_tricks.sliding_window_view(steps, (_PAST + _AHEAD) // _STEP + 1, axis=0)
    peak = steps[:, 9].max(axis=-1)
    floor = np.maximum(steps[:, :9].min(axis=-1), peak[:, None] - 50).mean(axis=1)  # digital silence is no floor
    around, origin = seen[_PAST - _AHEAD :], seen[_PAST, 9]
    level = around[:, 9:10] - origin  # squares of small numbers keep their digits
    averages = _averages() @ np.concatenate([around[:, :9], level, level**2, around[:, 10:]], axis=1)
    short, middle, long = averages.reshape(len(_REACH), _BLOCK, -1)
    levels = np.stack([short[:, 9], middle[:, 9], long[:, 9]]) + (origin - np.repeat(floor, _STEP))
    spread = np.sqrt(np.maximum(long[:, 10] - long[:, 9] ** 2, 0))
    shape = long[:, :9].T - long[:, :9].mean(axis=1)
    synchrony = np.stack([middle[:, 11], long[:, 11]])
    return np.concatenate([np.clip(levels, *_LIMITS) / 10, spread[None] / 10, 5 * synchrony, shape / 10]).T
