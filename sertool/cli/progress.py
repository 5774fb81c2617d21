"""Progress bars on a terminal, nothing elsewhere."""

import contextlib
import sys

import click


class Bar:
    """A progress bar; where it is not shown, ``update`` does nothing and ``print`` prints."""

    def __init__(self, progress=None, task=None):
        self._progress, self._task = progress, task

    def update(self, done: int, description: str, state: str = "", total: int | None = None) -> None:
        if self._progress:
            total = {} if total is None else {"total": total}
            self._progress.update(self._task, completed=done, description=description, state=state, **total)

    def print(self, line: str) -> None:
        """A line on standard output, above the bar where both are on the same terminal."""
        if self._progress:
            self._progress.console.out(line, highlight=False)
        else:
            click.echo(line)


@contextlib.contextmanager
def bar(total: int, unit: str, description: str, *, shown: bool):
    """Yields a Bar that counts to ``total``; its ``state`` stands beside the count."""
    if not shown:
        yield Bar()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total} " + unit),
        TextColumn("{task.fields[state]}", markup=False),
        TimeRemainingColumn(),
        TextColumn("left"),
    ]
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as progress:
        yield Bar(progress, progress.add_task(description, total=total, state=""))


def on_terminal() -> bool:
    """Whether a person watches standard error."""
    return sys.stderr.isatty()
