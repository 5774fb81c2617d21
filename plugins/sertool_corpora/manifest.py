"""A folder with a manifest.csv."""

from pathlib import Path

from sertool.corpora import Row
from sertool.errors import SertoolError

from .layout import table

TEXT = ("corpus", "speaker", "emotion", "intensity", "sex", "language", "session", "split", "licence")
NUMBERS = {"duration": "duration_s", "arousal": "arousal", "dominance": "dominance", "valence": "valence"}


def read(root) -> list[Row]:
    """Rows of ROOT/manifest.csv, files relative to it.

    Columns ``file`` and ``speaker`` are required; corpus, emotion, intensity, sex, language, session, split, licence,
    duration_s, arousal, dominance and valence are read if present. SertoolError names a missing column or file.
    """
    root = Path(root)
    path = root / "manifest.csv"
    return [_row(root, record, path, line) for line, record in table(path, {"file", "speaker"})]


def _row(root: Path, record: dict, path: Path, line: int) -> Row:
    values = {name: record.get(name) or "" for name in TEXT}
    for name, column in NUMBERS.items():
        try:
            values[name] = float(record[column]) if record.get(column) else None
        except ValueError:
            raise SertoolError(f"{path}, line {line}: {column} is {record[column]!r}, not a number") from None
    values["corpus"] = values["corpus"] or root.resolve().name
    return Row(file=root / record["file"], **values)
