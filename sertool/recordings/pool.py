"""Process many recordings in parallel; a bad file does not stop the run."""

import collections
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sertool import audio
from sertool._types import Samples
from sertool.errors import AudioError
from sertool.recordings.recording import Recording

Item = TypeVar("Item")
Result = TypeVar("Result")


class Outcome(Protocol):
    """The properties of a finished recording that Summary counts."""

    @property
    def failed(self) -> bool: ...

    @property
    def taken_over(self) -> bool: ...

    @property
    def seconds(self) -> float: ...


Finished = TypeVar("Finished", bound=Outcome)


@dataclass
class Summary:
    """Counts of a run: ``seconds`` of audio were labelled in ``wall`` seconds."""

    labelled: int = 0
    failed: int = 0
    taken_over: int = 0
    seconds: float = 0.0
    wall: float = 0.0

    def add(self, result: Outcome) -> None:
        self.failed += result.failed
        self.labelled += not result.failed
        self.taken_over += result.taken_over
        if not result.taken_over:
            self.seconds += result.seconds

    @property
    def rtf(self) -> float:
        """Return the real-time factor: seconds of work per second of audio."""
        return self.wall / self.seconds if self.seconds else float("nan")


class Meter:
    """Seconds of audio decoded so far by all threads: shows progress within long recordings."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = time.monotonic()
        self._lock = threading.Lock()

    @property
    def speed(self) -> float:
        """Return seconds of audio per second."""
        return self.seconds / max(time.monotonic() - self._started, 1e-9)

    def add(self, seconds: float) -> None:
        """Add seconds of audio."""
        with self._lock:
            self.seconds += seconds

    def count(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        """Yield 16 kHz blocks unchanged and add up their length."""
        for block in blocks:
            yield block
            self.add(len(block) / audio.SAMPLE_RATE)


#: Exceptions that concern one file and must not stop a run.
FAULTS = (AudioError, MemoryError, OSError, ValueError, RuntimeError)


def reason(fault: Exception) -> str:
    """Describe what is wrong with a file in one line, with the type of the exception unless it is an AudioError."""
    return str(fault) if isinstance(fault, AudioError) else f"{type(fault).__name__}: {' '.join(str(fault).split())}"


def decoded(
    recording: Recording,
    note: Callable[[str], None] | None = None,
    channel: int | None = None,
    track: int | None = None,
) -> Iterator[Samples]:
    """Return the blocks of a recording, as audio.blocks. Raise AudioError if the scan reported an error for it."""
    if recording.error:
        raise AudioError(recording.error)
    return audio.blocks(recording.path, note, channel, track)


def each(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    jobs: int,
    ordered: bool = False,
    stop: threading.Event | None = None,
) -> Iterator[Result]:
    """Yield ``work(item)`` for each item, using ``jobs`` threads; ``ordered``, ``stop``: as in label_all."""
    stop = stop or threading.Event()
    # Submit enough to keep every thread busy while a long file blocks the head of an ordered run.
    in_hand = 4 * jobs if not ordered else 64 * jobs
    waiting = iter(enumerate(items))
    places: dict[Future[Result], int] = {}  # index in `items`
    finished: queue.SimpleQueue[Future[Result]] = queue.SimpleQueue()
    early: dict[int, Result] = {}  # results of an ordered run that wait for their turn
    next_place = 0
    with ThreadPoolExecutor(jobs, thread_name_prefix="label") as pool:
        while True:
            while len(places) + len(early) < in_hand and not stop.is_set():
                item = next(waiting, None)
                if item is None:
                    break
                place, thing = item
                future = pool.submit(work, thing)
                places[future] = place
                future.add_done_callback(finished.put)
            if stop.is_set():
                for future in list(places):
                    future.cancel()  # unstarted recordings are left to the next run
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
    yield from (early[place] for place in sorted(early))  # results behind a gap, if the run was stopped


class Spare:
    """Threads that have no recording of their own, because there are fewer of them left than ``jobs``.

    They work on the pieces of the recordings that are left, such as a single long one.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs, self._busy = jobs, 0
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Count a recording that is being worked on."""
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def starmap(self, work: Callable[..., Result], pieces: Iterable[tuple[Any, ...]]) -> Iterator[Result]:
        """Yield ``work(*piece)`` for each piece, in order, as itertools.starmap; spare threads help.

        At most two pieces for each thread wait for their turn, so memory does not grow.
        """
        waiting: collections.deque[Future[Result]] = collections.deque()
        for piece in pieces:
            if self._jobs > self._busy:
                waiting.append(self._threads().submit(work, *piece))
                if len(waiting) > 2 * self._jobs:
                    yield waiting.popleft().result()
            else:
                while waiting:
                    yield waiting.popleft().result()
                yield work(*piece)
        while waiting:
            yield waiting.popleft().result()

    def close(self) -> None:
        """End the threads."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._jobs, thread_name_prefix="piece")
            return self._pool


def timed(results: Iterator[Finished], summary: Summary) -> Iterator[Finished]:
    """Yield results unchanged and add them and the wall time to ``summary``."""
    started = time.monotonic()
    for result in results:
        summary.add(result)
        summary.wall = time.monotonic() - started
        yield result
