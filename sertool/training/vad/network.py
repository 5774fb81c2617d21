"""The network of the voice activity detector in torch, and what it sees; csrc/vad.c runs the same."""

import numpy as np
import torch
from torch import nn

from sertool.features.logmel import LogMel
from sertool.speech.detector import FRAME

ROWS = 10  # LogMel rows of a step: 20 ms, two frames
FRAMES = 2
BANDS = 25  # of the 26 mel bands; the first holds no Fourier bin
LATE = 10  # steps that pass before a step is told: 0.2 s of what follows are heard first
GAIN = 8192.0  # puts the noise of quiet recordings, too, above LogMel's floor of -100 dB
EMPHASIS = 0.97  # of the sample before, taken off each: breath and wind leave the bands of voices alone
FLAT = 4 / 32768  # samples that move by no more are silence, dithered or not: nothing is learnt of them
FROZEN = 0.5 / 32768  # samples that move by less than a step of 16 bits are heard as noise of one step
BLOCK = 32  # samples that are frozen together or not
FALL, RISE = 0.3, 0.06  # the floor of a band: share of the way down, dB up in a step
ATTACK, DECAY = 0.2, 0.01  # the top of the level: share of the way up, dB down in a step
FAINT = -10.0  # dB: the top below which a recording is quieter than speech whose peaks reach -45 dBFS
GROUPS, MOVES, MIXED, UNITS = 6, 16, 32, 32
SEEN = 2 * BANDS + 2


def flat(samples: np.ndarray) -> np.ndarray:
    """bool [frames]: in which frames of float32 [n], the last perhaps cut short, the samples hardly move."""
    frames = np.pad(samples, (0, -len(samples) % FRAME), "edge").reshape(-1, FRAME)
    return np.ptp(frames, axis=1) <= np.float32(FLAT)


def dithered(samples: np.ndarray) -> np.ndarray:
    """float32 [n], in which what is as still as the frozen block before it is that block's middle and some noise."""
    blocks = samples[: len(samples) // BLOCK * BLOCK].reshape(-1, BLOCK)
    low, high = blocks.min(axis=1), blocks.max(axis=1)
    middles = np.where(high - low <= np.float32(FROZEN), np.float32(0.5) * (low + high), np.float32(np.nan))
    before = np.concatenate([[np.float32(np.nan)], middles])[np.arange(len(samples)) // BLOCK]
    bits = np.arange(len(samples), dtype=np.uint32) * np.uint32(0x9E3779B1)
    bits = (bits ^ bits >> 15) * np.uint32(0x85EBCA6B)
    bits = (bits ^ bits >> 13) * np.uint32(0xC2B2AE35)
    noise = (bits ^ bits >> 16).view(np.int32).astype(np.float32) / np.float32(32768 * 2**31)
    return np.where(np.abs(samples - before) <= np.float32(FROZEN), before + noise, samples)


def rows(samples: np.ndarray) -> np.ndarray:
    """LogMel float32 [10 * steps, 26] of float32 [n], emphasised: with its last row going on for the last frames."""
    samples = dithered(samples)
    kernel = LogMel(64)
    kernel.normalise(0, GAIN)
    before = np.concatenate([samples[:1], samples[:-1]])
    found = [kernel.push(samples - np.float32(EMPHASIS) * before)]
    found.append(
        kernel.finish() if len(samples) >= kernel.geometry.shortest else np.full((1, BANDS + 1), -100, np.float32)
    )
    found = np.concatenate(found)
    steps = -(-len(samples) // (FRAMES * FRAME)) + LATE
    return np.pad(found, ((0, max(0, steps * ROWS - len(found))), (0, 0)), "edge")[: steps * ROWS]


def silent(samples: np.ndarray) -> np.ndarray:
    """bool [steps]: which of the steps that ``rows`` makes are flat, those behind the end among them."""
    frames = flat(samples)
    steps = -(-len(frames) // FRAMES) + LATE
    return np.pad(frames, (0, steps * FRAMES - len(frames)), constant_values=True).reshape(-1, FRAMES).all(axis=1)


def seen(rows: np.ndarray, silent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """LogMel [10 * steps, 26], silent [steps] -> what a network sees: inputs [steps, 52] and moves [steps, 10, 25].

    The inputs, in 10 dB: the bands over their mean, the bands over their floors, the mean over its top. The moves, in
    5 dB: the bands' ups and downs within a step, as the pulses of a voice make them. All of these are differences, in
    which the recording's level takes no part. The last input says how much fainter the recording is than speech with
    peaks of -45 dBFS, and is 0 for all that are louder.
    """
    bands = rows[:, 1:].reshape(-1, ROWS, BANDS)
    means = bands.mean(axis=1)
    levels = means.mean(axis=1)
    floors, tops, heard = np.empty_like(means), np.empty_like(levels), False
    for step, (band, level, quiet) in enumerate(zip(means, levels, silent, strict=True)):
        if not heard:
            floor, top = band, level
        elif not quiet:
            floor = floor + np.where(band < floor, FALL * (band - floor), np.minimum(RISE, band - floor))
            top = top + (ATTACK * (level - top) if level > top else max(-DECAY, level - top))
        heard |= not quiet
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

    16 patterns of the moves, taken without their sign, join the inputs before a recurrent layer.
    """

    def __init__(self):
        super().__init__()
        self.groups = nn.Linear(BANDS, GROUPS, bias=False)
        self.patterns = nn.Linear(ROWS * GROUPS, MOVES)
        self.mix = nn.Linear(SEEN + MOVES, MIXED)
        self.memory = nn.GRU(MIXED, UNITS, batch_first=True)
        self.head = nn.Linear(UNITS, FRAMES)

    def forward(self, inputs: torch.Tensor, moves: torch.Tensor, state=None) -> tuple[torch.Tensor, torch.Tensor]:
        patterns = self.patterns(self.groups(moves).flatten(2)).abs()
        mixed = self.mix(torch.cat([inputs, patterns], dim=2)).relu()
        remembered, state = self.memory(mixed, state)
        return self.head(remembered), state
