"""Turn rows into batches: decode once, crop and augment, with randomness that depends on seed and step only."""

import os
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from sertool import audio
from sertool._types import Floats, Samples
from sertool.corpora import Row
from sertool.corpora.buckets import fit
from sertool.errors import AudioError, SertoolError, UsageError
from sertool.features.steps import Length, Steps
from sertool.training.prefetch import Batch
from sertool.training.recipe import Preprocess, Step
from sertool.training.sections import DataSection, Recipe, TrainSection
from sertool.training.targets import Targets


class LabelledClips(Protocol):
    """Clips whose rows and targets, float32 [clips, k], are known."""

    @property
    def rows(self) -> list[Row]: ...

    @property
    def targets(self) -> npt.NDArray[np.float32]: ...


@dataclass(frozen=True)
class Clips:
    """Decoded recordings with their targets, in memory exactly as `label` decodes them (230 MB per hour).

    They are not stored as 16-bit samples: rounding turns the faint noise between words into digital silence, which is
    tens of dB lower on a LogMel, and a network trained on that is worse on unrounded input (measured: 0.02 of CCC).
    """

    rows: list[Row]
    waveforms: list[Samples]  # float32 [n] each, pre-processed
    targets: npt.NDArray[np.float32]  # [clips, k]


def decode(rows: list[Row], targets: Targets, steps: Preprocess) -> Generator[tuple[int, int], None, Clips]:
    """Decode the rows that have a target and apply the pre-processing ``steps``.

    Yields (done, total) for each row; the generator returns the Clips. Raises UsageError if no row has a target,
    SertoolError with the file's name if a file cannot be read.
    """
    labelled = [(row, values) for row in rows if (values := targets.of(row)) is not None]
    if not labelled:
        raise UsageError(targets.missing)

    def decode_one(row: Row) -> Samples:
        try:
            return steps(audio.read(row.file))
        except AudioError as error:
            raise SertoolError(f"{row.file}: {error}") from None

    waveforms = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for decoded in pool.map(decode_one, [row for row, _ in labelled]):
            waveforms.append(decoded)
            yield len(waveforms), len(labelled)
    return Clips([row for row, _ in labelled], waveforms, np.array([values for _, values in labelled], np.float32))


def divided(steps: Steps) -> tuple[Steps, Length | None]:
    """Split pre-processing into (steps to apply before clips are stored, the last step if it sets their length).

    Augmentations are applied between the two, because the silence that recordings are padded with has no augmentation.
    """
    last = steps.steps[-1] if steps.steps else None
    return (Steps(steps.steps[:-1]), last) if isinstance(last, Length) else (steps, None)


class Batches(torch.utils.data.Dataset[Batch]):
    """Batch number ``step`` of a run: ([batch, samples] waveforms, [batch, k] targets).

    A batch depends on the seed and the step only, not on the worker that makes it or on where a run was resumed; each
    of several processes (``rank`` of ``processes``) has its own batches. ``length`` is the step that sets the length of
    all clips; without it each batch has a random length.
    """

    def __init__(
        self,
        clips: Clips,
        chain: list[Step],
        recipe: Recipe,
        length: Length | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.clips, self.chain, self.settings, self.length = clips, chain, recipe.train, length
        self.rank, self.processes = rank, processes
        self.odds = odds(clips, recipe.data)

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.settings.seed, step, self.rank])
        samples = int(rng.uniform(self.settings.shortest_s, self.settings.longest_s) * audio.SAMPLE_RATE)
        chosen = self._chosen(step, rng)
        waveforms = np.stack([self._clip(index, samples, rng) for index in chosen])
        return torch.from_numpy(waveforms), torch.from_numpy(self.clips.targets[chosen])

    def _chosen(self, step: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return clip indices [batch]: drawn by the odds or, with epochs, each clip once per epoch.

        The last batch of an epoch is filled with clips from the epoch's start.
        """
        batch, count = self.settings.batch, len(self.odds)
        if not self.settings.epochs:
            return rng.choice(count, batch, p=self.odds)
        together = batch * self.processes
        epoch, place = divmod(step, -(-count // together))
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(count)
        return np.resize(order, -(-count // together) * together)[place * together + self.rank * batch :][:batch]

    def _clip(self, index: int, length: int, rng: np.random.Generator) -> Samples:
        samples = self.clips.waveforms[index]
        if self.length:
            samples = samples[: round(self.length.seconds * audio.SAMPLE_RATE)]
        else:
            samples = self._fit(samples, length, rng.random())
        for step in self.chain:
            if rng.random() < step.p:
                samples = step.change(samples, rng)
        # Samples that an augmentation raised above full scale are not clipped, as in both papers.
        return self.length(samples) if self.length else self._fit(samples, length, rng.random())

    def _fit(self, samples: Samples, length: int, place: float) -> Samples:
        if self.settings.fill == "repeat" and len(samples) < length:
            return np.resize(samples, length)
        return fit(samples, length, place)


def odds(clips: LabelledClips, data: DataSection) -> Floats:
    """Return the probability of drawing each clip, float64 [clips], balanced by the levels of ``data.balance_by``.

    At each level a group's share is proportional to its number of clips to the power ``data.balance``: 0 gives all
    groups of a level the same share, 1 gives all clips the same.
    """
    share = np.ones(len(clips.rows))
    inside = np.zeros(len(clips.rows), int)  # number of each clip's group at the level above
    for level in [*data.balance_by, ""]:
        names = [tuple(_label(clips, i, key) for key in level.split("+")) if level else i for i in range(len(share))]
        pairs = {pair: number for number, pair in enumerate(dict.fromkeys(zip(inside.tolist(), names, strict=True)))}
        group = np.array([pairs[pair] for pair in zip(inside.tolist(), names, strict=True)])
        weight = np.bincount(group).astype(np.float64) ** data.balance if level else np.ones(len(share))
        parent = np.zeros(len(weight), int)
        parent[group] = inside
        share *= (weight / np.bincount(parent, weight)[parent])[group]
        inside = group
    probabilities: Floats = share / share.sum()
    return probabilities


_LABELS = ("corpus", "emotion", "speaker", "session", "sex", "language")


def _label(clips: LabelledClips, index: int, key: str) -> Any:
    if key == "class":
        return int(clips.targets[index].argmax())
    if key not in _LABELS:
        raise UsageError(f"data.balance_by: {key!r} is not one of {', '.join(_LABELS)}, class")
    return getattr(clips.rows[index], key)


def in_steps(settings: TrainSection, clips: int, processes: int) -> TrainSection:
    """Convert epochs and warmup_ratio to steps, for a run over ``clips`` clips."""
    if settings.epochs:
        epoch = -(-clips // (settings.batch * processes))
        settings = replace(settings, steps=settings.epochs * epoch, validate_every=epoch)
    if settings.warmup_ratio:
        settings = replace(settings, warmup=round(settings.warmup_ratio * settings.steps))
    return settings
