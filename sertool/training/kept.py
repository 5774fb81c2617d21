"""Cache a frozen encoder's outputs for augmented clips on disk, so that a head trains in minutes."""

import csv
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt
import torch

from sertool import audio
from sertool._files import hold, move_into_place
from sertool._machine import cores
from sertool.corpora import Row
from sertool.errors import AudioError, SertoolError, UsageError
from sertool.training.data import odds
from sertool.training.loop import Progress
from sertool.training.prefetch import Batch
from sertool.training.recipe import Preprocess, Step
from sertool.training.sections import Recipe
from sertool.training.targets import Targets

KEY, INDEX, STATES = "key.json", "index.csv", "states.f16"

#: Bytes that must stay free on the disk in addition to the states.
SPARE = 1 << 30

#: make(name): an array and its note.
Make: TypeAlias = Callable[[str], tuple[npt.NDArray[Any], str]]


class Encoder(Protocol):
    """A frozen encoder: waveform [1, samples] -> states [1, tokens, kept, width]."""

    keep: tuple[int, ...]
    width: int
    shortest: int
    longest: int
    samples_a_token: int

    def __call__(self, waveform: torch.Tensor, /) -> torch.Tensor: ...

    def state_dict(self) -> dict[str, Any]: ...


class SplitNetwork(Protocol):
    """A torch module that is a frozen ``encoder`` followed by a ``head``."""

    encoder: Encoder
    head: torch.nn.Module

    def state_dict(self) -> dict[str, Any]: ...


class _Module(Protocol):
    def state_dict(self) -> dict[str, Any]: ...


