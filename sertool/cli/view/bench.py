"""Tables of `sertool bench`."""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import click

from sertool import bench

Row: TypeAlias = dict[str, Any]
#: Title -> function from a row to the text of its cell.
Columns: TypeAlias = dict[str, Callable[[Row], str]]


def listing(subjects: Iterable[bench.Subject]) -> None:
    """Print what would be measured."""
    for subject in subjects:
        kind = f"network {subject.network.removesuffix(':')}" if subject.network else "bundle"
        click.echo(f"{subject.model:<20} {subject.format:<12} {kind}")


def report(
    conditions: dict[str, Any],
    rows: Sequence[Row],
    ratio: dict[str, float] | None,
    sweep: Collection[float] | None,
    target: str | None,
    markdown: bool,
) -> None:
    """Save the results to ``target`` and print them as tables, or as JSON if ``target`` is -."""
    smallest, multiples = (None, []) if ratio or sweep else bench.relative(rows)
    more: dict[str, Any] = {"ratio": ratio} if ratio else {}
    more |= {"relative_to": smallest, "relative": multiples} if smallest else {}
    save(target, conditions, rows, **more)
    if target == "-":
        click.echo(_text(conditions, rows, **more), nl=False)
        return
    click.echo(bench.headline(conditions))
    each = "both in one process, alternately" if ratio else "each in its own process"
    click.echo(
        f"{count(conditions['threads'], 'thread')}, {each}; median of {count(conditions['repeats'], 'run')} after "
        f"{conditions['warmup']} to warm up (10th to 90th percentile); wall-clock time, without imports and loading"
    )
    click.echo()
    click.echo(_table(rows, COLUMNS | _part_columns(rows), markdown))
    if ratio:
        names = [f"{row['model']} {row['format']}" for row in rows]
        click.echo(
            f"\n{names[1]} takes {ratio['median']:.3f} times as long as {names[0]} "
            f"({ratio['low']:.3f} to {ratio['high']:.3f})"
        )
    if multiples:
        sources = "; ".join(dict.fromkeys(row["source"] for row in rows if row["source"]))
        click.echo(f"\nMultiples of {smallest} in the same format (in brackets: published ones; {sources})\n")
        click.echo(_table(multiples, MULTIPLES, markdown))


def save(target: str | None, conditions: dict[str, Any], rows: Sequence[Row], **more: Any) -> None:
    """Write the results as JSON, unless ``target`` is None or -."""
    if target and target != "-":
        Path(target).write_text(_text(conditions, rows, **more), encoding="utf-8")


def _text(conditions: dict[str, Any], rows: Sequence[Row], **more: Any) -> str:
    return json.dumps({"conditions": conditions, "models": rows, **more}, indent=2, ensure_ascii=False) + "\n"


def count(number: int, what: str) -> str:
    """Return a number with a noun, in the plural unless it is 1."""
    return f"{number} {what}{'s' * (number != 1)}"


def _table(rows: Sequence[Row], columns: Columns, markdown: bool) -> str:
    """Return a table as text; a failed row has its error instead of values."""
    lines = [list(columns)]
    for row in rows:
        lines.append([cell(row) if "error" not in row or title in HEADS else "" for title, cell in columns.items()])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left_aligned = [title in HEADS for title in columns]
    if markdown:
        lines.insert(1, ["---" if left else "---:" for left in left_aligned])
        text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        failed = [f"{row['model']} {row['format']}: {row['error']}" for row in rows if "error" in row]
        return "\n".join([text, *(f"\n{reason}" for reason in failed)])
    shown = []
    for line, row in zip(lines, [{}, *rows], strict=True):
        cells = [
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(line, widths, left_aligned, strict=True)
        ]
        shown.append("  ".join(cells).rstrip() + (f"  failed: {row['error']}" if "error" in row else ""))
    return "\n".join(shown)


def _si(value: float, unit: str = "") -> str:
    """Return a number with three digits and a prefix: 72.6 K, 1.94 GB, 391 M."""
    for prefix in ("", "K", "M", "G"):
        if value < 999.5 or prefix == "G":
            break
        value /= 1000
    digits = f"{value:.0f}" if value >= 99.95 or not prefix else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
    return f"{digits} {prefix}{unit}".strip()


def _ms(times: Row) -> str:
    """Return the median and the percentiles in milliseconds."""
    middle, low, high = (1000 * times[key] for key in ("seconds", "low_s", "high_s"))
    digits = 2 if middle < 10 else 1 if middle < 100 else 0
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _part_columns(rows: Sequence[Row]) -> Columns:
    """Return a column for the time of each part of a model."""
    return {f"{name}, ms": _part(name) for row in rows for name in row.get("parts", {})}


def _part(name: str) -> Callable[[Row], str]:
    return lambda row: _ms(row["parts"][name]) if name in row.get("parts", {}) else ""


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _multiple(figure: str) -> Callable[[Row], str]:
    """Return the column of a multiple, with the paper's in brackets."""

    def cell(row: Row) -> str:
        ours, paper = row[figure]
        return _digits(ours) + ("" if paper is None else f" ({_digits(paper)})")

    return cell


HEADS = ("model", "format", "audio")
COLUMNS: Columns = {
    "model": lambda row: row["model"],
    "format": lambda row: row["format"],
    "audio": lambda row: f"{row['audio_s']:g} s",
    "weights": lambda row: _si(row["parameters"]),
    "file": lambda row: _si(row["bytes"], "B"),
    "MACs": lambda row: _si(row["macs"]),
    "time, ms": _ms,
    "RTF": lambda row: f"{row['rtf']:.2g}",
    "load, ms": lambda row: f"{1000 * row['load_s']:.0f}",
    "memory": lambda row: _si(row["peak_bytes"], "B"),
    "added": lambda row: _si(row["added_bytes"], "B"),
}
MULTIPLES: Columns = {
    "model": COLUMNS["model"],
    "format": COLUMNS["format"],
    "weights": _multiple("parameters"),
    "file": _multiple("bytes"),
    "MACs": _multiple("macs"),
    "time": _multiple("seconds"),
    "memory": _multiple("peak_bytes"),
    "added": _multiple("added_bytes"),
}
