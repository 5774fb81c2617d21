"""Tables of labels, as `sertool label` or anybody else wrote them: columns, and which of them a model filled."""

import csv
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from sertool.errors import UsageError
from sertool.tasks import RESERVED

#: Columns that are taken for the class, the first one that there is.
LABELS = ("emotion", "label", "class")
#: Columns that say where in a recording a row comes from.
PLACES = ("track", "channel", "speaker")
#: Columns that are text whatever is in them.
_TEXT = ("file", "error", "text", *PLACES, *LABELS)
_VECTOR = re.compile(r"e\d+")

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Labelled:
    """A table: ``rows`` map ``columns`` to a string, a number or None.

    ``outputs`` are the columns with a model's numbers, ``label`` is the column with the class, "" if there is none.
    ``name`` says what it is for a person; ``model`` which model filled it, if that is known.
    """

    name: str
    columns: tuple[str, ...]
    rows: Sequence[Row]
    outputs: tuple[str, ...]
    label: str
    model: str = ""

    @property
    def numbers(self) -> list[str]:
        """Return the columns that hold numbers."""
        return [name for name in self.columns if name not in _TEXT and _is_numeric(self.rows, name)]

    @property
    def places(self) -> list[str]:
        """Return the columns that tell rows of one recording apart by who spoke where."""
        return [name for name in PLACES if name in self.columns]

    @property
    def files(self) -> list[str]:
        """Return the recordings, in the order of their first rows."""
        return list(dict.fromkeys(row["file"] for row in self.rows))


def read(path: Path, label: str | None = None) -> Labelled:
    """Read csv, tsv, jsonl or parquet with a column ``file``; ``label`` is the column with the class.

    Cells become numbers where a whole column is numeric. Columns of embeddings (e000 and so on) are left out. Raises
    UsageError.
    """
    rows = _rows(path)
    if not rows:
        raise UsageError(f"{path}: no rows in it")
    columns = tuple(dict.fromkeys(name for row in rows for name in row if name and not _VECTOR.fullmatch(name)))
    if "file" not in columns:
        raise UsageError(f"{path}: no column 'file' (there are: {', '.join(columns)})")
    if label is not None and label not in columns:
        raise UsageError(f"{path}: no column {label!r} (there are: {', '.join(columns)})")
    comma = path.suffix.lower() in (".csv", ".tsv", ".txt")
    text = {*_TEXT, label}
    numeric = {name for name in columns if name not in text and _all_numbers((row.get(name) for row in rows), comma)}
    cells = [{name: _cell(row.get(name), name in numeric) for name in columns} for row in rows]
    if not all(row["file"] for row in cells):
        raise UsageError(f"{path}: a row without a file")
    found = label or next((name for name in LABELS if name in columns), "")
    return Labelled(path.name, columns, cells, outputs_of(columns, cells, numeric, found), found, model_of(path))


def model_of(path: Path) -> str:
    """Return the model that filled a table, which the journal beside it knows, else ""."""
    try:
        with open(path.with_name(f"{path.name}.journal"), encoding="utf-8") as stream:
            return str(json.loads(stream.readline(100_000).rpartition(" ")[0]).get("model", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def outputs_of(columns: Iterable[str], rows: Sequence[Row], numeric: Iterable[str], label: str) -> tuple[str, ...]:
    """Return the columns that a model filled.

    With a class, these are the probabilities: columns that sum to 1, or that are named like a class. Without one, they
    are all numbers but those that are known to be something else.
    """
    numeric = set(numeric)
    named = [
        name
        for name in columns
        if name in numeric and name not in RESERVED and not name.endswith((".low", ".high", ".relative"))
    ]
    if not label:
        return tuple(named)
    classes = {row[label] for row in rows if row.get(label)}
    own = [name for name in named if name in classes]
    if own:  # and those that never won
        first, last = columns_between(named, own)
        run = named[first : last + 1]
        sums = [sum(row.get(name) or 0 for name in named) for row in rows if row.get(own[0]) is not None]
        return tuple(named if sums and all(abs(total - 1) < 0.02 for total in sums) else run)
    return ()


def columns_between(names: Sequence[str], inside: Sequence[str]) -> tuple[int, int]:
    """Return the first and the last place in ``names`` of those ``inside``."""
    places = [names.index(name) for name in inside]
    return min(places), max(places)


def _rows(path: Path) -> list[dict[str, Any]]:
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return _parquet(path)
        with open(path, "rb") as stream:
            head = stream.read(1)
        if suffix not in (".csv", ".tsv", ".txt", ".jsonl") and head != b"{":
            raise UsageError(f"{path}: a table must be csv, tsv, jsonl or parquet")
        return _lines(path) if head == b"{" else _csv(path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UsageError(f"{path}: not a table in UTF-8 ({error})") from None


def _csv(path: Path) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8-sig", newline="") as stream:
        first = stream.readline()
        stream.seek(0)
        reader = csv.DictReader(stream, delimiter=max(",;\t", key=first.count), restkey="")
        return [{name.strip(): cell for name, cell in row.items()} for row in reader]


def _lines(path: Path) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is not an object")
    return rows


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError(f"{path}: needs pyarrow: pip install 'sertool[parquet]'") from None
    try:
        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    except pyarrow.ArrowException as error:
        raise UsageError(f"{path}: not parquet ({str(error).splitlines()[0]})") from None
    return rows


def _all_numbers(cells: Iterable[Any], text: bool) -> bool:
    """Return whether all cells that are not empty are numbers, and there is one."""
    known = [cell for cell in cells if cell not in (None, "")]
    return bool(known) and all(_number(cell, text) is not None for cell in known)


def _is_numeric(rows: Sequence[Row], name: str) -> bool:
    known = [row[name] for row in rows if row.get(name) is not None]
    return bool(known) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)


def _number(cell: Any, text: bool = True) -> float | None:
    if isinstance(cell, bool) or not isinstance(cell, int | float | (str if text else int)):
        return None
    try:
        value = float(cell.replace(",", ".") if isinstance(cell, str) else cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _cell(cell: Any, numeric: bool) -> Any:
    if cell is None or cell == "":
        return None
    return _number(cell) if numeric else str(cell)
