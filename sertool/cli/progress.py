"""Progress bars on a terminal, nothing elsewhere."""

import contextlib
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


def on_terminal() -> bool:
    """Whether a person watches standard error."""
    return sys.stderr.isatty()
