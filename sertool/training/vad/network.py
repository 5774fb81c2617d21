"""The voice activity detector's network in torch and its input features; csrc/vad.c computes the same."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from sertool._types import Samples
from sertool.features.logmel import LogMel
from sertool.speech.detector import FRAME

ROWS = 10  # LogMel rows per step: 20 ms, two frames
FRAMES = 2
BANDS = 25  # of the 26 mel bands; the first contains no Fourier bin
LATE = 10  # output is delayed by this many steps (0.2 s look-ahead)
GAIN = 8192.0  # raises the noise of quiet recordings above LogMel's floor of -100 dB
EMPHASIS = 0.97  # share of the previous sample to subtract: keeps breath and wind out of the bands of voices
FLAT = 4 / 32768  # a frame with at most this range is silence, dithered or not, and does not update floor and top
FROZEN = 0.5 / 32768  # samples that change by less than one 16-bit step are replaced by noise of one step
BLOCK = 32  # samples per block; a block is frozen as a whole
FALL, RISE = 0.3, 0.06  # floor of a band: share of the way down, dB up per step
ATTACK, DECAY = 0.2, 0.01  # top of the level: share of the way up, dB down per step
FAINT = -10.0  # dB: below this top, a recording is fainter than speech with peaks of -45 dBFS
GROUPS, MOVES, MIXED, UNITS = 6, 16, 32, 32
SEEN = 2 * BANDS + 2


def flat(samples: Samples) -> npt.NDArray[np.bool_]:
    """Return bool [frames]: whether the samples of each frame of float32 [n] hardly change; the last can be shorter."""
    frames = np.pad(samples, (0, -len(samples) % FRAME), "edge").reshape(-1, FRAME)
    is_flat: npt.NDArray[np.bool_] = np.ptp(frames, axis=1) <= np.float32(FLAT)
    return is_flat


def dithered(samples: Samples) -> Samples:
    """Return float32 [n]: samples that stay at the level of the preceding frozen block become its middle plus noise."""
    blocks = samples[: len(samples) // BLOCK * BLOCK].reshape(-1, BLOCK)
    low, high = blocks.min(axis=1), blocks.max(axis=1)
    middles = np.where(high - low <= np.float32(FROZEN), np.float32(0.5) * (low + high), np.float32(np.nan))
    before = np.concatenate([[np.float32(np.nan)], middles])[np.arange(len(samples)) // BLOCK]
    bits: npt.NDArray[np.uint32] = np.arange(len(samples), dtype=np.uint32) * np.uint32(0x9E3779B1)
    bits = (bits ^ bits >> np.uint32(15)) * np.uint32(0x85EBCA6B)
    bits = (bits ^ bits >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    noise = (bits ^ bits >> np.uint32(16)).view(np.int32).astype(np.float32) / np.float32(32768 * 2**31)
    return np.where(np.abs(samples - before) <= np.float32(FROZEN), before + noise, samples)


def rows(samples: Samples) -> npt.NDArray[np.float32]:
    """Return the LogMel, float32 [10 * steps, 26], of float32 [n] after pre-emphasis.

    The last row is repeated up to the end of the last step.
    """
    samples = dithered(samples)
    kernel = LogMel(64)
    kernel.normalise(0, GAIN)
    before = np.concatenate([samples[:1], samples[:-1]])
    parts = [kernel.push(samples - np.float32(EMPHASIS) * before)]
    parts.append(
        kernel.finish() if len(samples) >= kernel.geometry.shortest else np.full((1, BANDS + 1), -100, np.float32)
    )
    logmel = np.concatenate(parts)
    steps = -(-len(samples) // (FRAMES * FRAME)) + LATE
    return np.pad(logmel, ((0, max(0, steps * ROWS - len(logmel))), (0, 0)), "edge")[: steps * ROWS]


def silent(samples: Samples) -> npt.NDArray[np.bool_]:
    """Return bool [steps]: whether each step of ``rows`` is flat; the steps after the end are."""
    frames = flat(samples)
    steps = -(-len(frames) // FRAMES) + LATE
    padded = np.pad(frames, (0, steps * FRAMES - len(frames)), constant_values=True)
    return np.asarray(padded.reshape(-1, FRAMES).all(axis=1))


def seen(rows: npt.NDArray[Any], silent: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Turn LogMel [10 * steps, 26] and silent [steps] into the network's inputs [steps, 52] and moves [steps, 10, 25].

    The inputs, in 10 dB: the bands relative to their mean, the bands relative to their floors, the mean relative to its
    top. The moves, in 5 dB: the variation of the bands within a step, which the pulses of a voice cause. These are all
    differences, so they do not depend on the recording's level. The last input is how much fainter the recording is
    than speech with peaks of -45 dBFS, and 0 for all louder recordings.
    """
    bands = rows[:, 1:].reshape(-1, ROWS, BANDS)
    means = bands.mean(axis=1)
    levels = means.mean(axis=1)
    floors, tops, started = np.empty_like(means), np.empty_like(levels), False
    for step, (band, level, quiet) in enumerate(zip(means, levels, silent, strict=True)):
        if not started:
            floor, top = band, level
        elif not quiet:
            floor = floor + np.where(band < floor, FALL * (band - floor), np.minimum(RISE, band - floor))
            top = top + (ATTACK * (level - top) if level > top else max(-DECAY, level - top))
        started |= not quiet
        floors[step], tops[step] = floor, top
    inputs = [
        np.clip((means - levels[:, None]) / 10, -3, 3),
        np.clip((means - floors) / 10, -1, 4),
        np.clip((levels - tops) / 10, -4, 2)[:, None],
        np.clip((tops - FAINT) / 5, -3, 0)[:, None],
    ]
    return np.concatenate(inputs, axis=1), np.clip((bands - means[:, None]) / 5, -4, 4)


class Network(nn.Module):
    """Inputs [recordings, steps, 52], moves [recordings, steps, 10, 25] -> logits [recordings, steps, 2 frames].

    The absolute values of 16 linear patterns of the moves are added to the inputs of a recurrent layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.groups = nn.Linear(BANDS, GROUPS, bias=False)
        self.patterns = nn.Linear(ROWS * GROUPS, MOVES)
        self.mix = nn.Linear(SEEN + MOVES, MIXED)
        self.memory = nn.GRU(MIXED, UNITS, batch_first=True)
        self.head = nn.Linear(UNITS, FRAMES)

    def forward(
        self, inputs: torch.Tensor, moves: torch.Tensor, state: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        patterns = self.patterns(self.groups(moves).flatten(2)).abs()
        mixed = self.mix(torch.cat([inputs, patterns], dim=2)).relu()
        remembered, state = self.memory(mixed, state)
        return self.head(remembered), state
