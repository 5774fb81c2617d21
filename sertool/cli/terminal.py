"""What commands share: progress bars on a terminal and nothing elsewhere, names that are safe to print."""

import contextlib
import math
import os
import sys

import click


class Bar:
    """A progress bar; where it is not shown, ``update`` does nothing and ``print`` prints."""

    def __init__(self, progress=None, task=None):
        self._progress, self._task = progress, task

    def update(self, done: int, description: str, total: int | None = None) -> None:
        if self._progress:
            total = {} if total is None else {"total": total}
            self._progress.update(self._task, completed=done, description=description, **total)

    def print(self, line: str) -> None:
        """A line on standard output, above the bar where both are on the same terminal."""
        if self._progress:
            self._progress.console.out(line, highlight=False)
        else:
            click.echo(line)


@contextlib.contextmanager
def bar(total: int, unit: str, description: str, *, shown: bool, state=str, transient: bool = False):
    """Yields a Bar that counts to ``total``; beside the count stands what ``state()`` says at that moment."""
    if not shown:
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column
    from rich.text import Text

    class State(ProgressColumn):
        max_refresh = 0.2

        def render(self, task):
            return Text(state())

    columns = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        TextColumn("{task.completed}/{task.total} " + unit),
        State(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(),
        TextColumn("left"),
    ]
    console = Console(stderr=True)
    with Progress(*columns, console=console, redirect_stdout=False, transient=transient) as progress:
        yield Bar(progress, progress.add_task(description, total=total))


class Finite(click.FloatRange):
    """A number within bounds that is one: no NaN, no infinity."""

    def convert(self, value, param, ctx):
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def on_terminal() -> bool:
    """Whether a person watches standard error."""
    return sys.stderr.isatty()


def visible(text: str) -> str:
    """A file's name on a terminal: what would move the cursor or change colours is spelt out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


@contextlib.contextmanager
def libraries_silenced():
    """Keep decoders' own remarks off the terminal: libmpg123 writes to file descriptor 2 without naming a file.

    Python's standard error goes on over a copy of it.
    """
    try:
        own = sys.stderr.fileno() == 2
    except (OSError, AttributeError):  # replaced, as by a test
        own = False
    if not own:
        yield
        return
    before, copy, nowhere = sys.stderr, os.dup(2), os.open(os.devnull, os.O_WRONLY)
    with open(copy, "w", encoding=before.encoding, errors="backslashreplace", buffering=1) as sys.stderr:
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(copy, 2)
            sys.stderr = before
            os.close(nowhere)
