"""Many recordings, several at a time, every one of them to its rows."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import audio
from ..errors import AudioError
from ..frontend.segments import Parameters
from . import table
from .detect import Detected, detect
from .journal import Journal, stamp
from .labeller import Labeller
from .scan import Recording


@dataclass(frozen=True)
class Result:
    """A finished recording: its rows as they go into the table, its length, whether it failed or was done before."""

    recording: Recording
    rows: list[dict]
    seconds: float
    failed: bool
    taken_over: bool = False
    notes: tuple[str, ...] = ()  # what a person should know of it


@dataclass
class Summary:
    """Counts of a run; ``seconds`` of audio were labelled in ``wall`` seconds."""

    labelled: int = 0
    failed: int = 0
    taken_over: int = 0
    seconds: float = 0.0
    wall: float = 0.0

    def add(self, result: "Result | Heard") -> None:
        self.failed += result.failed
        self.labelled += not result.failed
        self.taken_over += result.taken_over
        if not result.taken_over:
            self.seconds += result.seconds

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of work for a second of audio."""
        return self.wall / self.seconds if self.seconds else float("nan")


class Meter:
    """Seconds of audio decoded so far, by all threads: how far a run is while a long recording is under way."""

    def __init__(self):
        self.seconds = 0.0
        self._started = time.monotonic()
        self._lock = threading.Lock()

    @property
    def speed(self) -> float:
        """Seconds of audio a second."""
        return self.seconds / max(time.monotonic() - self._started, 1e-9)

    def count(self, blocks):
        """Pass 16 kHz blocks on, adding up their length."""
        for block in blocks:
            yield block
            with self._lock:
                self.seconds += len(block) / audio.SAMPLE_RATE


#: What may be wrong with one file; it must not end a run of thousands.
FAULTS = (AudioError, MemoryError, OSError, ValueError, RuntimeError)


def reason(fault: Exception) -> str:
    """One line on what is wrong with a file; of what is no AudioError the kind is kept for the report."""
    return str(fault) if isinstance(fault, AudioError) else f"{type(fault).__name__}: {' '.join(str(fault).split())}"


def label_one(labeller: Labeller, recording: Recording, windows: bool, meter: Meter | None = None) -> Result:
    """A recording's result; whatever is wrong with the file ends up in the row's ``error``."""
    columns, notes = labeller.columns, []
    try:
        blocks = decoded(recording, notes.append)
        rows, seconds = labeller.rows(meter.count(blocks) if meter else blocks)
        whole = labeller.average(rows, seconds)
        kept = rows if windows else [whole]
        found = [table.row(recording.name, r, columns) for r in kept]
        return Result(recording, found, seconds, failed=False, notes=tuple(notes))
    except FAULTS as fault:
        return Result(recording, [table.row(recording.name, {"error": reason(fault)}, columns)], 0.0, failed=True)


def decoded(recording: Recording, note: Callable[[str], None] | None = None) -> Iterator[np.ndarray]:
    """Its blocks, as audio.blocks; AudioError if it cannot even be tried."""
    if recording.error:
        raise AudioError(recording.error)
    return audio.blocks(recording.path, note)


def label_all(
    labeller: Labeller,
    recordings: list[Recording],
    *,
    jobs: int,
    windows: bool = False,
    ordered: bool = False,
    journal: Journal | None = None,
    stop: threading.Event | None = None,
    meter: Meter | None = None,
) -> Iterator[Result]:
    """Results as they are finished, or in the order of ``recordings`` if ``ordered``; each recording exactly once.

    Setting ``stop`` begins no new file; those in flight are finished and yielded. With a journal, recordings that it
    holds are taken over, and each new one is noted as soon as it is finished.
    """
    lock = threading.Lock()

    def work(recording: Recording) -> Result:
        rows = journal.finished(recording) if journal else None
        if rows is not None:
            ends = [row["end"] or 0.0 for row in rows]
            return Result(recording, rows, ends[-1], failed=False, taken_over=True)
        before = stamp(recording.path) if journal else None
        result = label_one(labeller, recording, windows, meter)
        if journal:
            with lock:
                journal.add(recording, before, result.rows, result.failed)
        return result

    return each(work, recordings, jobs=jobs, ordered=ordered, stop=stop)


@dataclass(frozen=True)
class Heard:
    """A recording in which speech was looked for: what was ``found``, or the ``error`` that kept it from being read."""

    recording: Recording
    found: Detected | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    taken_over: ClassVar[bool] = False

    @property
    def failed(self) -> bool:
        return self.found is None

    @property
    def seconds(self) -> float:
        return self.found.seconds if self.found else 0.0


def detect_all(
    recordings: list[Recording],
    parameters: Parameters,
    *,
    jobs: int,
    probabilities: bool = False,
    stop: threading.Event | None = None,
    meter: Meter | None = None,
) -> Iterator[Heard]:
    """When somebody speaks in each of ``recordings``, in their order; ``stop`` as in label_all."""
    meter = meter or Meter()

    def work(recording: Recording) -> Heard:
        notes = []
        try:
            blocks = meter.count(decoded(recording, notes.append))
            found = detect(blocks, parameters, probabilities=probabilities)
            return Heard(recording, found, notes=tuple(notes))
        except FAULTS as fault:
            return Heard(recording, error=reason(fault))

    return each(work, recordings, jobs=jobs, ordered=True, stop=stop)


def each(
    work: Callable[[Recording], object],
    recordings: list[Recording],
    *,
    jobs: int,
    ordered: bool = False,
    stop: threading.Event | None = None,
) -> Iterator:
    """What ``work`` makes of each recording, in ``jobs`` threads; order and ``stop`` as in label_all."""
    stop = stop or threading.Event()
    # Enough in hand to keep every thread busy while a long file holds the head of an ordered run back.
    in_hand = 4 * jobs if not ordered else 64 * jobs
    waiting, places = iter(enumerate(recordings)), {}  # future -> its place in `recordings`
    finished = queue.SimpleQueue()
    early, next_place = {}, 0  # results of an ordered run that came before their turn
    with ThreadPoolExecutor(jobs, thread_name_prefix="label") as pool:
        while True:
            while len(places) + len(early) < in_hand and not stop.is_set():
                place, recording = next(waiting, (None, None))
                if recording is None:
                    break
                future = pool.submit(work, recording)
                places[future] = place
                future.add_done_callback(finished.put)
            if stop.is_set():
                for future in list(places):
                    future.cancel()  # what no thread has begun is left to the next run
            if not places:
                break
            future = finished.get()
            place = places.pop(future)
            if future.cancelled():
                continue
            early[place] = future.result()
            while early and (not ordered or next_place in early):
                yield early.pop(next_place if ordered else place)
                next_place += 1
    yield from (early[place] for place in sorted(early))  # of a stopped run: what stands behind a gap


def timed(results: Iterator, summary: Summary) -> Iterator:
    """Pass results on, counting them and the wall time into ``summary``."""
    started = time.monotonic()
    for result in results:
        summary.add(result)
        summary.wall = time.monotonic() - started
        yield result
