"""Outputs relative to a voice's own: the distance from its median, in its own spread."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sertool._types import Floats
from sertool.errors import UsageError
from sertool.labelling import table
from sertool.labelling.job import Result
from sertool.labelling.labeller import Labeller
from sertool.labelling.plan import Plan
from sertool.registry import Format

#: Fewest labelled rows of a voice: of fewer, the spread says nothing.
FEWEST = 5
#: The median absolute deviation times this is the standard deviation of normally distributed values.
_NORMAL = 1.4826
#: What tells a voice from others, such as its recording and channel; () if there is one voice only.
_Key: TypeAlias = tuple[str, ...]


class Relative:
    """Adds the columns NAME.relative to rows: (value - median) / (1.4826 * median absolute deviation) of a voice.

    ``to``: "file", a voice is each recording, or each channel or track of it; "speaker", each speaker of given segments
    in all recordings, or each speaker that is found, and each channel, in its recording; else the path of a table that
    `sertool label` wrote, whose rows are the voice, by speaker if both tables have speakers. ``labeller`` and ``plan``
    are those of `label_all`. Cells of rows without a voice, of a voice with less than FEWEST labelled rows, or without
    spread, are None. Raises UsageError if there are no such voices, or the table cannot be used.
    """

    def __init__(self, to: str, labeller: Labeller, plan: Plan | str = "file") -> None:
        plan = Plan(plan) if isinstance(plan, str) else plan
        self._to, self._names = to, table.relative_names(labeller)
        self._columns = table.table(labeller, plan, relative=True).columns
        self._has_speakers = plan.by == "speaker" or "speaker" in plan.given
        self._given_speakers = self._has_speakers and bool(plan.segments and "speaker" in plan.segments.columns)
        self._each_channel = plan.channel == "each"
        self._notes: dict[str, None] = {}
        self._reference: dict[_Key, _Voice] | None = None
        self.files: list[Path] = []  #: The table that was read, if one is the reference.
        if to in ("file", "speaker"):
            self._require_voices(plan)
        else:
            self.files = [Path(to)]
            self._reference = self._read_reference(Path(to))

    @property
    def notes(self) -> list[str]:
        """Why cells are empty, by voice, of the results that `fill` has yielded."""
        return list(self._notes)

    def fill(self, results: Iterable[Result]) -> Iterator[Result]:
        """Yield results with the columns: each as it comes, or all at the end if a voice may be in several of them."""
        across = self._to == "speaker" and self._given_speakers
        for together in [list(results)] if across else ([result] for result in results):
            voices = self._heard(together) if self._reference is None else self._reference
            for result in together:
                yield replace(result, rows=[self._filled(result.name, row, voices) for row in result.rows])

    def _filled(self, file: str, row: Mapping[str, Any], voices: Mapping[_Key, "_Voice"]) -> dict[str, Any]:
        cells = dict(row) if row["error"] else {**row, **self._distances(file, row, voices)}
        return {column: cells.get(column) for column in self._columns}

    def _distances(self, file: str, row: Mapping[str, Any], voices: Mapping[_Key, "_Voice"]) -> dict[str, float]:
        """Return the cells of a labelled row that can be filled."""
        key = self._key(file, row)
        if key is None:
            self._note([file], "rows without a speaker")
            return {}
        if key not in voices:
            self._note(key, f"not in {self._to}")
            return {}
        voice = voices[key]
        if voice.lacks:
            self._note([*key, *map(str, self.files)], voice.lacks)
        figures = zip(self._names.items(), voice.median.tolist(), voice.spread.tolist(), strict=True)
        return {
            column: round((row[name] - median) / spread, 6) for (name, column), median, spread in figures if spread > 0
        }

    def _note(self, voice: Iterable[str], reason: str) -> None:
        self._notes[f"{', '.join(voice)}: {reason}, so no .relative"] = None

    def _key(self, file: str, row: Mapping[str, Any]) -> _Key | None:
        """Return the voice of a row, None if it has none."""
        place = [file, *(f"{name} {row[name]}" for name in ("track", "channel") if row.get(name))]
        speaker = [row["speaker"]] if row.get("speaker") else []
        if self._to == "file":
            return tuple(place)
        if self._reference is not None:
            return self._referred(row)
        if self._given_speakers and speaker:
            return tuple(speaker)
        return (*place, *speaker) if speaker or self._each_channel else None

    def _referred(self, row: Mapping[str, Any]) -> _Key | None:
        """Return the voice that a row has in the reference, or is compared with there."""
        if not self._by_speaker:
            return ()
        return (row["speaker"],) if row.get("speaker") else None

    def _heard(self, results: Iterable[Result]) -> dict[_Key, "_Voice"]:
        labelled = ((result.name, row) for result in results for row in result.rows if not row["error"])
        return self._voices((self._key(file, row), row) for file, row in labelled)

    def _voices(self, rows: Iterable[tuple[_Key | None, Mapping[str, Any]]]) -> dict[_Key, "_Voice"]:
        """Return the voices of labelled rows, given with their keys."""
        values: dict[_Key, list[list[float]]] = {}
        for key, row in rows:
            if key is not None:
                values.setdefault(key, []).append([row[name] for name in self._names])
        return {key: _voice(np.array(own, np.float64), list(self._names)) for key, own in values.items()}

    def _require_voices(self, plan: Plan) -> None:
        """Raise UsageError if no row can have a voice, or no voice can have more than one row."""
        if self._to == "speaker" and not (self._has_speakers or self._each_channel):
            raise UsageError(
                "--relative-to speaker: the rows have no speakers: give --segments with speakers, or --channel each"
            )
        one_row = plan.by in ("file", "channel") or (
            self._to == "speaker" and plan.by == "speaker" and not self._given_speakers
        )
        if one_row:
            ways = "--by segment" if plan.by_segment else "--windows or --by segment"
            voice = "recording" if self._to == "file" else "speaker of a recording"
            raise UsageError(f"--relative-to {self._to} compares the rows of a {voice}, and there is one: add {ways}")

    def _read_reference(self, path: Path) -> dict[_Key, "_Voice"]:
        rows = _read(path)
        if missing := [name for name in self._names if any(name not in row for row in rows)]:
            raise UsageError(f"--relative-to {path}: no column {missing[0]!r}: label it with the same model")
        try:
            good = [
                {**row, **{name: _number(row[name]) for name in self._names}} for row in rows if not row.get("error")
            ]
        except (TypeError, ValueError):
            raise UsageError(f"--relative-to {path}: a row without numbers and without an error") from None
        self._by_speaker = self._has_speakers and any(row.get("speaker") for row in good)
        voices = self._voices((self._referred(row), row) for row in good)
        if all(voice.rows < FEWEST for voice in voices.values()):
            raise UsageError(f"--relative-to {path}: fewer than {FEWEST} labelled rows")
        return voices


@dataclass(frozen=True)
class _Voice:
    """``median`` and ``spread`` [k] of a voice's outputs in ``rows`` rows.

    The spread is 0 where it is unknown; ``lacks`` says why.
    """

    rows: int
    median: Floats
    spread: Floats
    lacks: str = ""


def _voice(values: Floats, names: Sequence[str]) -> _Voice:
    """Return the voice of rows of outputs [n, k], which are called ``names``."""
    rows, median = len(values), np.median(values, axis=0)
    if rows < FEWEST:
        return _Voice(rows, median, np.zeros(len(names)), f"fewer than {FEWEST} labelled rows")
    spread = _NORMAL * np.median(np.abs(values - median), axis=0)
    flat = ", ".join(name for name, width in zip(names, spread, strict=True) if not width)
    return _Voice(rows, median, spread, f"no spread of {flat}" if flat else "")


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a table in CSV or JSON lines, which begin with a brace. Raise UsageError."""
    try:
        with open(path, "rb") as stream:
            braced = stream.read(1) == b"{"
        rows = _read_lines(path) if braced else _read_csv(path)
    except FileNotFoundError:
        raise UsageError(f"--relative-to {path}: neither speaker nor file, and no such file or directory") from None
    except OSError as error:
        raise UsageError(f"--relative-to {path}: {error.strerror}") from None
    if not rows:
        raise UsageError(f"--relative-to {path}: no rows in it")
    return rows


def _read_lines(path: Path) -> list[dict[str, Any]]:
    try:
        with open(path, encoding="utf-8") as stream:
            rows = [json.loads(line) for line in stream if line.strip()]
    except ValueError:
        rows = [None]
    if not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"--relative-to {path}: not a table in jsonl that sertool label wrote")
    return rows


def _read_csv(path: Path) -> list[dict[str, Any]]:
    """Read a table as segments, as which it is known in every dialect."""
    from sertool.plugins import load_plugins  # its import alone takes 50 ms

    form: Format = load_plugins().get("formats", "csv")
    assert form.read is not None
    try:
        return [dict(segment.columns) for segment in form.read(path)]
    except UsageError as error:
        raise UsageError(f"--relative-to {error}") from None


def _number(cell: Any) -> float:
    """Return a cell's number; the dialect for Excel has decimal commas. Raise ValueError if it is not finite."""
    number = float(cell.replace(",", ".") if isinstance(cell, str) else cell)
    if not math.isfinite(number):
        raise ValueError(cell)
    return number
