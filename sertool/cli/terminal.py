"""Shared by commands: progress bars on a terminal, names that are safe to print."""

import contextlib
import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID


class Bar:
    """A progress bar. If it is not shown (no ``progress``), ``update`` does nothing and ``print`` still prints."""

    def __init__(self, progress: "tuple[Progress, TaskID] | None" = None) -> None:
        self._progress = progress

    def update(self, done: int, description: str, total: int | None = None) -> None:
        if self._progress:
            progress, task = self._progress
            progress.update(task, completed=done, description=description, total=total)

    def print(self, line: str) -> None:
        """Print a line on standard output, above the bar if both are on the same terminal."""
        if self._progress:
            progress, _ = self._progress
            progress.console.out(line, highlight=False)
        else:
            click.echo(line)


@contextlib.contextmanager
def bar(
    total: int, unit: str, description: str, *, shown: bool, state: Callable[[], str] = str, transient: bool = False
) -> Iterator[Bar]:
    """Yield a Bar that counts to ``total`` and shows the current text of ``state()`` next to the count."""
    if not shown:
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column
    from rich.text import Text

    class State(ProgressColumn):
        max_refresh = 0.2

        def render(self, task: "Task") -> Text:
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
        yield Bar((progress, progress.add_task(description, total=total)))


class Finite(click.FloatRange):
    """A number within bounds; neither NaN nor infinite."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def on_terminal() -> bool:
    """Return whether standard error is a terminal."""
    return sys.stderr.isatty()


#: Beginning of paths -> what is shown for it, of temporary files that stand for others.
shown_as: dict[str, str] = {}


def with_urls(text: str) -> str:
    """Return a message with the URLs that temporary files stand for."""
    for beginning, shown in shown_as.items():
        text = text.replace(beginning, shown)
    return text


def visible(text: str) -> str:
    """Return a file name for a terminal, with characters that move the cursor or change colours escaped."""
    text = with_urls(text)
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


@contextlib.contextmanager
def libraries_silenced() -> Iterator[None]:
    """Suppress messages that decoders print: libmpg123 writes to file descriptor 2 without naming a file.

    Python's standard error is redirected to a copy of the descriptor and still works.
    """
    try:
        original = sys.stderr.fileno() == 2
    except (OSError, AttributeError):  # replaced, for example by a test
        original = False
    if not original:
        yield
        return
    before, copy, null = sys.stderr, os.dup(2), os.open(os.devnull, os.O_WRONLY)
    with open(copy, "w", encoding=before.encoding, errors="backslashreplace", buffering=1) as sys.stderr:
        os.dup2(null, 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(copy, 2)
            sys.stderr = before
            os.close(null)
