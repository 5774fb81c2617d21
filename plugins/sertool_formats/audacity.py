"""Audacity's label tracks."""

from pathlib import Path
from typing import TextIO

from sertool.segments import Annotated, Segment, Table, seconds

from .texts import bad, filled, text_of


class Labels:
    """Audacity's manual, "Importing and Exporting Labels"."""

    def __init__(self, stream: TextIO, table: Table) -> None:
        self._stream, self._table = stream, table

    def write(self, recording: Annotated) -> None:
        default = "{text} {label}" if "text" in self._table.columns else "{label}"
        for row in recording.rows:
            if row["start"] is not None and row["end"] >= row["start"]:
                self._stream.write(f"{row['start']:.6f}\t{row['end']:.6f}\t{self._table.text(row, default)}\n")

    def close(self) -> None:
        self._stream.flush()


def read(path: Path) -> list[Segment]:
    """Read labels; lines with frequencies, which begin with a backslash, are skipped. Raises UsageError."""
    segments = []
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        if not line.strip() or line.startswith("\\"):
            continue
        cells = line.split("\t")
        if len(cells) < 2:
            raise bad(path, number, "not START, END and LABEL with tabs between, as Audacity exports labels")
        try:
            start, end = (seconds(cell.replace(",", ".")) for cell in cells[:2])
        except ValueError as error:
            raise bad(path, number, error) from None
        segments.append(Segment(start, end, filled({"text": "\t".join(cells[2:])})))
    return segments
