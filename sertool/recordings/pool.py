"""Work through many recordings, several at a time; one bad file does not end the run."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sertool import audio
from sertool.errors import AudioError
from sertool.recordings.scan import Recording


class Outcome(Protocol):
    """What a run counts of a finished recording."""

    @property
    def failed(self) -> bool: ...

    @property
    def taken_over(self) -> bool: ...

    @property
    def seconds(self) -> float: ...


@dataclass
class Summary:
    """Counts of a run; ``seconds`` of audio were labelled in ``wall`` seconds."""

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


def decoded(recording: Recording, note: Callable[[str], None] | None = None) -> Iterator[np.ndarray]:
    """Its blocks, as audio.blocks; AudioError if it cannot even be tried."""
    if recording.error:
        raise AudioError(recording.error)
    return audio.blocks(recording.path, note)


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
