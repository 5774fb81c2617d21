"""A folder with a manifest.csv."""

from pathlib import Path
from typing import Any

from sertool.corpora import Row
from sertool.errors import SertoolError

from .layout import table

TEXT = ("corpus", "speaker", "emotion", "intensity", "sex", "language", "session", "split", "licence")
NUMBERS = {"duration": "duration_s", "arousal": "arousal", "dominance": "dominance", "valence": "valence"}


def read(root: str | Path) -> list[Row]:
    """Return the rows of ROOT/manifest.csv; files are relative to ROOT.

    Columns ``file`` and ``speaker`` are required; corpus, emotion, intensity, sex, language, session, split, licence,
    duration_s, arousal, dominance and valence are read if present. Raises SertoolError if a column or the file is
    missing, or a value is not a number.
    """
    root = Path(root)
    path = root / "manifest.csv"
    return [_row(root, record, path, line) for line, record in table(path, {"file", "speaker"})]


def _row(root: Path, record: dict[str, str], path: Path, line: int) -> Row:
    values: dict[str, Any] = {name: record.get(name) or "" for name in TEXT}
    for name, column in NUMBERS.items():
        try:
            values[name] = float(record[column]) if record.get(column) else None
        except ValueError:
            raise SertoolError(f"{path}, line {line}: {column} is {record[column]!r}, not a number") from None
    values["corpus"] = values["corpus"] or root.resolve().name
    return Row(file=root / record["file"], **values)
