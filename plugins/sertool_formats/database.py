"""SQLite databases."""

import sqlite3
from pathlib import Path

from sertool.errors import UsageError
from sertool.segments import Annotated, Table


class Database:
    """A new database with a table "labels"."""

    #: Columns of a table as SQLite is usually compiled.
    MOST = 2000
    TYPES = {str: "TEXT", int: "INTEGER", float: "REAL"}  # noqa: RUF012

    def __init__(self, path: Path, table: Table) -> None:
        if len(table.columns) > self.MOST:
            raise UsageError(
                f"--format sqlite holds at most {self.MOST} columns, not {len(table.columns)}: use parquet"
            )
        self._columns = table.columns
        path.unlink(missing_ok=True)
        # Opened by the thread that writes, closed perhaps by another one.
        self._connection = sqlite3.connect(path, check_same_thread=False)
        types = ", ".join(f"{_quoted(name)} {self.TYPES[table.kind(name)]}" for name in table.columns)
        self._connection.execute(f"CREATE TABLE labels ({types})")
        self._insert = f"INSERT INTO labels VALUES ({', '.join('?' * len(table.columns))})"

    def write(self, recording: Annotated) -> None:
        self._connection.executemany(
            self._insert, ([row.get(name) for name in self._columns] for row in recording.rows)
        )

    def close(self) -> None:
        self._connection.execute("CREATE INDEX labels_file ON labels (file)")
        self._connection.commit()
        self._connection.close()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
