"""Tables and folders of people's own labels."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sertool._types import Floats
from sertool.corpora.rows import Row
from sertool.errors import UsageError
from sertool.recordings.scan import scan

#: Columns that are taken for the label, the first one that there is.
LABELS = ("emotion", "label", "class")


@dataclass(frozen=True)
class Own:
    """Clips with labels: ``names`` of classes, or of columns of numbers; ``texts`` [n] or ``numbers`` [n, new].

    ``skipped`` counts rows without a label.
    """

    rows: list[Row]
    names: list[str]
    texts: list[str]
    numbers: Floats
    skipped: int = 0

    @property
    def classes(self) -> bool:
        """Whether the labels are classes."""
        return bool(self.texts)

    def targets(self, rows: Sequence[Row]) -> Floats:
        """Return the targets [n, new] of ``rows``, which are some of the clips: one-hot, or numbers."""
        place = {row.key: index for index, row in enumerate(self.rows)}
        chosen = [place[row.key] for row in rows]
        if not self.classes:
            return self.numbers[chosen]
        targets: Floats = np.array([[float(self.texts[i] == name) for name in self.names] for i in chosen])
        return targets


def read(path: Path, label: str | None = None, numbers: Sequence[str] = (), folder: Path | None = None) -> Own:
    """Read a table, or a folder with a folder of recordings for each class.

    A table (csv or tsv) has a column ``file``, relative to ``folder`` or to the table's folder, a column ``label`` (by
    default the first of LABELS) or columns ``numbers``, and maybe ``speaker``, and ``start`` and ``end`` in seconds.
    Raises UsageError, which names the line, for anything else.
    """
    if path.is_dir():
        if label or numbers:
            raise UsageError(f"{path} is a folder: the classes are its folders, without --label and --numbers")
        return _folders(path)
    header, lines = table(path)
    if "file" not in header:
        raise UsageError(f"{path}: no column 'file' (there are: {', '.join(header)})")
    wanted = list(numbers)
    if not wanted:
        found = label or next((name for name in LABELS if name in header), None)
        if found is None:
            raise UsageError(f"{path}: none of its columns is {' or '.join(LABELS)}: name one with --label")
        wanted = [found]
    if unknown := [name for name in wanted if name not in header]:
        raise UsageError(f"{path}: no column {unknown[0]!r} (there are: {', '.join(header)})")
    rows, texts, values, skipped = list[Row](), list[str](), list[list[float]](), 0
    seen = set()
    for line, cells in lines:
        where = f"{path}, line {line}"
        given = [(cells.get(name) or "").strip() for name in wanted]
        if not all(given):
            skipped += 1
            continue
        file, start, end = (cells.get("file") or "").strip(), _time(cells, "start", where), _time(cells, "end", where)
        if not file:
            raise UsageError(f"{where}: no file")
        place = (folder or path.parent) / file
        row = Row(place, "own", (cells.get("speaker") or "").strip(), given[0], start=start, end=end)
        if row.key in seen:
            raise UsageError(f"{where}: {file} is labelled twice")
        seen.add(row.key)
        rows.append(row)
        if numbers:
            values.append([_number(text, name, where) for text, name in zip(given, wanted, strict=True)])
        else:
            texts.append(given[0])
    if not rows:
        raise UsageError(f"{path}: no row has a label in {', '.join(wanted)}")
    names = list(numbers) or sorted(set(texts))
    return Own(rows, names, texts, np.array(values), skipped)


def _folders(path: Path) -> Own:
    rows = []
    for inner in sorted(path.iterdir()):
        if inner.is_dir() and not inner.name.startswith("."):
            rows += [Row(found.path, "own", "", inner.name) for found in scan([str(inner)])]
    if not rows:
        raise UsageError(f"{path}: no folders with recordings in it: name a folder for each class, or give a table")
    texts = [row.emotion for row in rows]
    return Own(rows, sorted(set(texts)), texts, np.zeros((0, 0)))


def table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str | None]]]]:
    """Return the header and (line number, cells) of a table with commas, semicolons or tabs. Raise UsageError."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            first = stream.readline()
            stream.seek(0)
            mark = max(",;\t", key=first.count)
            reader = csv.DictReader(stream, delimiter=mark)
            rows = [(reader.line_num, row) for row in reader]
            return [*(reader.fieldnames or ())], rows
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: not a table in UTF-8: save it as UTF-8 ({error})") from None


def _time(cells: dict[str, str | None], name: str, where: str) -> float | None:
    text = (cells.get(name) or "").strip()
    return _number(text, name, where) if text else None


def _number(text: str, name: str, where: str) -> float:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{where}: {name} {text!r} is not a number")
    return value