class States:
    """float16 arrays [n, *shape] by name in one append-only file, in a folder named after its ``key``.

    Each array can have a ``note``, a string. ``key`` holds everything that the arrays depend on; a different key gives
    a different folder. A name is added to the index once its array is on disk, so that an interrupted fill resumes
    where it stopped.
    """

    def __init__(self, folder: Path, key: dict[str, Any], shape: tuple[int, ...]) -> None:
        text = json.dumps(key, indent=1, sort_keys=True)
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.shape, self._size = shape, 2 * int(np.prod(shape))
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / KEY).write_text(text + "\n", encoding="utf-8")
        self.notes: dict[str, str] = {}
        self._places = self._read_index()
        self._map: npt.NDArray[np.float16] | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> npt.NDArray[np.float16]:
        """Return float16 [n, *shape], memory-mapped."""
        if self._map is None:
            self._map = np.memmap(self.folder / STATES, np.float16, "r").reshape(-1, *self.shape)
        start, length = self._places[name]
        return self._map[start : start + length]

    def fill(self, wanted: Mapping[str, float], make: Make) -> Iterator[tuple[int, int]]:
        """Make the missing arrays of ``wanted`` (name -> expected length) on all cores; yield (done, total) for each.

        ``make(name)`` returns the array and its note. Raises UsageError if the disk is too small for all of them, or
        another process is filling the folder.
        """
        if all(name in self for name in wanted):
            return
        with _locked(self.folder):
            self._places = self._read_index()  # another process may have added to it
            yield from self._fill(wanted, make)
        self._map = None

    def _fill(self, wanted: Mapping[str, float], make: Make) -> Iterator[tuple[int, int]]:
        missing = [name for name in wanted if name not in self]
        need = int(sum(wanted[name] for name in missing) * self._size)
        free = shutil.disk_usage(self.folder).free
        if need + SPARE > free:
            raise UsageError(
                f"{self.folder}: caching {len(missing)} clips or batches takes {need / 1e9:.1f} GB, but "
                f"{free / 1e9:.1f} GB are free; set cache.folder to another disk, or lower cache.versions or "
                "cache.batches"
            )
        done = len(wanted) - len(missing)
        end = sum(length for _, length in self._places.values())
        self._write_index()  # drops an incomplete last line
        with (
            open(self.folder / STATES, "r+b" if end else "wb") as states,
            open(self.folder / INDEX, "a", newline="", encoding="utf-8") as index,
        ):
            states.truncate(end * self._size)  # drop arrays that an interruption left out of the index
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
        """Return name -> (first token, tokens), up to the first line that is incomplete or has no array on disk."""
        places: dict[str, tuple[int, int]] = {}
        path, end = self.folder / INDEX, 0
        if not path.exists():
            return places
        on_disk = (self.folder / STATES).stat().st_size // self._size if (self.folder / STATES).exists() else 0
        with open(path, newline="", encoding="utf-8") as stream:
            for row in csv.reader(stream):
                if len(row) != 4 or not (row[1].isdigit() and row[2].isdigit()):
                    break
                start, length = int(row[1]), int(row[2])
                if start != end or start + length > on_disk:
                    break
                places[row[0]], self.notes[row[0]] = (start, length), row[3]
                end = start + length
        return places

    def _write_index(self) -> None:
        temporary = self.folder / "index.tmp"
        with open(temporary, "w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerows([name, *place, self.notes[name]] for name, place in self._places.items())
        move_into_place(temporary, self.folder / INDEX)


class _locked:
    """Hold a lock file in the states' folder; raise UsageError if another process holds it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lock"

    def __enter__(self) -> None:
        self.stream = open(self.path, "w")
        try:
            hold(self.stream)
        except BlockingIOError:
            self.stream.close()
            raise UsageError(f"{self.path.parent}: another run is filling it; wait until that has finished") from None

    def __exit__(self, *_: object) -> None:
        self.stream.close()


def _in_order(make: Make, names: list[str]) -> Iterator[tuple[str, tuple[npt.NDArray[Any], str]]]:
    """Yield (name, make(name)) in the order of the names, made by one thread per core."""

    def single_threaded(name: str) -> tuple[npt.NDArray[Any], str]:
        torch.set_num_threads(1)  # applies to the calling thread only
        return make(name)

    ahead = 4 * cores()
    with ThreadPoolExecutor(cores()) as pool:
        waiting: list[tuple[str, Future[tuple[npt.NDArray[Any], str]]]] = []
        try:
            for place, name in enumerate(names):
                waiting.append((name, pool.submit(single_threaded, name)))
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
    targets: npt.NDArray[np.float32]
    states: States
    versions: int
    name: Callable[[Row, int | None], str]

    def version(self, index: int, version: int | None = None) -> npt.NDArray[np.float16]:
        """Return the states [tokens, kept, width] of a clip, or of an augmented version of it."""
        return self.states[self.name(self.rows[index], version)]


def keep(
    stage: str,
    rows: list[Row],
    recipe: Recipe,
    encoder: Encoder,
    targets: Targets,
    before: Preprocess,
    chain: list[Step],
    folder: Path,
    versions: int,
) -> Generator[Progress, None, KeptClips]:
    """Cache the states of the rows that have a target; yield a Progress for each clip and return the KeptClips.

    ``versions`` is the number of augmented versions of each clip; with 0 only the unaugmented clip is cached. The
    randomness of a version depends on cache.seed, the clip's name and the version's number only. A clip longer than
    the network's limit is cut. Raises UsageError if no row has a target.
    """
    labelled = [(row, values) for row in rows if (values := targets.of(row)) is not None]
    if not labelled:
        raise UsageError(targets.missing)
    root = Path(recipe.data.root)
    key: dict[str, Any] = {
        "encoder": digest(encoder),
        "augment": recipe.augment,
        "input": recipe.input.steps,
        "seed": recipe.cache.seed if versions else None,
        "clips": root.resolve().name,
    }
    if not versions:
        key["augment"] = []
    states = States(folder, key, (len(encoder.keep), encoder.width))
    by_name: dict[str, tuple[Row, int | None]] = {}
    expected: dict[str, float] = {}
    tokens = audio.SAMPLE_RATE / encoder.samples_a_token

    def name(row: Row, version: int | None) -> str:
        file = row.file.relative_to(root) if row.file.is_relative_to(root) else row.file
        return str(file) if version is None else f"{file}#{version}"

    numbers: Iterable[int | None] = range(versions) if versions else [None]
    for row, _ in labelled:
        for version in numbers:
            by_name[name(row, version)] = (row, version)
            expected[name(row, version)] = min(row.duration or 30.0, 30.0) * tokens + 1

    def make(wanted: str) -> tuple[npt.NDArray[Any], str]:
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
    clip_targets = np.array([values for _, values in labelled], np.float32)
    return KeptClips([row for row, _ in labelled], clip_targets, states, versions, name)


class KeptBatches(torch.utils.data.Dataset[Batch]):
    """Batch number ``step`` of a run: (states [batch, tokens, kept, width], targets [batch, k]), as data.Batches.

    Each batch has one random length: longer clips are cut at a random place, shorter ones are repeated.
    """

    def __init__(self, clips: KeptClips, recipe: Recipe, samples_a_token: int, rank: int = 0) -> None:
        self.clips, self.settings, self.rank = clips, recipe.train, rank
        self.rate = audio.SAMPLE_RATE / samples_a_token
        self.odds = odds(clips, recipe.data)

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.settings.seed, step, self.rank])
        tokens = max(1, int(rng.uniform(self.settings.shortest_s, self.settings.longest_s) * self.rate))
        chosen = rng.choice(len(self.odds), self.settings.batch, p=self.odds)
        states = np.stack([self._states(index, tokens, rng) for index in chosen])
        return torch.from_numpy(states), torch.from_numpy(self.clips.targets[chosen])

    def _states(self, index: int, tokens: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        states, place = self.clips.version(index, int(rng.integers(self.clips.versions))), rng.random()
        spare = len(states) - tokens
        if spare >= 0:
            start = int(place * (spare + 1))
            return states[start : start + tokens].astype(np.float32)
        return np.resize(states.astype(np.float32), (tokens, *states.shape[1:]))


@torch.inference_mode()
def answers(head: torch.nn.Module, clips: KeptClips) -> Iterator[torch.Tensor]:
    """Yield a head's outputs [k] for each whole, unaugmented clip."""
    for index in range(len(clips.rows)):
        yield head(torch.from_numpy(clips.version(index).astype(np.float32))[None])[0].float()


def digest(module: _Module) -> str:
    """Return the sha256 of a network's class and weights: equal for networks with equal outputs."""
    result = hashlib.sha256(repr(module).encode())
    for name, value in sorted(module.state_dict().items()):
        result.update(name.encode())
        result.update(value.detach().cpu().contiguous().numpy().tobytes())
    return result.hexdigest()


def is_split(network: object) -> TypeGuard[SplitNetwork]:
    """Return whether a network has two modules ``encoder`` (frozen) and ``head``."""
    return all(isinstance(getattr(network, part, None), torch.nn.Module) for part in ("encoder", "head"))
