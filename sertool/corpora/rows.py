"""One row a recording, whatever corpus it comes from."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sertool.errors import SertoolError


@dataclass(frozen=True)
class Row:
    """A recording and what is known of it; unknown is an empty string, or None for a number."""

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


def select(rows: Iterable[Row], split: str, corpora: Iterable[str] = ()) -> list[Row]:
    """The rows of one split, of the named corpora only if any are named."""
    wanted = set(corpora)
    return [row for row in rows if row.split == split and (not wanted or row.corpus in wanted)]


def check_speakers_disjoint(**parts: Iterable[Row]) -> None:
    """Raise SertoolError if one speaker of one corpus is in two parts, naming speaker and parts."""
    seen: dict[tuple[str, str], str] = {}
    for part, rows in parts.items():
        for row in rows:
            first = seen.setdefault((row.corpus, row.speaker), part)
            if first != part:
                raise SertoolError(
                    f"speaker {row.speaker!r} of {row.corpus} is in both {first!r} and {part!r} ({row.file}): "
                    "results would be measured on a voice that was trained on"
                )
