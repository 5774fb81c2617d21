"""Rows to batches: decode once, crop, augment, with randomness that depends on seed and step only."""

import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch

from sertool import audio
from sertool.corpora import Row
from sertool.corpora.buckets import fit
from sertool.errors import AudioError, SertoolError, UsageError
from sertool.features.steps import Length, Steps
from sertool.training.recipe import DataSection, Recipe, TrainSection


@dataclass(frozen=True)
class Clips:
    """Decoded recordings with their targets, in memory just as `label` decodes them (230 MB an hour).

    Not as 16-bit samples: rounding turns the faint noise between words into digital silence, which is tens of dB lower
    on a LogMel, and a network trained on that is off on what it meets later (measured: 0.02 of CCC).
    """

    rows: list[Row]
    waveforms: list[np.ndarray]  # float32 [n] each, pre-processed
    targets: np.ndarray  # float32 [clips, k]


def decode(rows: list[Row], targets, steps: Callable) -> Generator[tuple[int, int], None, Clips]:
    """Decode the rows that ``targets.of`` has something for and apply the pre-processing ``steps``.

    Yields (done, total) a row; the generator's value is the Clips. Raises UsageError if there is no such row,
    SertoolError naming a file that cannot be read.
    """
    rated = [(row, values) for row in rows if (values := targets.of(row)) is not None]
    if not rated:
        raise UsageError(targets.missing)

    def one(pair):
        try:
            return steps(audio.read(pair[0].file))
        except AudioError as error:
            raise SertoolError(f"{pair[0].file}: {error}") from None

    waveforms = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for decoded in pool.map(one, rated):
            waveforms.append(decoded)
            yield len(waveforms), len(rated)
    return Clips([row for row, _ in rated], waveforms, np.array([values for _, values in rated], np.float32))


def divided(steps: Steps) -> tuple[Steps, Length | None]:
    """Pre-processing as (what clips are stored after, the last step if it sets their length).

    Augmentations come between the two, as no recording has them in the silence that it is padded with.
    """
    *first, last = steps.steps or (None,)
    return (Steps(tuple(first)), last) if isinstance(last, Length) else (steps, None)


class Batches(torch.utils.data.Dataset):
    """Batch number ``step`` of a run: ([batch, samples] waveforms, [batch, k] targets).

    The same step of the same seed is the same batch, whichever worker makes it and wherever a run was resumed; each
    process of several (``rank`` of ``processes``) has its own. ``length`` is the step that sets the length of all
    clips; without it each batch has a random one.
    """

    def __init__(self, clips: Clips, chain: list, recipe: Recipe, length=None, rank: int = 0, processes: int = 1):
        self.clips, self.chain, self.settings, self.length = clips, chain, recipe.train, length
        self.rank, self.processes = rank, processes
        self.odds = odds(clips, recipe.data)

    def __len__(self):
        return self.settings.steps

    def __getitem__(self, step: int):
        rng = np.random.default_rng([self.settings.seed, step, self.rank])
        samples = int(rng.uniform(self.settings.shortest_s, self.settings.longest_s) * audio.SAMPLE_RATE)
        chosen = self._chosen(step, rng)
        waveforms = np.stack([self._clip(index, samples, rng) for index in chosen])
        return torch.from_numpy(waveforms), torch.from_numpy(self.clips.targets[chosen])

    def _chosen(self, step: int, rng) -> np.ndarray:
        """Indices [batch]: drawn by the odds or, in epochs, each clip once in each; the last batch is filled up."""
        batch, count = self.settings.batch, len(self.odds)
        if not self.settings.epochs:
            return rng.choice(count, batch, p=self.odds)
        together = batch * self.processes
        epoch, place = divmod(step, -(-count // together))
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(count)
        return np.resize(order, -(-count // together) * together)[place * together + self.rank * batch :][:batch]

    def _clip(self, index: int, length: int, rng) -> np.ndarray:
        samples = self.clips.waveforms[index]
        if self.length:
            samples = samples[: round(self.length.seconds * audio.SAMPLE_RATE)]
        else:
            samples = self._fit(samples, length, rng.random())
        for step in self.chain:
            if rng.random() < step.p:
                samples = step.change(samples, rng)
        # What an augmentation made louder than full scale stays so: neither paper cuts it off.
        return self.length(samples) if self.length else self._fit(samples, length, rng.random())

    def _fit(self, samples: np.ndarray, length: int, place: float) -> np.ndarray:
        if self.settings.fill == "repeat" and len(samples) < length:
            return np.resize(samples, length)
        return fit(samples, length, place)


def odds(clips: Clips, data: DataSection) -> np.ndarray:
    """How likely each clip is drawn, float64 [clips]: evenly among the groups of ``data.balance_by``, level by level.

    At each level a group's share goes with the number of its clips to the power ``data.balance``: 0 gives all groups
    of a level the same, 1 gives clips the same.
    """
    share = np.ones(len(clips.rows))
    inside = np.zeros(len(clips.rows), int)  # number of the group that a clip is in so far
    for level in [*data.balance_by, ""]:
        names = [tuple(_label(clips, i, key) for key in level.split("+")) if level else i for i in range(len(share))]
        pairs = {pair: number for number, pair in enumerate(dict.fromkeys(zip(inside.tolist(), names, strict=True)))}
        group = np.array([pairs[pair] for pair in zip(inside.tolist(), names, strict=True)])
        weight = np.bincount(group).astype(np.float64) ** data.balance if level else np.ones(len(share))
        parent = np.zeros(len(weight), int)
        parent[group] = inside
        share *= (weight / np.bincount(parent, weight)[parent])[group]
        inside = group
    return share / share.sum()


_LABELS = ("corpus", "emotion", "speaker", "session", "sex", "language")


def _label(clips: Clips, index: int, key: str):
    if key == "class":
        return int(clips.targets[index].argmax())
    if key not in _LABELS:
        raise UsageError(f"data.balance_by: {key!r} is none of {', '.join(_LABELS)}, class")
    return getattr(clips.rows[index], key)


def in_steps(settings: TrainSection, clips: int, processes: int) -> TrainSection:
    """Settings that count in steps, for a run over so many clips, as the loop wants them."""
    if settings.epochs:
        epoch = -(-clips // (settings.batch * processes))
        settings = replace(settings, steps=settings.epochs * epoch, validate_every=epoch)
    if settings.warmup_ratio:
        settings = replace(settings, warmup=round(settings.warmup_ratio * settings.steps))
    return settings
