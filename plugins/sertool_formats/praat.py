"""Praat's TextGrid."""

from pathlib import Path
from typing import TextIO

from sertool.errors import UsageError
from sertool.segments import Annotated, Segment, Table

from .texts import filled, text_of
from .tiers import Tier, tiers


class TextGrid:
    """Praat's manual, "TextGrid file formats", long form: interval tiers without gaps."""

    def __init__(self, stream: TextIO, table: Table) -> None:
        self._stream, self._table = stream, table

    def write(self, recording: Annotated) -> None:
        own = tiers(self._table, recording.rows)
        last = max([recording.seconds, *(end for tier in own for _, end, _ in tier.entries)])
        self._stream.write(
            'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
            f"xmin = 0\nxmax = {_time(last)}\ntiers? <exists>\nsize = {len(own)}\nitem []:\n"
        )
        for number, tier in enumerate(own, start=1):
            self._write(number, tier, last)

    def close(self) -> None:
        self._stream.flush()

    def _write(self, number: int, tier: Tier, last: float) -> None:
        intervals, at = [], 0.0
        for start, end, text in tier.entries:
            if start > at:
                intervals.append((at, start, ""))
            intervals.append((start, end, text))
            at = end
        if last > at or not intervals:
            intervals.append((at, last, ""))
        self._stream.write(
            f'    item [{number}]:\n        class = "IntervalTier"\n        name = "{_quoted(tier.name)}"\n'
            f"        xmin = 0\n        xmax = {_time(last)}\n        intervals: size = {len(intervals)}\n"
        )
        for index, (start, end, text) in enumerate(intervals, start=1):
            self._stream.write(
                f"        intervals [{index}]:\n            xmin = {_time(start)}\n            xmax = {_time(end)}\n"
                f'            text = "{_quoted(text)}"\n'
            )


def _time(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _quoted(text: str) -> str:
    return text.replace('"', '""')


def read(path: Path, tier: str | None = None) -> list[Segment]:
    """Read the intervals with text of all interval tiers, or of one, in the long or short form. Raises UsageError."""
    from praatio.utilities import errors, textgrid_io

    if path.is_file() and path.read_bytes()[:12] == b"ooBinaryFile":
        raise UsageError(f"{path}: a binary TextGrid: save it as a text file in Praat")
    try:
        grid = textgrid_io.parseTextgridStr(text_of(path), includeEmptyIntervals=False)
    except (errors.PraatioException, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise UsageError(f"{path}: not a TextGrid ({type(error).__name__})") from None
    parts = [part for part in grid["tiers"] if part["class"] == "IntervalTier"]
    names = chosen([part["name"] for part in parts], tier, path)
    try:
        return [
            Segment(float(start), float(end), filled({"tier": named(part["name"], names), "text": text}))
            for part in parts
            if part["name"] in names
            for start, end, text in part["entries"]
        ]
    except ValueError as error:
        raise UsageError(f"{path}: not a TextGrid ({error})") from None


def named(name: str, names: list[str]) -> str:
    """Return the tier's name for a column, "" if only one tier is read."""
    return name if len(names) > 1 else ""


def chosen(names: list[str], tier: str | None, path: Path) -> list[str]:
    """Return the tiers to read: all, or the one asked for. Raise UsageError if there is none of that name."""
    if tier is not None and tier not in names:
        raise UsageError(f"{path}: there is no tier {tier!r} (there are: {', '.join(names) or 'none'})")
    return names if tier is None else [tier]
