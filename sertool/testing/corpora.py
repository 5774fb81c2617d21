"""Checks of a corpus reader."""

import math
import tempfile
from pathlib import Path

from sertool.corpora import Row, check_speakers_disjoint
from sertool.corpora.classes import COUNTS_AS, SYNONYMS, canonical
from sertool.corpora.coordinates import TERMS
from sertool.corpora.folds import leave_one_out
from sertool.errors import SertoolError
from sertool.plugins import load_plugins
from sertool.testing.faults import doing, line, refused, require

RATINGS = ("arousal", "dominance", "valence")
TEXTS = ("corpus", "speaker", "emotion", "intensity", "sex", "language", "session", "split", "licence")
#: Labels with a known class or known coordinates.
KNOWN = {canonical(label) for label in (*TERMS, *SYNONYMS, *COUNTS_AS)}


def check(name: str, folder: Path | str) -> None:
    """Check a corpus reader; see `sertool.testing.check_corpus`."""
    corpus, where = load_plugins().get("corpora", name), f"corpus {name!r}"
    folder = Path(folder)
    with doing(where, f"reading {folder}"):
        rows, again = corpus.read(folder), corpus.read(folder)
    require(isinstance(rows, list) and bool(rows), where, f"reading {folder} does not give a list of rows")
    require(rows == again, where, "reading twice gives different rows, or another order: sort the file list")
    for row in rows:
        _check_row(row, where)
    files = [row.file.resolve() for row in rows]
    twice = next((file for file in files if files.count(file) > 1), None) if len(set(files)) < len(files) else None
    require(twice is None, where, f"{twice}: in two rows")
    known = any(canonical(row.emotion) in KNOWN or None not in _ratings(row) for row in rows)
    labels = ", ".join(sorted({row.emotion for row in rows} - {""})) or "none"
    require(known, where, f"no emotion that sertool knows (there are: {labels}) and no ratings: nothing to train on")
    _check_parts(rows, where)
    with tempfile.TemporaryDirectory() as scratch:
        for what, other in (("an empty folder", Path(scratch)), ("a missing folder", Path(scratch, "none"))):
            with refused(where, f"reading {what}", SertoolError):
                corpus.read(other)


def _check_row(row: Row, where: str) -> None:
    require(isinstance(row, Row), where, f"a row is a {type(row).__name__}, not a sertool.corpora.Row")
    where = f"{where}: {row.file}"
    require(isinstance(row.file, Path), where, f"file is a {type(row.file).__name__}, not a pathlib.Path")
    require(row.file.is_file(), where, "no such file")
    for key in TEXTS:
        value = getattr(row, key)
        require(isinstance(value, str), where, f"{key} is {value!r}, not a string (unknown is an empty one)")
        require(value == value.strip(), where, f"{key} is {value!r}, with spaces around it")
    require(bool(row.corpus and row.speaker), where, "corpus and speaker must not be empty")
    for key, value in zip(RATINGS, _ratings(row), strict=True):
        right = value is None or (isinstance(value, (int, float)) and 0 <= value <= 1)
        require(right, where, f"{key} is {value!r}, not a number from 0 to 1 (or None)")
    duration = row.duration
    right = duration is None or (isinstance(duration, (int, float)) and duration > 0 and math.isfinite(duration))
    require(right, where, f"duration is {duration!r}, not seconds (or None)")


def _check_parts(rows: list[Row], where: str) -> None:
    """Check that no speaker is in two splits or folds."""
    try:
        check_speakers_disjoint(**{split: [r for r in rows if r.split == split] for split in _values(rows, "split")})
        for by in ("session", "speaker"):
            if all(getattr(row, by) for row in rows) and len({(row.corpus, getattr(row, by)) for row in rows}) >= 3:
                leave_one_out(rows, by)
    except SertoolError as error:
        raise AssertionError(f"{where}: {line(error)}") from error


def _values(rows: list[Row], key: str) -> list[str]:
    return sorted({getattr(row, key) for row in rows} - {""})


def _ratings(row: Row) -> tuple[float | None, ...]:
    return tuple(getattr(row, name) for name in RATINGS)
