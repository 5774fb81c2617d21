"""Outputs relative to a voice's own: the distance from its median, in its own spread."""

import csv
import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sertool._types import Floats
from sertool.errors import UsageError
from sertool.labelling.job import Result
from sertool.labelling.plan import Plan

#: Fewest labelled rows of a voice: of fewer, the spread says nothing.
FEWEST = 5
#: The median absolute deviation times this is the standard deviation of normally distributed values.
_NORMAL = 1.4826


def columns(outputs: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that ``Relative`` fills: NAME.relative for each output."""
    return tuple(f"{name}.relative" for name in outputs)


class Relative:
    """Fills the columns NAME.relative of rows: (value - median) / (1.4826 * median absolute deviation) of a voice.

    ``to``: "file", a voice is each recording, or each channel of it; "speaker", each speaker of given segments in all
    recordings, or each speaker that is found, and each channel, in its recording; else the path of a table that
    `sertool label` wrote, whose rows are the voice, by speaker if both tables have speakers. Cells of a voice with less
    than FEWEST labelled rows, or without spread, stay empty; ``notes`` says so. Raises UsageError if the rows have no
    speakers, or the table cannot be used.
    """

    def __init__(self, to: str, outputs: Sequence[str], plan: Plan) -> None:
        self._to, self._outputs = to, list(outputs)
        self._speakers = plan.by == "speaker" or "speaker" in plan.given
        self._global = plan.segments is not None and self._speakers
        self.notes: list[str] = []
        self._said: set[Hashable] = set()
        self._voices: dict[Hashable, tuple[Floats, Floats]] | None = None
        if to == "speaker" and not (self._speakers or plan.channel == "each"):
            raise UsageError(
                "--relative-to speaker: the rows have no speakers: give --segments with speakers, or --channel each"
            )
        if to == "file" and plan.by in ("file", "channel"):
            raise UsageError(
                "--relative-to file compares the rows of a recording, and there is one: add --windows or --by segment"
            )
        if to not in ("file", "speaker"):
            self._voices = self._reference(Path(to))

    @property
    def waits(self) -> bool:
        """Whether a row needs the rows of all recordings, so that they have to be passed to ``fill`` together."""
        return self._to == "speaker" and self._global

    def fill(self, results: Sequence[Result]) -> None:
        """Fill the columns of the rows of finished recordings."""
        rows = [(result.name, row) for result in results for row in result.rows if row["error"] is None]
        voices = self._voices
        if voices is None:
            heard: dict[Hashable, list[Mapping[str, Any]]] = {}
            for file, row in rows:
                heard.setdefault(self._voice(file, row), []).append(row)
            voices = {voice: found for voice, own in heard.items() if (found := self._spread(voice, own))}
        for file, row in rows:
            voice = self._voice(file, row) if self._voices is None else self._speaker(row)
            if voice not in voices:
                if self._voices is not None:
                    self._note(voice, f"speaker {voice}: not in {self._to}")
                continue
            median, spread = voices[voice]
            for name, centre, width in zip(self._outputs, median, spread, strict=True):
                if width > 0:
                    row[f"{name}.relative"] = round((row[name] - float(centre)) / float(width), 6)

    def _voice(self, file: str, row: Mapping[str, Any]) -> Hashable:
        place = (row.get("track"), row.get("channel"))
        if self._to == "file":
            return (file, *place)
        return row.get("speaker") if self._global else (file, *place, row.get("speaker"))

    def _speaker(self, row: Mapping[str, Any]) -> Hashable:
        return row.get("speaker") if self._by_speaker else None

    def _spread(self, voice: Hashable, rows: Sequence[Mapping[str, Any]]) -> tuple[Floats, Floats] | None:
        """Return (median, spread), [k] each; None, with a note, for too few rows."""
        called = ", ".join(str(part) for part in voice if part is not None) if isinstance(voice, tuple) else voice
        if len(rows) < FEWEST:
            self._note(voice, f"{called}: {len(rows)} labelled rows, too few for columns .relative ({FEWEST})")
            return None
        values = np.array([[row[name] for name in self._outputs] for row in rows], np.float64)
        median = np.median(values, axis=0)
        spread = _NORMAL * np.median(np.abs(values - median), axis=0)
        if not spread.all():
            flat = ", ".join(name for name, width in zip(self._outputs, spread, strict=True) if not width)
            self._note(voice, f"{called}: no spread of {flat}, which has no .relative")
        return median, spread

    def _note(self, voice: Hashable, text: str) -> None:
        if voice not in self._said:
            self._said.add(voice)
            self.notes.append(text)

    def _reference(self, path: Path) -> dict[Hashable, tuple[Floats, Floats]]:
        rows = _read(path)
        if missing := [name for name in self._outputs if any(name not in row for row in rows)]:
            raise UsageError(f"--relative-to {path}: no column {missing[0]!r}: label it with the same model")
        try:
            good = [row | {name: float(row[name]) for name in self._outputs} for row in rows if not row.get("error")]
        except (TypeError, ValueError):
            raise UsageError(f"--relative-to {path}: a row without numbers and without an error") from None
        self._by_speaker = self._speakers and any(row.get("speaker") for row in good)
        heard: dict[Hashable, list[Mapping[str, Any]]] = {}
        for row in good:
            heard.setdefault(self._speaker(row), []).append(row)
        voices = {voice: found for voice, own in heard.items() if (found := self._spread(voice, own))}
        if not voices:
            raise UsageError(f"--relative-to {path}: fewer than {FEWEST} labelled rows")
        return voices


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table in CSV or JSON lines. Raise UsageError."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            if path.suffix.lower() == ".jsonl":
                rows = [json.loads(line) for line in stream if line.strip()]
            else:
                rows = list(csv.DictReader(stream))
    except OSError as error:
        raise UsageError(f"--relative-to {path}: {error.strerror}") from None
    except (ValueError, csv.Error):
        raise UsageError(f"--relative-to {path}: not a table in csv or jsonl that sertool label wrote") from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"--relative-to {path}: no rows in it")
    return rows


def fill(relative: Relative, results: Iterable[Result]) -> Iterable[Result]:
    """Yield results with their columns filled, each as it comes, or all at the end if ``relative`` waits for that."""
    held = []
    for result in results:
        if relative.waits:
            held.append(result)
        else:
            relative.fill([result])
            yield result
    relative.fill(held)
    yield from held
