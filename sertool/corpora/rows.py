"""One row per recording, the same for every corpus."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from sertool.errors import SertoolError

#: A file, and start and end of a segment in it, or None for the whole file.
Key: TypeAlias = tuple[Path, float | None, float | None]


@dataclass(frozen=True)
class Row:
    """A recording and its metadata; an unknown text is an empty string, an unknown number None.

    ``start`` and ``end``, in seconds, are given if the row is about a segment of the file only.
    """

    file: Path
    corpus: str
    speaker: str
    emotion: str = ""
    intensity: str = ""
    sex: str = ""
    language: str = ""
    session: str = ""
    split: str = ""
    licence: str = ""
    duration: float | None = None
    arousal: float | None = None
    dominance: float | None = None
    valence: float | None = None
    start: float | None = None
    end: float | None = None

    @property
    def key(self) -> Key:
        """What tells the rows' recordings or segments apart."""
        return Path(self.file), self.start, self.end


def select(rows: Iterable[Row], split: str, corpora: Iterable[str] = ()) -> list[Row]:
    """Return the rows of one split, restricted to ``corpora`` if any are given."""
    wanted = set(corpora)
    return [row for row in rows if row.split == split and (not wanted or row.corpus in wanted)]


def check_speakers_disjoint(**parts: Iterable[Row]) -> None:
    """Raise SertoolError, naming speaker and parts, if a speaker of a corpus is in two parts."""
    seen: dict[tuple[str, str], str] = {}
    for part, rows in parts.items():
        for row in rows:
            first = seen.setdefault((row.corpus, row.speaker), part)
            if first != part:
                raise SertoolError(
                    f"speaker {row.speaker!r} of {row.corpus} is in both {first!r} and {part!r} ({row.file}): "
                    "the model would be tested on a speaker that it was trained on"
                )
