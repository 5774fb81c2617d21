"""Output of `sertool label`: the table on a terminal, failures, the summary."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sertool.cli.recordings import took
from sertool.cli.terminal import visible

if TYPE_CHECKING:
    from sertool.bundle import Manifest
    from sertool.recordings.pool import Summary
    from sertool.recordings.recording import Recording
    from sertool.segments import Table

SHOWN_FAILURES = 5


class Aligned:
    """Print rows in aligned columns, for a terminal; given text is cut off at 24 characters."""

    def __init__(self, recordings: "Sequence[Recording]", table: "Table", print_line: Callable[[str], None]) -> None:
        longest = max(len(visible(recording.name)) for recording in itertools.islice(recordings, 1000))
        self._file, self._print = min(max(longest, 4), 48), print_line
        ends = {f"{name}.{end}" for name in table.outputs for end in ("low", "high")}  # too wide for a terminal
        names = [name for name in table.columns if name not in ("file", "start", "end", "error", *ends)]
        self._widths = {name: 26 if name in table.given else max(10, len(name) + 2) for name in names}
        heads = "".join(f"{name:>{width}}" for name, width in self._widths.items())
        self._print(f"{'file':<{self._file}}{'start':>10}{'end':>10}{heads}")

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            name = visible(row["file"])
            name = name if len(name) <= self._file else "…" + name[1 - self._file :]
            times = "" if row["start"] is None else f"{row['start']:>10.3f}{row['end']:>10.3f}"
            if row["error"]:
                self._print(f"{name:<{self._file}}{times}  {visible(row['error'])}")
                continue
            values = "".join(_cell(row[column], width) for column, width in self._widths.items())
            self._print(f"{name:<{self._file}}{times}{values}")


def _cell(value: Any, width: int) -> str:
    if value is None:  # speech was not detected
        return " " * width
    if isinstance(value, str):
        text = visible(value)
        return f"{text if len(text) < width else text[: width - 3] + '…':>{width}}"
    return f"{value:>{width}}" if isinstance(value, int) else f"{value:>{width}.2f}"


class Several:
    """Lines of which the first SHOWN_FAILURES are kept, and the others counted."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._lines, self._more = list[str](), 0
        for line in lines:
            self.add(line)

    def __len__(self) -> int:
        return len(self._lines) + self._more

    def add(self, line: str) -> None:
        if len(self._lines) < SHOWN_FAILURES:
            self._lines.append(line)
        else:
            self._more += 1

    def print(self) -> None:
        """Print the lines, and how many more there are, on standard error."""
        for line in self._lines:
            click.echo(line, err=True)
        if self._more:
            click.echo(f"... and {self._more} more", err=True)


def report(summary: "Summary", failures: bool, total: int, output: Path | None, manifest: "Manifest") -> None:
    """Print the summary on standard error."""
    if total == 1 and not summary.failed and output is None:
        return
    before = f" ({summary.taken_over} of them before)" if summary.taken_over else ""
    click.echo(f"{summary.labelled} labelled{before}, {summary.failed} failed{took(summary)}", err=True)
    if summary.labelled:
        click.echo(f"by {manifest.name} {manifest.version}, licence {manifest.licence}", err=True)
    if failures and output:
        click.echo(f'the reasons are in {visible(str(output))}, column "error"', err=True)
