"""Distribute rows over tiers, in which segments do not overlap."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sertool.segments import Table
from sertool.segments.table import SPEECH

_Row: TypeAlias = Mapping[str, Any]

#: Columns that say who or where; rows that overlap are separated by them.
_WHO = ("track", "channel", "speaker", "tier")


@dataclass
class Tier:
    """A tier's name and its (start, end, text), in order, without overlaps."""

    name: str
    entries: list[tuple[float, float, str]]


def tiers(table: Table, rows: Iterable[_Row]) -> list[Tier]:
    """Return a tier for each column with labels, outputs or given text; a table of speech has one tier, "speech".

    If rows are of several speakers, channels, tracks or given tiers, there is such a set of tiers for each of them; if
    rows of one overlap, there are further sets with a number.
    """
    timed = [row for row in rows if row["start"] is not None and row["end"] > row["start"]]
    who = [name for name in _WHO if name in table.columns]
    columns = [name for name in (table.label, *table.outputs, *table.given) if name not in ("", "tier")]
    if "speaker" in who and "speaker" not in columns:
        columns.append("speaker")
    result = []
    for name, part in _parts(timed, who):
        if not table.outputs and not table.label:
            result.append(_tier(SPEECH + name, part, table, None))
        result += [_tier(column + name, part, table, column) for column in columns]
    if table.template is not None:
        result = [_tier("label" + name, part, table, None) for name, part in _parts(timed, who)] + result
    return result


def _tier(name: str, rows: Sequence[_Row], table: Table, column: str | None) -> Tier:
    def text(row: _Row) -> str:
        if column is None:
            return table.text(row)
        value = row.get(column)
        return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)

    return Tier(name, [(row["start"], row["end"], text(row)) for row in rows])


def _parts(rows: list[_Row], who: list[str]) -> list[tuple[str, list[_Row]]]:
    groups: dict[str, list[_Row]] = {}
    for row in rows:
        groups.setdefault(" ".join(str(row[name]) for name in who if row.get(name) not in (None, "")), []).append(row)
    result: list[tuple[str, list[_Row]]] = []
    for group, members in groups.items():
        group = group if len(groups) > 1 else ""
        for number, lane in enumerate(_lanes(members), start=1):
            result.append((f" {group}" * bool(group) + f" ({number})" * (number > 1), lane))
    return result or [("", [])]


def _lanes(rows: Iterable[_Row]) -> list[list[_Row]]:
    """Return the rows in as few lists as possible, each in order and without overlaps."""
    lanes: list[list[_Row]] = []
    for row in sorted(rows, key=lambda row: (row["start"], row["end"])):
        lane = next((lane for lane in lanes if lane[-1]["end"] <= row["start"]), None)
        if lane is None:
            lanes.append([row])
        else:
            lane.append(row)
    return lanes
