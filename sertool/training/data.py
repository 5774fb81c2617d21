"""Rows to batches: decode once, crop, augment, with randomness that depends on seed and step only."""

import os
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from .. import audio
from ..corpora import Row
from ..corpora.coordinates import coordinates
from ..errors import AudioError, SertoolError, UsageError
from .buckets import fit


@dataclass(frozen=True)
class Clips:
    """Decoded recordings with their targets, in memory just as `label` decodes them (230 MB an hour).

    Not as 16-bit samples: rounding turns the faint noise between words into digital silence, which is tens of dB lower
    on a LogMel, and a network trained on that is off on what it meets later (measured: 0.02 of CCC).
    """

    rows: list[Row]
    waveforms: list[np.ndarray]  # float32 [n] each
    targets: np.ndarray  # float32 [clips, 3]: arousal, dominance, valence


def target(row: Row, intensity: dict) -> tuple | None:
    """Arousal, dominance, valence: the row's ratings if it has them, else its label's published place, else None."""
    ratings = (row.arousal, row.dominance, row.valence)
    if None not in ratings:
        return ratings
    return coordinates(row.emotion, intensity.get(row.intensity, 1.0))


def decode(rows: list[Row], intensity: dict) -> Generator[tuple[int, int], None, Clips]:
    """Decode the rows that have a target, yielding (done, total) a row; the generator's value is the Clips.

    Raises UsageError if no row has one, SertoolError naming a file that cannot be read.
    """
    rated = [(row, values) for row in rows if (values := target(row, intensity)) is not None]
    if not rated:
        raise UsageError("no row has arousal, dominance and valence, or an emotion that has a published place")

    def one(pair):
        try:
            return audio.read(pair[0].file)
        except AudioError as error:
            raise SertoolError(f"{pair[0].file}: {error}") from None

    waveforms = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for decoded in pool.map(one, rated):
            waveforms.append(decoded)
            yield len(waveforms), len(rated)
    return Clips([row for row, _ in rated], waveforms, np.array([values for _, values in rated], np.float32))


class Batches(torch.utils.data.Dataset):
    """Batch number ``step`` of a run: ([batch, samples] waveforms, [batch, 3] targets).

    The same step of the same seed is the same batch, whichever worker makes it and wherever a run was resumed; each
    process of several (``rank``) has its own.
    """

    def __init__(self, clips: Clips, chain: list, settings, balance: float, rank: int = 0):
        self.clips, self.chain, self.settings, self.rank = clips, chain, settings, rank
        groups: dict[tuple, int] = {}
        for row in clips.rows:
            groups[row.corpus, row.emotion] = groups.get((row.corpus, row.emotion), 0) + 1
        weights = np.array([groups[row.corpus, row.emotion] ** (balance - 1) for row in clips.rows])
        self.odds = weights / weights.sum()

    def __len__(self):
        return self.settings.steps

    def __getitem__(self, step: int):
        rng = np.random.default_rng([self.settings.seed, step, self.rank])
        length = int(rng.uniform(self.settings.shortest_s, self.settings.longest_s) * audio.SAMPLE_RATE)
        chosen = rng.choice(len(self.odds), self.settings.batch, p=self.odds)
        waveforms = np.stack([self._clip(index, length, rng) for index in chosen])
        return torch.from_numpy(waveforms), torch.from_numpy(self.clips.targets[chosen])

    def _clip(self, index: int, length: int, rng) -> np.ndarray:
        samples = fit(self.clips.waveforms[index], length, rng.random())
        for step in self.chain:
            if rng.random() < step.p:
                samples = step.change(samples, rng)
        # A recording cannot exceed full scale: what an augmentation made louder is clipped as a recorder would.
        return np.clip(fit(samples, length, rng.random()), -1, 1)
