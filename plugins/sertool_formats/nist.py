"""NIST's formats of the Rich Transcription evaluations: RTTM and CTM (RT-09 evaluation plan, appendix A)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote, unquote

from sertool.segments import Annotated, Segment, Table, seconds
from sertool.segments.table import SPEECH

from .texts import bad, filled, text_of


class Rttm:
    """SPEAKER lines: the name is the row's class, else its speaker, else "speech"; with the class's confidence.

    Fields are separated by blanks: blanks and % within the recording's stem and the name are percent-encoded.
    """

    def __init__(self, stream: TextIO, table: Table) -> None:
        self._stream, self._table = stream, table

    def write(self, recording: Annotated) -> None:
        file = _field(recording.stem)
        for row in recording.rows:
            if row["start"] is None or row["end"] <= row["start"] or row.get("error"):
                continue
            confidence = self._table.confidence(row)
            self._stream.write(
                f"SPEAKER {file} {_channel(row)} {row['start']:.6f} {row['end'] - row['start']:.6f} "
                f"<NA> <NA> {_field(self._name(row))} {'<NA>' if confidence is None else f'{confidence:.6f}'} <NA>\n"
            )

    def close(self) -> None:
        self._stream.flush()

    def _name(self, row: Mapping[str, Any]) -> str:
        if self._table.template is not None:
            return self._table.text(row) or "<NA>"
        return str(row.get(self._table.label) or row.get("speaker") or SPEECH)


def _channel(row: Mapping[str, Any]) -> int:
    channel = row.get("channel")
    return channel if isinstance(channel, int) else 1


def _field(text: str) -> str:
    return "".join(quote(c) if c.isspace() or c == "%" else c for c in text) or "<NA>"


def read_rttm(path: Path) -> list[Segment]:
    """Read the SPEAKER lines; other types of lines are skipped. Raises UsageError."""
    return _read(path, "SPEAKER", start=3, name=("speaker", 7), least=8)


def read_ctm(path: Path) -> list[Segment]:
    """Read words: FILE CHANNEL START LENGTH WORD [CONFIDENCE]. Raises UsageError."""
    return _read(path, None, start=2, name=("text", 4), least=5)


def _read(path: Path, kind: str | None, *, start: int, name: tuple[str, int], least: int) -> list[Segment]:
    segments = []
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        cells = line.split()
        if not cells or line.startswith(";;") or (kind and cells[0] != kind):
            continue
        if len(cells) < least:
            raise bad(path, number, f"{len(cells)} fields instead of at least {least}")
        try:
            begin, length = seconds(cells[start]), seconds(cells[start + 1])
        except ValueError as error:
            raise bad(path, number, error) from None
        value = unquote(cells[name[1]])
        columns = filled({name[0]: "" if value == "<NA>" else value})
        file, channel = cells[start - 2], cells[start - 1]
        segments.append(Segment(begin, begin + length, columns, unquote(file), channel))
    return segments
