"""The network of the voice activity detector in torch, and what it sees; csrc/vad.c runs the same."""

import numpy as np
import torch
from torch import nn

from ...frontend.logmel import LogMel
from ...frontend.vad import FRAME

ROWS = 10  # LogMel rows of a step: 20 ms, two frames
FRAMES = 2
BANDS = 25  # of the 26 mel bands; the first holds no Fourier bin
LATE = 10  # steps that pass before a step is told: 0.2 s of what follows are heard first
GAIN = 8192.0  # puts the noise of quiet recordings, too, above LogMel's floor of -100 dB
EMPHASIS = 0.97  # of the sample before, taken off each: breath and wind leave the bands of voices alone
SILENT = -99.0  # dB: digital silence, of which nothing is learnt
FALL, RISE = 0.3, 0.06  # the floor of a band: share of the way down, dB up in a step
ATTACK, DECAY = 0.2, 0.01  # the top of the level: share of the way up, dB down in a step
FAINT = -10.0  # dB: the top below which a recording is quieter than speech whose peaks reach -45 dBFS
GROUPS, MOVES, MIXED, UNITS = 6, 16, 32, 32
SEEN = 2 * BANDS + 2


def rows(samples: np.ndarray) -> np.ndarray:
    """LogMel float32 [10 * steps, 26] of float32 [n], emphasised: with its last row going on for the last frames."""
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


def seen(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """LogMel [10 * steps, 26] -> what a network sees: inputs [steps, 52] and moves [steps, 10, 25].

    The inputs, in 10 dB: the bands over their mean, the bands over their floors, the mean over its top. The moves, in
    5 dB: the bands' ups and downs within a step, as the pulses of a voice make them. All of these are differences, in
    which the recording's level takes no part. The last input says how much fainter the recording is than speech with
    peaks of -45 dBFS, and is 0 for all that are louder.
    """
    bands = rows[:, 1:].reshape(-1, ROWS, BANDS)
    means = bands.mean(axis=1)
    levels = means.mean(axis=1)
    floors, tops, heard = np.empty_like(means), np.empty_like(levels), False
    for step, (band, level) in enumerate(zip(means, levels, strict=True)):
        if not heard:
            floor, top = band, level
        elif level > SILENT:
            floor = floor + np.where(band < floor, FALL * (band - floor), np.minimum(RISE, band - floor))
            top = top + (ATTACK * (level - top) if level > top else max(-DECAY, level - top))
        heard |= level > SILENT
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
