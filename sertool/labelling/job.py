"""Label many recordings, several at a time."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sertool.labelling import table
from sertool.labelling.journal import Journal, stamp
from sertool.labelling.labeller import Labeller
from sertool.labelling.labels import Labels
from sertool.recordings.pool import FAULTS, Meter, decoded, each, reason
from sertool.recordings.scan import Recording


@dataclass(frozen=True)
class Result:
    """A finished recording.

    ``rows`` are its rows of the label table, ``seconds`` its length, ``taken_over`` whether the rows come from a
    journal, ``notes`` remarks on the file for the user.
    """

    recording: Recording
    rows: list[dict[str, Any]]
    seconds: float
    failed: bool
    taken_over: bool = False
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The recording's name in the table."""
        return self.recording.name

    @property
    def error(self) -> str | None:
        """Why the recording has no labels; None if it has."""
        return self.rows[0]["error"] if self.failed else None

    @property
    def labels(self) -> list[Labels]:
        """The labels as in the table, rounded to six decimals: one, or one per window; none if the recording failed."""
        rows = [] if self.failed else self.rows
        return [Labels({key: value for key, value in row.items() if key != "file"}) for row in rows]


def label_one(labeller: Labeller, recording: Recording, windows: bool, meter: Meter | None = None) -> Result:
    """Label a recording; a fault of the file becomes the row's ``error``."""
    columns, notes = labeller.columns, list[str]()
    try:
        blocks = decoded(recording, notes.append)
        rows, seconds = labeller.rows(meter.count(blocks) if meter else blocks)
        whole = labeller.average(rows, seconds)
        labelled = rows if windows else [whole]
        return Result(
            recording,
            [table.row(recording.name, labels, columns) for labels in labelled],
            seconds,
            failed=False,
            notes=tuple(notes),
        )
    except FAULTS as fault:
        return Result(recording, [table.row(recording.name, {"error": reason(fault)}, columns)], 0.0, failed=True)


def label_all(
    labeller: Labeller,
    recordings: Sequence[Recording],
    *,
    jobs: int = 1,
    windows: bool = False,
    ordered: bool = False,
    journal: Journal | None = None,
    stop: threading.Event | None = None,
    meter: Meter | None = None,
) -> Iterator[Result]:
    """Label recordings in ``jobs`` threads; yield each Result as it is finished, or in their order if ``ordered``.

    A recording that cannot be labelled has a Result with ``error``; it does not end the run. Once ``stop`` is set, no
    further file is started; those in progress are finished and yielded. Results of recordings in the journal are taken
    from it, and each new one is added as soon as it is finished.
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

    return each(work, list(recordings), jobs=jobs, ordered=ordered, stop=stop)
