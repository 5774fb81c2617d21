"""Rows of a corpus from annotated segments of recordings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sertool.corpora import Row
from sertool.errors import UsageError
from sertool.recordings.recording import Recording
from sertool.recordings.scan import scan
from sertool.segments import Segment
from sertool.segments.given import Given

_TEXTS = ("speaker", "emotion", "intensity", "sex", "language", "session", "split")
_NUMBERS = ("arousal", "dominance", "valence")


def read(root: Path, source: Path, form: str | None, tier: str | None) -> list[Row]:
    """Return a row per segment of the recordings in ``root``; ``source``, ``form``, ``tier``: as in Given.

    Columns: emotion (else the text, as in a tier of emotions), arousal, dominance and valence from 0 to 1, speaker
    (else the recording's name), intensity, sex, language, session and split. Raises UsageError.
    """
    recordings = scan(str(root))
    if not recordings:
        raise UsageError(f"no audio files in {root}")
    given = Given(source, recordings, form, tier)
    rows = []
    for recording in recordings:
        try:
            segments = given.of(recording)
        except UsageError as error:
            if "no segments in" in str(error) or "no file with segments" in str(error):
                continue  # a recording that nobody has annotated
            raise
        rows += [_row(root, recording, segment) for segment in segments]
    if not rows:
        raise UsageError(f"{source}: no segment belongs to a recording in {root}")
    return rows


def _row(root: Path, recording: Recording, segment: Segment) -> Row:
    texts: dict[str, Any] = {name: segment.columns.get(name, "").strip() for name in _TEXTS}
    texts["emotion"] = texts["emotion"] or segment.columns.get("text", "").strip()
    texts["speaker"] = texts["speaker"] or recording.name
    numbers: dict[str, Any] = {}
    for name in _NUMBERS:
        text = segment.columns.get(name, "").strip()
        try:
            numbers[name] = float(text) if text else None
        except ValueError:
            raise UsageError(f"{recording.name}, {segment.start:g} s: {name} is {text!r}, not a number") from None
    place: dict[str, Any] = {"file": recording.path, "start": segment.start, "end": segment.end}
    return Row(corpus=root.resolve().name, **place, **texts, **numbers)


def segments_of(rows: Sequence[Row]) -> dict[Path, list[Segment]]:
    """Return the segments of each file, each once."""
    found: dict[Path, dict[tuple[float, float], Segment]] = {}
    for row in rows:
        assert row.start is not None
        assert row.end is not None
        found.setdefault(row.file, {}).setdefault((row.start, row.end), Segment(row.start, row.end))
    return {file: list(segments.values()) for file, segments in found.items()}
