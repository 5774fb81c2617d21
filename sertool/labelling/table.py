"""Rows as CSV, JSON lines or Parquet. The same values in each: seconds and outputs to six decimals."""

import csv
import io
import json
from pathlib import Path
from typing import Protocol

from sertool._files import move_into_place, sync
from sertool.errors import UsageError
from sertool.recordings.scan import printable

FORMATS = ("csv", "jsonl", "parquet")


class Writer(Protocol):
    """Where rows go; ``write`` passes them on at once, ``close`` completes the table."""

    def write(self, rows: list[dict]) -> None: ...

    def close(self) -> None: ...


def columns(own: list[str]) -> list[str]:
    """Column names: audformat's segmented index, the model's own, seconds of speech, and what went wrong."""
    return ["file", "start", "end", *own, "speech", "error"]


def row(file: str, values: dict, own: list[str]) -> dict:
    """A row in column order, numbers rounded to six decimals, what is missing None."""
    full = {"file": printable(file), **values}
    if full.get("error"):
        full["error"] = printable(full["error"])  # it may quote the file's name
    return {name: _rounded(full.get(name)) for name in columns(own)}


def open_writer(form: str, stream, own: list[str]) -> Writer:
    """A writer of one of FORMATS; ``stream`` is a text stream for csv and jsonl, a path for parquet."""
    return {"csv": _Csv, "jsonl": _JsonLines, "parquet": _Parquet}[form](stream, own)


def require(form: str) -> None:
    """UsageError if a format's library is not installed."""
    if form == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise UsageError("--format parquet needs pyarrow: pip install 'sertool[parquet]'") from None


class _Csv:
    def __init__(self, stream, own):
        self.stream, self._line = stream, io.StringIO()
        self._table = csv.DictWriter(self._line, columns(own), lineterminator="\r\n")  # so that both get quotes
        self._table.writeheader()
        self._pass_on()

    def write(self, rows):
        for row in rows:
            self._table.writerow(row)
            self._pass_on()
        self.stream.flush()

    def close(self):
        sync(self.stream)

    def _pass_on(self):
        self.stream.write(self._line.getvalue().removesuffix("\r\n") + "\n")
        self._line.seek(0)
        self._line.truncate()


class _JsonLines:
    def __init__(self, stream, own):
        self.stream = stream

    def write(self, rows):
        self.stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self.stream.flush()

    def close(self):
        sync(self.stream)


class _Parquet:
    """Row groups of a few thousand rows, in a file that takes its name when it is complete."""

    GROUP = 5000

    def __init__(self, path: Path, own):
        import pyarrow
        from pyarrow import parquet

        self._path, self._beside, self._rows = path, path.with_name(path.name + ".part"), []
        text = ("file", "emotion", "error")
        self._schema = pyarrow.schema(
            [(name, pyarrow.string() if name in text else pyarrow.float64()) for name in columns(own)]
        )
        self._pyarrow = pyarrow
        self._file = parquet.ParquetWriter(self._beside, self._schema)

    def write(self, rows):
        self._rows += rows
        if len(self._rows) >= self.GROUP:
            self._flush()

    def close(self):
        self._flush()
        self._file.close()
        move_into_place(self._beside, self._path)

    def _flush(self):
        if self._rows:
            self._file.write_table(self._pyarrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


def _rounded(value):
    return round(value, 6) if isinstance(value, float) else value
