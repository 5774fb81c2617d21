"""What a frozen encoder makes of augmented clips, computed once and kept on disk, so that a head trains in minutes."""

import csv
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from sertool import audio
from sertool._files import hold, move_into_place
from sertool._machine import cores
from sertool.corpora import Row
from sertool.corpora.buckets import fit
from sertool.errors import AudioError, SertoolError, UsageError
from sertool.training.data import odds
from sertool.training.loop import Progress
from sertool.training.recipe import Recipe

KEY, INDEX, STATES = "key.json", "index.csv", "states.f16"

#: Bytes beside the states that must stay free on the disk.
SPARE = 1 << 30


class States:
    """float16 arrays [n, *shape] by name in one file that only grows, in a folder named after its ``key``.

    Each may have a ``note``, a text. ``key`` says everything that the arrays depend on; another key is another folder.
    A name is listed once its array is on disk, so a fill that was cut off goes on where it stopped.
    """

    def __init__(self, folder: Path, key: dict, shape: tuple[int, ...]):
        text = json.dumps(key, indent=1, sort_keys=True)
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.shape, self._size = shape, 2 * int(np.prod(shape))
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / KEY).write_text(text + "\n", encoding="utf-8")
        self.notes: dict[str, str] = {}
        self._places = self._read_index()
        self._map = None

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> np.ndarray:
        """float16 [n, *shape], memory-mapped."""
        if self._map is None:
            self._map = np.memmap(self.folder / STATES, np.float16, "r").reshape(-1, *self.shape)
        start, length = self._places[name]
        return self._map[start : start + length]

    def fill(
        self, wanted: dict[str, float], make: Callable[[str], tuple[np.ndarray, str]]
    ) -> Iterator[tuple[int, int]]:
        """Make what is not there of the ``wanted`` (name -> length expected), on all cores; (done, total) a name.

        ``make(name)`` returns the array and its note. UsageError if the disk has no room for all of it, or another
        process is filling the folder.
        """
        if all(name in self for name in wanted):
            return
        with _locked(self.folder):
            self._places = self._read_index()  # another process may have added to it
            yield from self._fill(wanted, make)
        self._map = None

    def _fill(self, wanted: dict[str, float], make) -> Iterator[tuple[int, int]]:
        missing = [name for name in wanted if name not in self]
        need = int(sum(wanted[name] for name in missing) * self._size)
        free = shutil.disk_usage(self.folder).free
        if need + SPARE > free:
            raise UsageError(
                f"{self.folder}: what is to be kept of {len(missing)} clips or batches takes {need / 1e9:.1f} GB, "
                f"{free / 1e9:.1f} GB are free; give cache.folder on another disk, or lower cache.versions or "
                "cache.batches"
            )
        done = len(wanted) - len(missing)
        end = sum(length for _, length in self._places.values())
        self._write_index()  # without a torn last line
        with (
            open(self.folder / STATES, "r+b" if end else "wb") as states,
            open(self.folder / INDEX, "a", newline="", encoding="utf-8") as index,
        ):
            states.truncate(end * self._size)  # what a cut left unlisted
            states.seek(0, os.SEEK_END)
            table = csv.writer(index, lineterminator="\n")
            for name, (array, note) in _in_order(make, missing):
                states.write(np.ascontiguousarray(array, np.float16).data)
                states.flush()
                table.writerow([name, end, len(array), note])
                index.flush()
                self._places[name], self.notes[name] = (end, len(array)), note
                end, done = end + len(array), done + 1
                yield done, len(wanted)

    def _read_index(self) -> dict[str, tuple[int, int]]:
        """Name -> (first token, tokens), as far as lines are whole and their arrays are on disk."""
        path, places, end = self.folder / INDEX, {}, 0
        if not path.exists():
            return places
        there = (self.folder / STATES).stat().st_size // self._size if (self.folder / STATES).exists() else 0
        with open(path, newline="", encoding="utf-8") as stream:
            for row in csv.reader(stream):
                if len(row) != 4 or not (row[1].isdigit() and row[2].isdigit()):
                    break
                start, length = int(row[1]), int(row[2])
                if start != end or start + length > there:
                    break
                places[row[0]], self.notes[row[0]] = (start, length), row[3]
                end = start + length
        return places

    def _write_index(self) -> None:
        beside = self.folder / "index.tmp"
        with open(beside, "w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerows([name, *place, self.notes[name]] for name, place in self._places.items())
        move_into_place(beside, self.folder / INDEX)


class _locked:
    """A file beside the states that one process holds; UsageError for the others."""

    def __init__(self, folder: Path):
        self.path = folder / "lock"

    def __enter__(self):
        self.stream = open(self.path, "w")
        try:
            hold(self.stream)
        except BlockingIOError:
            self.stream.close()
            raise UsageError(f"{self.path.parent}: another run is filling it; wait for that one") from None

    def __exit__(self, *_):
        self.stream.close()


def _in_order(make: Callable, names: list[str]) -> Iterator[tuple[str, tuple[np.ndarray, str]]]:
    """(name, make(name)) in the order of the names, made by as many threads as there are cores."""

    def alone(name):
        torch.set_num_threads(1)  # counts for the thread that says so
        return make(name)

    ahead = 4 * cores()
    with ThreadPoolExecutor(cores()) as pool:
        waiting = []
        try:
            for place, name in enumerate(names):
                waiting.append((name, pool.submit(alone, name)))
                if len(waiting) > ahead or place == len(names) - 1:
                    keep = 0 if place == len(names) - 1 else ahead
                    while len(waiting) > keep:
                        first, future = waiting.pop(0)
                        yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
            wait([future for _, future in waiting])


@dataclass(frozen=True)
class KeptClips:
    """Rows with the states of each of their versions, and their targets float32 [clips, k]."""

    rows: list[Row]
    targets: np.ndarray
    states: States
    versions: int
    name: Callable[[Row, int | None], str]

    def version(self, index: int, version: int | None = None) -> np.ndarray:
        """float16 [tokens, kept, width] of a clip: as it is, or augmented."""
        return self.states[self.name(self.rows[index], version)]


def keep(
    stage: str,
    rows: list[Row],
    recipe: Recipe,
    encoder: torch.nn.Module,
    targets,
    before: Callable,
    chain: list,
    folder: Path,
    versions: int,
) -> Iterator[Progress]:
    """States of the rows that ``targets.of`` has something for, with a Progress a clip; the value is the KeptClips.

    ``versions`` augmented ones of each clip, or with 0 the clip as it is. The randomness of a version depends on
    cache.seed, the clip's name and the version's number alone. A clip longer than the network takes ends there.
    """
    rated = [(row, values) for row in rows if (values := targets.of(row)) is not None]
    if not rated:
        raise UsageError(targets.missing)
    root = Path(recipe.data.root)
    key = {
        "encoder": digest(encoder),
        "augment": recipe.augment,
        "input": recipe.input.steps,
        "seed": recipe.cache.seed if versions else None,
        "clips": root.resolve().name,
    }
    if not versions:
        key["augment"] = []
    states = States(folder, key, (len(encoder.keep), encoder.width))
    by_name, expected = {}, {}
    tokens = audio.SAMPLE_RATE / encoder.samples_a_token

    def name(row: Row, version: int | None) -> str:
        file = row.file.relative_to(root) if row.file.is_relative_to(root) else row.file
        return str(file) if version is None else f"{file}#{version}"

    for row, _ in rated:
        for version in range(versions) if versions else [None]:
            by_name[name(row, version)] = (row, version)
            expected[name(row, version)] = min(row.duration or 30.0, 30.0) * tokens + 1

    def make(wanted: str) -> tuple[np.ndarray, str]:
        row, version = by_name[wanted]
        try:
            samples = before(audio.read(row.file))
        except AudioError as error:
            raise SertoolError(f"{row.file}: {error}") from None
        if version is not None:
            rng = np.random.default_rng([recipe.cache.seed, version, zlib.crc32(name(row, None).encode())])
            for step in chain:
                if rng.random() < step.p:
                    samples = step.change(samples, rng)
            samples = np.clip(samples, -1, 1)
        samples = samples[: encoder.longest]
        if len(samples) < encoder.shortest:
            samples = np.resize(samples, encoder.shortest)
        with torch.inference_mode():
            return encoder(torch.from_numpy(np.ascontiguousarray(samples, np.float32))[None])[0].numpy(), ""

    for done, total in states.fill(expected, make):
        yield Progress(stage, done, total)
    wanted = np.array([values for _, values in rated], np.float32)
    return KeptClips([row for row, _ in rated], wanted, states, versions, name)


class KeptBatches(torch.utils.data.Dataset):
    """Batch number ``step`` of a run: (states [batch, tokens, kept, width], targets [batch, k]), as data.Batches.

    Each batch has one random length: of a longer clip a stretch, a shorter one repeated.
    """

    def __init__(self, clips: KeptClips, recipe: Recipe, samples_a_token: int, rank: int = 0):
        self.clips, self.settings, self.rank = clips, recipe.train, rank
        self.rate = audio.SAMPLE_RATE / samples_a_token
        self.odds = odds(clips, recipe.data)

    def __len__(self):
        return self.settings.steps

    def __getitem__(self, step: int):
        rng = np.random.default_rng([self.settings.seed, step, self.rank])
        tokens = max(1, int(rng.uniform(self.settings.shortest_s, self.settings.longest_s) * self.rate))
        chosen = rng.choice(len(self.odds), self.settings.batch, p=self.odds)
        states = np.stack([self._states(index, tokens, rng) for index in chosen])
        return torch.from_numpy(states), torch.from_numpy(self.clips.targets[chosen])

    def _states(self, index: int, tokens: int, rng) -> np.ndarray:
        states, place = self.clips.version(index, int(rng.integers(self.clips.versions))), rng.random()
        if len(states) >= tokens:
            return fit(states, tokens, place).astype(np.float32)
        return np.resize(states.astype(np.float32), (tokens, *states.shape[1:]))


@torch.inference_mode()
def answers(head: torch.nn.Module, clips: KeptClips) -> Iterator[torch.Tensor]:
    """Outputs [k] of a head for each whole clip as it is."""
    for index in range(len(clips.rows)):
        yield head(torch.from_numpy(clips.version(index).astype(np.float32))[None])[0].float()


def digest(module: torch.nn.Module) -> str:
    """The sha256 of a network's class and weights: equal for networks that answer the same."""
    found = hashlib.sha256(repr(module).encode())
    for name, value in sorted(module.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def is_split(network) -> bool:
    """Whether a network says that it is a frozen ``encoder`` and a ``head``."""
    return all(isinstance(getattr(network, part, None), torch.nn.Module) for part in ("encoder", "head"))
