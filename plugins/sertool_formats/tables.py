"""CSV and JSON lines."""

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from sertool.errors import UsageError
from sertool.segments import Annotated, Segment, Table, seconds

from .texts import bad, text_of

_DIALECTS = ("plain", "excel")


class Csv:
    """CSV (RFC 4180, with line feeds) in UTF-8.

    The dialect "excel" is what Excel opens by double click in countries with a decimal comma: a byte order mark,
    semicolons, decimal commas, CR LF.
    """

    def __init__(self, stream: TextIO, table: Table, dialect: str = "plain") -> None:
        if dialect not in _DIALECTS:
            raise UsageError(f"csv: dialect must be {' or '.join(_DIALECTS)}, not {dialect!r}")
        self._stream, self._columns, self._line = stream, table.columns, io.StringIO()
        self._excel = dialect == "excel"
        # With this line terminator, values that contain \r or \n are both quoted.
        self._table = csv.writer(self._line, delimiter=";" if self._excel else ",", lineterminator="\r\n")
        if self._excel:
            stream.write("\ufeff")
        self._add(table.columns)

    def write(self, recording: Annotated) -> None:
        for row in recording.rows:
            self._add([self._cell(row.get(name)) for name in self._columns])

    def close(self) -> None:
        self._stream.flush()

    def _cell(self, value: Any) -> Any:
        return repr(value).replace(".", ",") if self._excel and isinstance(value, float) else value

    def _add(self, cells: Any) -> None:
        self._table.writerow(cells)
        line = self._line.getvalue()
        self._stream.write(line if self._excel else line.removesuffix("\r\n") + "\n")
        self._line.seek(0)
        self._line.truncate()


class JsonLines:
    """One JSON object per row."""

    def __init__(self, stream: TextIO, table: Table) -> None:
        self._stream = stream

    def write(self, recording: Annotated) -> None:
        self._stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in recording.rows)

    def close(self) -> None:
        self._stream.flush()


def read(path: Path) -> list[Segment]:
    """Read a table with columns start and end, and optionally file and any others.

    The separator is the one of tab, semicolon and comma that the first line has most of. Times are seconds, h:mm:ss or
    timedeltas of pandas; an empty end is the end of the recording. A column channel also says which channel a segment
    belongs to. The .tsv of openai-whisper, in milliseconds, is recognised. Raises UsageError.
    """
    text = text_of(path)
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        lines = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
        head = [name.strip() for name in next(lines, [])]
        head = [name.lower() if name.lower() in ("file", "start", "end") else name for name in head]
        missing = [name for name in ("start", "end") if name not in head]
        if missing:
            raise UsageError(f"{path}: there is no column {missing[0]!r} (there are: {', '.join(head) or 'none'})")
        if twice := [name for name in head if head.count(name) > 1]:
            raise UsageError(f"{path}: two columns are called {twice[0]!r}")
        segments = []
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(head):
                raise bad(path, lines.line_num, f"{len(cells)} cells, but {len(head)} columns")
            segments.append(_segment(dict(zip(head, cells, strict=True)), path, lines.line_num, separator == ";"))
        return _from_milliseconds(segments) if _is_whispers(path, head, segments) else segments
    except csv.Error as error:
        raise bad(path, lines.line_num, error) from None


def _is_whispers(path: Path, head: list[str], segments: list[Segment]) -> bool:
    """Return whether this is the .tsv of openai-whisper, whose times are whole milliseconds."""
    times = [time for segment in segments for time in (segment.start, segment.end)]
    whole = all(time.is_integer() for time in times)
    return (
        path.suffix.lower() == ".tsv" and head == ["start", "end", "text"] and whole and max(times, default=0) >= 1000
    )


def _from_milliseconds(segments: list[Segment]) -> list[Segment]:
    return [replace(segment, start=segment.start / 1000, end=segment.end / 1000) for segment in segments]


def _segment(row: Mapping[str, str], path: Path, line: int, comma: bool) -> Segment:
    def time(name: str) -> float:
        text = row[name].strip()
        return seconds(text.replace(",", ".") if comma else text)

    try:
        start = time("start") if row["start"].strip() else 0.0
        end = time("end") if row["end"].strip() not in ("", "NaT") else math.inf
    except ValueError as error:
        raise bad(path, line, error) from None
    columns = {name: value for name, value in row.items() if name not in ("file", "start", "end")}
    return Segment(start, end, columns, row.get("file") or None, row.get("channel", "").strip() or None)
