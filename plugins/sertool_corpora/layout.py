"""Helpers of the readers: read a CSV file, list recordings, check that recordings exist."""

import csv
from collections.abc import Iterator
from pathlib import Path

from sertool.corpora import Row
from sertool.errors import SertoolError


def table(path: Path, required: set[str], hint: str = "") -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, record) from a UTF-8 CSV file with a header; missing fields of a line are empty.

    Raises SertoolError if the file cannot be read (the message ends with the hint) or a required column is missing.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            records = csv.DictReader(stream, restval="")
            missing = required - set(records.fieldnames or ())
            if missing:
                names = records.fieldnames or []
                other = next((mark for mark in ";\t|" if len(names) == 1 and mark in names[0]), None)
                reason = f": fields are separated by {other!r}, but must be separated by commas" if other else ""
                raise SertoolError(f"{path}: no column {', '.join(sorted(missing))}{reason}")
            for record in records:
                yield records.line_num, record
    except OSError as error:
        raise SertoolError(f"{path}: {error.strerror}" + (f"; {hint}" if hint else "")) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise SertoolError(f"{path}: not a CSV file in UTF-8 ({error})") from None


def files(folder: Path, pattern: str, hint: str) -> list[Path]:
    """Return the matching files of a folder, sorted, without the hidden files (._NAME) that macOS adds to archives.

    Raises SertoolError with the hint if there are none.
    """
    matches = sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))
    if not matches:
        raise SertoolError(f"{folder / pattern}: no such file; {hint}")
    return matches


def check_recordings(rows: list[Row], labels: Path) -> None:
    """Raise SertoolError if a recording named in the labels is missing: an incomplete corpus is an error."""
    # Each folder is listed once: a check per file takes minutes for MSP-Podcast's 250,000 files on a network disk.
    present = {folder: {path.name for path in folder.glob("*")} for folder in {row.file.parent for row in rows}}
    missing = [row.file for row in rows if row.file.name not in present[row.file.parent]]
    if missing:
        raise SertoolError(
            f"{missing[0]}: no such file, but it is named in {labels} ({len(missing)} of {len(rows)} recordings are "
            "missing): unpack all audio of the corpus"
        )
