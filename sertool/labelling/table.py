"""Write rows as CSV, JSON lines or Parquet, with the same values: seconds and outputs to six decimals."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TextIO

from sertool._files import move_into_place, sync
from sertool.errors import UsageError
from sertool.recordings.scan import printable

FORMATS = ("csv", "jsonl", "parquet")


class Writer(Protocol):
    """Writer of a table: ``write`` adds rows at once, ``close`` completes the table."""

    def write(self, rows: list[dict[str, Any]]) -> None: ...

    def close(self) -> None: ...


def columns(outputs: list[str]) -> list[str]:
    """Return the column names: audformat's segmented index, the model's columns, seconds of speech, error."""
    return ["file", "start", "end", *outputs, "speech", "error"]


def row(file: str, values: Mapping[str, Any], outputs: list[str]) -> dict[str, Any]:
    """Return a row in column order; numbers are rounded to six decimals, missing values are None."""
    full = {"file": printable(file), **values}
    if full.get("error"):
        full["error"] = printable(full["error"])  # may contain the file name
    return {name: _rounded(full.get(name)) for name in columns(outputs)}


def open_writer(form: str, stream: TextIO | Path, outputs: list[str]) -> Writer:
    """Return a writer for one of FORMATS; ``stream`` is a text stream for csv and jsonl, a path for parquet."""
    if isinstance(stream, Path):
        return _Parquet(stream, outputs)
    writers: dict[str, type[_Csv | _JsonLines]] = {"csv": _Csv, "jsonl": _JsonLines}
    return writers[form](stream, outputs)


def require(form: str) -> None:
    """Raise UsageError if a format's library is not installed."""
    if form == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise UsageError("--format parquet needs pyarrow: pip install 'sertool[parquet]'") from None


class _Csv:
    def __init__(self, stream: TextIO, outputs: list[str]) -> None:
        self.stream, self._line = stream, io.StringIO()
        # With this line terminator, values that contain \r or \n are both quoted.
        self._table = csv.DictWriter(self._line, columns(outputs), lineterminator="\r\n")
        self._table.writeheader()
        self._pass_on()

    def write(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self._table.writerow(row)
            self._pass_on()
        self.stream.flush()

    def close(self) -> None:
        sync(self.stream)

    def _pass_on(self) -> None:
        self.stream.write(self._line.getvalue().removesuffix("\r\n") + "\n")
        self._line.seek(0)
        self._line.truncate()


class _JsonLines:
    def __init__(self, stream: TextIO, outputs: list[str]) -> None:
        self.stream = stream

    def write(self, rows: list[dict[str, Any]]) -> None:
        self.stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self.stream.flush()

    def close(self) -> None:
        sync(self.stream)


class _Parquet:
    """Row groups of a few thousand rows, in a file that is renamed when it is complete."""

    GROUP = 5000

    def __init__(self, path: Path, outputs: list[str]) -> None:
        import pyarrow
        from pyarrow import parquet

        self._path, self._beside = path, path.with_name(path.name + ".part")
        self._rows: list[dict[str, Any]] = []
        text = ("file", "emotion", "error")
        self._schema = pyarrow.schema(
            [(name, pyarrow.string() if name in text else pyarrow.float64()) for name in columns(outputs)]
        )
        self._pyarrow = pyarrow
        self._file = parquet.ParquetWriter(self._beside, self._schema)

    def write(self, rows: list[dict[str, Any]]) -> None:
        self._rows += rows
        if len(self._rows) >= self.GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._file.close()
        move_into_place(self._beside, self._path)

    def _flush(self) -> None:
        if self._rows:
            self._file.write_table(self._pyarrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value
