"""Progress bars on a terminal, nothing elsewhere."""

import contextlib
import sys


@contextlib.contextmanager
def bar(total: int, unit: str, *, shown: bool, wide: str = ""):
    """Yields ``update(done, description=None, **fields)``; ``wide`` is a rich template of fields to show."""
    if not shown:
        yield lambda done, description=None, **fields: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} " + unit),
        *([TextColumn(wide)] if wide else []),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    ]
    # Rows on standard output are kept apart from the bar only where both are on the same terminal.
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty()) as progress:
        task = progress.add_task("", total=total, **dict.fromkeys(_fields(wide), ""))

        def update(done, description=None, **fields):
            progress.update(task, completed=done, **({"description": description} if description else {}), **fields)

        yield update


def on_terminal() -> bool:
    """Whether a person watches standard error."""
    return sys.stderr.isatty()


def _fields(template: str) -> list[str]:
    import string

    return [
        name.removeprefix("task.fields[").removesuffix("]")
        for _, name, _, _ in string.Formatter().parse(template)
        if name
    ]
