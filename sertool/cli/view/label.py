"""Output of `sertool label`: the table on a terminal, failures, the summary."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sertool.cli.recordings import took
from sertool.cli.terminal import visible

if TYPE_CHECKING:
    from sertool.bundle import Manifest
    from sertool.recordings.pool import Summary

SHOWN_FAILURES = 5


class Aligned:
    """Print rows in aligned columns, for a terminal; ``longest`` is the length of the longest file name."""

    def __init__(self, longest: int, columns: Sequence[str], print_line: Callable[[str], None]) -> None:
        self._file, self._columns, self._print = min(max(longest, 4), 48), columns, print_line
        heads = "".join(f"{name:>{max(10, len(name) + 2)}}" for name in (*columns, "speech"))
        self._print(f"{'file':<{self._file}}{'start':>10}{'end':>10}{heads}")

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            name = visible(row["file"])
            name = name if len(name) <= self._file else "…" + name[1 - self._file :]
            if row["error"]:
                self._print(f"{name:<{self._file}}  {visible(row['error'])}")
                continue
            values = "".join(_cell(row[n], max(10, len(n) + 2)) for n in (*self._columns, "speech"))
            self._print(f"{name:<{self._file}}{row['start']:>10.3f}{row['end']:>10.3f}{values}")


def _cell(value: Any, width: int) -> str:
    if value is None:  # speech was not detected
        return " " * width
    return f"{value:>{width}}" if isinstance(value, str) else f"{value:>{width}.2f}"


def several(lines: list[str]) -> None:
    """Print the first SHOWN_FAILURES lines, and how many more there are, on standard error."""
    for line in lines[:SHOWN_FAILURES]:
        click.echo(line, err=True)
    if len(lines) > SHOWN_FAILURES:
        click.echo(f"... and {len(lines) - SHOWN_FAILURES} more", err=True)


def report(summary: "Summary", failures: bool, total: int, output: Path | None, manifest: "Manifest") -> None:
    """Print the summary on standard error."""
    if total == 1 and not summary.failed and output is None:
        return
    before = f" ({summary.taken_over} of them before)" if summary.taken_over else ""
    click.echo(f"{summary.labelled} labelled{before}, {summary.failed} failed{took(summary)}", err=True)
    if summary.labelled:
        click.echo(f"by {manifest.name} {manifest.version}, licence {manifest.licence}", err=True)
    if failures and output:
        click.echo(f'the reasons are in {output}, column "error"', err=True)
