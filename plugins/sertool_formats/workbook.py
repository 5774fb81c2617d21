"""Workbooks for Excel and LibreOffice."""

from pathlib import Path
from typing import Any

from sertool.errors import UsageError
from sertool.segments import Annotated, Table

from .texts import in_xml

#: Rows that a sheet of Excel can hold.
_MOST_ROWS = 1_048_576


class Workbook:
    """A workbook with one sheet. Text is never a formula."""

    def __init__(self, path: Path, table: Table) -> None:
        try:
            from openpyxl import Workbook as Book
            from openpyxl.cell import WriteOnlyCell
            from openpyxl.styles import Font
        except ImportError:
            raise UsageError("--format xlsx needs openpyxl: pip install 'sertool[xlsx]'") from None
        self._path, self._columns, self._cell_class = path, table.columns, WriteOnlyCell
        self._book = Book(write_only=True)
        self._sheet = self._book.create_sheet("labels")
        self._sheet.freeze_panes = "A2"
        self._sheet.column_dimensions["A"].width = 40
        head = [self._cell(name) for name in table.columns]
        for cell in head:
            cell.font = Font(bold=True)
        self._sheet.append(head)
        self._rows = 1

    def write(self, recording: Annotated) -> None:
        for row in recording.rows:
            self._rows += 1
            if self._rows > _MOST_ROWS:
                raise UsageError(f"a sheet of Excel holds {_MOST_ROWS} rows: write --format csv, parquet or sqlite")
            self._sheet.append([self._cell(row.get(name)) for name in self._columns])

    def close(self) -> None:
        self._book.save(self._path)

    def _cell(self, value: Any) -> Any:
        if not isinstance(value, str):
            return self._cell_class(self._sheet, value)
        cell = self._cell_class(self._sheet, in_xml(value)[:32_767])
        cell.data_type = "s"
        return cell
