"""Many recordings, several at a time, every one of them to its rows."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass

from sertool.labelling import table
from sertool.labelling.journal import Journal, stamp
from sertool.labelling.labeller import Labeller
from sertool.recordings.pool import FAULTS, Meter, decoded, each, reason
from sertool.recordings.scan import Recording


@dataclass(frozen=True)
class Result:
    """A finished recording: its rows as they go into the table, its length, whether it failed or was done before."""

    recording: Recording
    rows: list[dict]
    seconds: float
    failed: bool
    taken_over: bool = False
    notes: tuple[str, ...] = ()  # what a person should know of it


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
