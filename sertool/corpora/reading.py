"""Read a corpus with its registered reader and validate the rows; plugin errors become one-line messages."""

from pathlib import Path

from sertool.corpora.rows import Row
from sertool.errors import SertoolError, UsageError
from sertool.plugins import load_plugins

_TEXTS = ("corpus", "speaker", "emotion", "intensity", "sex", "language", "session", "split", "licence")
_NUMBERS = ("duration", "arousal", "dominance", "valence")


def rows_of(layout: str, root: Path) -> list[Row]:
    """Return the rows, at least one, that the reader registered as ``layout`` finds below ``root``.

    Raises UsageError if there is no such reader, if it raises or returns anything else, and if there are no recordings.
    """
    corpus, where = load_plugins().get("corpora", layout), f"{root}: the reader {layout!r}"
    try:
        rows = list(corpus.read(Path(root)))
    except SertoolError:
        raise
    except Exception as error:  # a plugin may raise anything
        raise UsageError(f"{where} raised {type(error).__name__}: {' '.join(str(error).split())}") from None
    for row in rows:
        if not isinstance(row, Row):
            raise UsageError(f"{where} returned {type(row).__name__}, not sertool.corpora.Row")
        if not isinstance(row.file, Path):
            raise UsageError(f"{where} returned a row whose file is {row.file!r}, not a pathlib.Path")
        wrong = [name for name in _TEXTS if not isinstance(getattr(row, name), str)]
        wrong += [n for n in _NUMBERS if not isinstance(getattr(row, n), (int, float, type(None)))]
        if wrong:
            raise UsageError(f"{where} returned {row.file.name} with {wrong[0]} {getattr(row, wrong[0])!r}")
    if not rows:
        raise UsageError(f"{where} found no recordings")
    return rows
