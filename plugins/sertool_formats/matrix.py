"""NumPy's .npy: the outputs as a matrix, with the other columns in a table beside it."""

import csv
from pathlib import Path

import numpy as np

from sertool._files import move_into_place, npy_header
from sertool.errors import UsageError
from sertool.segments import Annotated, Table


class Matrix:
    """Float32 [rows, outputs] as they come; line i of the table NAME.csv says what row i is.

    The row of a recording that failed is NaN.
    """

    def __init__(self, path: Path, table: Table) -> None:
        if not table.outputs:
            raise UsageError("--format npy is for the outputs of a model")
        self._outputs, self._rows = table.outputs, 0
        self._beside = [name for name in table.columns if name not in table.outputs]
        # `path` may have a temporary ending.
        self._table = path.with_name(path.name.removesuffix(".part").removesuffix(".npy") + ".csv")
        self._part = self._table.with_name(self._table.name + ".part")
        self._stream = path.open("wb")
        self._stream.write(npy_header(0, len(self._outputs)))
        self._text = self._part.open("w", encoding="utf-8", newline="")
        self._lines = csv.writer(self._text, lineterminator="\n")
        self._lines.writerow(self._beside)

    def write(self, recording: Annotated) -> None:
        for row in recording.rows:
            values = [np.nan if row.get(name) is None else row[name] for name in self._outputs]
            self._stream.write(np.array(values, "<f4").tobytes())
            self._lines.writerow(["" if row.get(name) is None else row[name] for name in self._beside])
            self._rows += 1

    def close(self) -> None:
        self._stream.seek(0)
        self._stream.write(npy_header(self._rows, len(self._outputs)))
        self._stream.close()
        self._text.close()
        move_into_place(self._part, self._table)
