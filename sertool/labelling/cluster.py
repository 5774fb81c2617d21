"""Label many recordings on a Dask cluster, with the function that labels them here. Needs distributed."""

import collections
import functools
import logging
import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from sertool._about import __version__
from sertool.errors import SertoolError, UsageError
from sertool.labelling import table
from sertool.labelling.job import Result, label_one, stamped, taken_over
from sertool.labelling.journal import Journal
from sertool.labelling.labeller import Labeller
from sertool.labelling.plan import Plan
from sertool.recordings.pool import Meter
from sertool.recordings.recording import Recording

#: A batch ends with this many files, or this many bytes: about a second of work, beside which a task costs little.
BATCH_FILES, BATCH_BYTES = 64, 32_000_000
#: Batches in hand for each thread of the workers: one that runs, and one that is ready.
IN_HAND = 2
#: Seconds between looks at Ctrl-C and at the scheduler.
_LOOK_S = 0.2

#: What a worker returns of a recording: rows, seconds, failed, notes.
_Answer: TypeAlias = tuple[list[dict[str, Any]], float, bool, tuple[str, ...]]


@dataclass
class _Batch:
    """Recordings that one task labels, with their stamps from before, and their places in the list."""

    recordings: list[Recording]
    stamps: list[list[int] | None]
    places: list[int]

    def singles(self) -> list["_Batch"]:
        """Return a batch for each recording."""
        parts = zip(self.recordings, self.stamps, self.places, strict=True)
        return [_Batch([recording], [own], [place]) for recording, own, place in parts]


class Cluster:
    """A Dask cluster: that of the ``scheduler``, an address, or ``workers`` processes on this machine; a context.

    Raises UsageError without distributed, if the scheduler does not answer within ``patience`` seconds, if it has no
    workers, or if these have another version of sertool.
    """

    def __init__(self, scheduler: str | None, workers: int, patience: float = 30) -> None:
        try:
            import distributed as untyped
        except ImportError:
            raise UsageError("--executor dask needs distributed: pip install 'sertool[dask]'") from None
        distributed: Any = untyped
        self._distributed = distributed
        _silence()
        self._local: Any = None
        self._client: Any = None
        try:
            if scheduler is None:
                self._local = distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
            self._client = distributed.Client(self._local or scheduler, timeout=patience)
            if self._local is not None:  # its workers write to this terminal, also while they end
                self._client.register_worker_callbacks(_silence)
        except (OSError, TimeoutError, ValueError) as error:
            self.close()
            raise UsageError(f"--scheduler {scheduler}: {' '.join(str(error).split()) or 'no answer'}") from None
        try:
            versions = self._versions(patience)
        except TimeoutError:
            self.close()
            raise UsageError(f"--scheduler {scheduler}: it has no workers") from None
        except OSError as error:  # it went away
            self.close()
            raise UsageError(f"--scheduler {scheduler}: {' '.join(str(error).split())}") from None
        except ImportError as error:
            self.close()
            raise UsageError(f"a worker of {scheduler} has no sertool: {error}") from None
        others = {version for version in versions.values() if version != __version__}
        if others:
            self.close()
            raise UsageError(f"workers have sertool {', '.join(sorted(others))}, not {__version__}")

    def _versions(self, patience: float) -> dict[str, str]:
        """Return the workers' versions of sertool, of one worker at least; one that dies meanwhile is left out."""
        deadline = time.monotonic() + patience
        while True:
            self._client.wait_for_workers(1, timeout=patience)
            answers = self._client.run(_version, on_error="return")
            failed = [answer for answer in answers.values() if isinstance(answer, Exception)]
            for error in failed:
                if not isinstance(error, OSError):
                    raise error
            if len(answers) > len(failed):
                return {worker: answer for worker, answer in answers.items() if isinstance(answer, str)}
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(_LOOK_S)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the cluster; end the one on this machine."""
        if self._client is not None:
            self._client.close()
        if self._local is not None:
            self._local.close()

    @property
    def threads(self) -> int:
        """Return the threads that the workers have now."""
        return sum(self._client.nthreads().values())

    def label_all(
        self,
        labeller: Labeller,
        recordings: Sequence[Recording],
        plan: Plan,
        *,
        ordered: bool = False,
        journal: Journal | None = None,
        stop: threading.Event | None = None,
        meter: Meter | None = None,
    ) -> Iterator[Result]:
        """Label recordings on the workers; arguments and results as `sertool.labelling.job.label_all`.

        At most IN_HAND batches per thread are under way, so memory does not grow with the list. A batch whose worker
        dies is done again elsewhere. If that happens too often for the scheduler (3 times, its allowed-failures), its
        recordings are tried one by one, and one whose workers die again has a Result with an error. Raises UsageError
        if the scheduler is lost or a worker cannot load the model.
        """
        stop, meter = stop or threading.Event(), meter or Meter()
        columns = table.table(labeller, plan).columns
        arguments = (_portable(labeller.arguments), replace(plan))
        again: collections.deque[_Batch] = collections.deque()
        finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
        waiting = _batches(recordings, plan, journal, columns)
        under_way: dict[Any, _Batch] = {}
        early: dict[int, Result] = {}
        next_place = 0

        def submit(batch: _Batch) -> None:
            own = [one if one.url else replace(one, path=one.path.absolute()) for one in batch.recordings]
            future = self._client.submit(_label, *arguments, own, pure=False)
            under_way[future] = batch
            future.add_done_callback(finished.put)

        exhausted = False
        while True:
            room = IN_HAND * max(self.threads, 1)
            while len(under_way) < room and len(early) < 64 * room and not stop.is_set():
                if again:
                    submit(again.popleft())
                    continue
                item = next(waiting, None)
                if item is None:
                    exhausted = True
                    break
                if isinstance(item, _Batch):
                    submit(item)
                else:
                    early[item[0]] = item[1]
                    if not ordered:
                        yield early.pop(item[0])
            while early and (not ordered or next_place in early):
                yield early.pop(next_place if ordered else next(iter(early)))
                next_place += 1
            if not under_way and (stop.is_set() or (exhausted and not again)):
                break
            try:
                future = finished.get(timeout=_LOOK_S)
            except queue.Empty:
                self._require_scheduler()
                continue
            batch = under_way.pop(future)
            for place, result in self._results(future, batch, again, columns):
                if journal:
                    own = batch.stamps[batch.places.index(place)]
                    journal.add(result.recording, own, result.rows, result.seconds, result.failed)
                meter.add(result.seconds)
                early[place] = result
        yield from (early[place] for place in sorted(early))

    def _results(
        self, future: Any, batch: _Batch, again: "collections.deque[_Batch]", columns: tuple[str, ...]
    ) -> Iterator[tuple[int, Result]]:
        """Yield (place, Result) of a finished task; if it failed, put its recordings into ``again``."""
        if future.status == "finished":
            answers: list[_Answer] = future.result()
            future.release()
            for place, recording, (rows, seconds, failed, notes) in zip(
                batch.places, batch.recordings, answers, strict=True
            ):
                yield place, Result(recording, rows, seconds, failed, notes=notes)
            return
        if future.status == "cancelled" or future.status == "lost":
            self._require_scheduler()
            again.append(batch)
            return
        error = future.exception()
        if not isinstance(error, self._distributed.KilledWorker):
            kind = "" if isinstance(error, SertoolError) else f"{type(error).__name__}: "
            raise UsageError(f"a worker cannot label: {kind}{' '.join(str(error).split())}")
        if len(batch.recordings) > 1:
            again.extend(batch.singles())
            return
        (recording,) = batch.recordings
        text = "its worker died again and again, perhaps out of memory"
        row = table.row(recording.name, {"error": text}, columns)
        yield batch.places[0], Result(recording, [row], 0.0, failed=True)

    def _require_scheduler(self) -> None:
        if self._client.status not in ("running", "connecting"):
            raise UsageError("lost the scheduler; --resume continues once it is back")


def _batches(
    recordings: Sequence[Recording], plan: Plan, journal: Journal | None, columns: tuple[str, ...]
) -> Iterator["_Batch | tuple[int, Result]"]:
    """Yield batches of what is to be labelled, and (place, Result) of what the journal has."""
    batch, size = _Batch([], [], []), 0
    for place, recording in enumerate(recordings):
        own = stamped(recording, plan)
        before = taken_over(recording, own, journal, columns)
        if before:
            yield place, before
            continue
        batch.recordings.append(recording)
        batch.stamps.append(own)
        batch.places.append(place)
        size += own[0] if own else 0
        if len(batch.recordings) >= BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch, size = _Batch([], [], []), 0
    if batch.recordings:
        yield batch


def _portable(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a labeller's arguments for another process, in another folder."""
    model, *rest = arguments
    return (os.path.abspath(model) if os.path.exists(model) else model, *rest)


@functools.lru_cache(maxsize=2)
def _labeller(arguments: tuple[Any, ...]) -> Labeller:
    return Labeller(*arguments)


def _label(arguments: tuple[Any, ...], plan: Plan, recordings: list[Recording]) -> list[_Answer]:
    """Label recordings: the task that runs on a worker."""
    labeller = _labeller(arguments)
    results = [label_one(labeller, recording, plan) for recording in recordings]
    return [(result.rows, result.seconds, result.failed, result.notes) for result in results]


def _silence() -> None:
    """Keep distributed from logging tracebacks in this process: what goes wrong is said in one line."""
    for name in ("distributed", *logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _version() -> str:
    return __version__
