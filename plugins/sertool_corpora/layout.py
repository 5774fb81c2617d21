"""What the readers share: a CSV file line by line, recordings found in a folder or missed there."""

import csv
from collections.abc import Iterator
from pathlib import Path

from sertool.corpora import Row
from sertool.errors import SertoolError


def table(path: Path, required: set[str], hint: str = "") -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, record) of a UTF-8 CSV file with a header; a field that a line lacks is empty.

    Raises SertoolError if the file cannot be read (with the hint) or a required column is missing.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            records = csv.DictReader(stream, restval="")
            missing = required - set(records.fieldnames or ())
            if missing:
                names = records.fieldnames or []
                other = next((mark for mark in ";\t|" if len(names) == 1 and mark in names[0]), None)
                way = f": its fields are separated by {other!r}, they must be by commas" if other else ""
                raise SertoolError(f"{path}: no column {', '.join(sorted(missing))}{way}")
            for record in records:
                yield records.line_num, record
    except OSError as error:
        raise SertoolError(f"{path}: {error.strerror}" + (f"; {hint}" if hint else "")) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise SertoolError(f"{path}: not a CSV file in UTF-8 ({error})") from None


def files(folder: Path, pattern: str, hint: str) -> list[Path]:
    """The files of a folder that match, by name, without the hidden twins (._NAME) that macOS leaves in archives.

    Raises SertoolError with the hint if there are none.
    """
    found = sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))
    if not found:
        raise SertoolError(f"{folder / pattern}: no such file; {hint}")
    return found


def check_recordings(rows: list[Row], labels: Path) -> None:
    """Raise SertoolError if a recording that the labels name is absent: part of a corpus is not the corpus."""
    # one listing a folder: asking for each of MSP-Podcast's quarter of a million files takes minutes on a network disk
    present = {folder: {path.name for path in folder.glob("*")} for folder in {row.file.parent for row in rows}}
    missing = [row.file for row in rows if row.file.name not in present[row.file.parent]]
    if missing:
        raise SertoolError(
            f"{missing[0]}: no such file, though {labels} names it ({len(missing)} of {len(rows)} recordings are "
            "missing): unpack all of the corpus's audio"
        )
