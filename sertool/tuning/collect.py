"""Outputs and embeddings of labelled recordings."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sertool._types import Floats
from sertool.corpora.rows import Row
from sertool.errors import UsageError
from sertool.labelling import Labeller
from sertool.recordings import pool
from sertool.recordings.pool import FAULTS, reason


@dataclass(frozen=True)
class Heard:
    """What a model makes of clips: ``outputs`` [n, k], ``embeddings`` [n, width], width 0 if it has none.

    ``rows`` are the clips that could be read, ``failed`` are (name, reason) of the others.
    """

    rows: list[Row]
    outputs: Floats
    embeddings: Floats
    failed: list[tuple[str, str]]

    def part(self, chosen: Floats) -> "Heard":
        """Return the clips at these indices [m], without the failed ones."""
        rows = [self.rows[i] for i in chosen]
        return replace(self, rows=rows, outputs=self.outputs[chosen], embeddings=self.embeddings[chosen], failed=[])


def hear(
    labeller: Labeller, rows: Sequence[Row], jobs: int, progress: Callable[[int, int], None], stop: threading.Event
) -> Heard:
    """Run a model (a Labeller with vectors="both") over rows, in ``jobs`` threads.

    Long recordings are averaged over their windows, as `label` does. Raises UsageError if no row can be read,
    KeyboardInterrupt if ``stop`` was set before the end.
    """
    width = labeller.runtime.width
    names = labeller.columns

    def work(row: Row) -> tuple[Row, list[float] | str]:
        try:
            if row.start is None:
                labels = labeller.label(row.file)
            else:
                end = row.end if row.end is not None else float("inf")
                (labels,) = labeller.segments(row.file, [(row.start, end)])
            return row, labels.error or [labels[name] for name in names]
        except FAULTS as fault:
            return row, reason(fault)

    heard: dict[int, tuple[Row, list[float]]] = {}
    failed: list[tuple[str, str]] = []
    order = {id(row): number for number, row in enumerate(rows)}
    for done, (row, result) in enumerate(pool.each(work, list(rows), jobs=jobs, ordered=False, stop=stop), start=1):
        if isinstance(result, str):
            failed.append((str(row.file), result))
        else:
            heard[order[id(row)]] = row, result
        progress(done, len(rows))
    if stop.is_set():
        raise KeyboardInterrupt
    if not heard:
        raise UsageError(f"none of {len(rows)} recordings can be used: {failed[0][0]}: {failed[0][1]}")
    kept = [heard[number] for number in sorted(heard)]
    values = np.array([result for _, result in kept], np.float64)
    outputs = values[:, : len(names) - width]
    return Heard([row for row, _ in kept], outputs, values[:, outputs.shape[1] :], sorted(failed))


def beside(table: Path, name: str) -> Path:
    """Return the path of a file that a table names: relative to the table's folder unless it is absolute."""
    return table.parent / name
