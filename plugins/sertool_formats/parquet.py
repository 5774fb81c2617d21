"""Parquet."""

from pathlib import Path
from typing import Any

from sertool.errors import UsageError
from sertool.segments import Annotated, Table


class Parquet:
    """Row groups of a few thousand rows."""

    GROUP = 5000

    def __init__(self, path: Path, table: Table) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise UsageError("--format parquet needs pyarrow: pip install 'sertool[parquet]'") from None
        types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
        self._schema = pyarrow.schema([(name, types[table.kind(name)]) for name in table.columns])
        self._rows: list[Any] = []
        self._pyarrow = pyarrow
        self._file = parquet.ParquetWriter(path, self._schema)

    def write(self, recording: Annotated) -> None:
        for row in recording.rows:
            self._rows.append(row)
            if len(self._rows) >= self.GROUP:
                self._flush()

    def close(self) -> None:
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._rows:
            self._file.write_table(self._pyarrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []
