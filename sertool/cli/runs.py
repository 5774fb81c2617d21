"""What `train` and `distil` share: find the recipe, draw the run, survive Ctrl-C, write the bundle."""

import json
import signal
import threading
from pathlib import Path

import click

from .terminal import bar, on_terminal

#: The options of both commands, outermost first.
OPTIONS = (
    click.argument("recipe"),
    click.option(
        "-o",
        "--output",
        "run",
        type=click.Path(file_okay=False, path_type=Path),
        help="The run's folder.  [default: runs/RECIPE]",
    ),
    click.option(
        "--set",
        "overrides",
        metavar="SECTION.KEY=VALUE",
        multiple=True,
        help="Change a value of the recipe; may be repeated. augment.NAME.OPTION=VALUE changes an augmentation.",
    ),
    click.option("--show", is_flag=True, help="Print the resolved recipe and stop."),
)


def options(command):
    """Decorator that gives a command OPTIONS."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def train_and_release(recipe: str, run: Path | None, overrides, show: bool, kind: str) -> int:
    """The whole of `sertool KIND RECIPE`; the exit code."""
    from ..errors import UsageError
    from ..training.recipe import DistilRecipe, Recipe, load_recipe

    path = find(recipe)
    resolved = load_recipe(path, overrides, complete=not show, kind={"train": Recipe, "distil": DistilRecipe}[kind])
    if show:
        click.echo(json.dumps(resolved.as_dict(), indent=2))
        return 0
    try:
        import onnx  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise UsageError(f"training needs {error.name}: pip install 'sertool[train]'") from None
    from ..training import distil, loop, release, supervised

    steps = {"train": supervised.train, "distil": distil.distil}[kind]
    run = run or Path("runs") / path.stem
    stop = threading.Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        last = _draw(steps(resolved, run, stop.is_set), stop, loop.rank)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if loop.rank() != 0:
        return 0
    if stop.is_set():
        click.echo(f"interrupted at step {last.done} of {last.total}; the same command goes on from there", err=True)
        return 130
    with bar(0, "clips", "measuring", shown=on_terminal()) as shown:
        bundle = release.release(resolved, run, lambda stage, done, total: shown.update(done, stage, total))
    click.echo(f"wrote {bundle.path}; look at it with: sertool bundle show {bundle.path}")
    return 0


def find(recipe: str) -> Path:
    """A recipe's path, or one that a registered model brings along."""
    from ..errors import UsageError
    from ..plugins import load_plugins

    if Path(recipe).is_file():
        return Path(recipe)
    plugins = load_plugins()
    shipped = {path.stem: path for name in plugins.names("models") for path in plugins.get("models", name).recipes}
    if recipe not in shipped:
        raise UsageError(f"no recipe {recipe!r}: neither a file nor one that ships ({', '.join(sorted(shipped))})")
    return shipped[recipe]


def _draw(progress, stop: threading.Event, rank):
    """Draw a run's progress until it is done or stopped; the last Progress. Only the first process speaks."""
    last, terminal = None, on_terminal()
    with bar(1, "", "starting", shown=terminal, state=lambda: _state(last)) as shown:
        for last in progress:
            if rank() == 0:
                if terminal:
                    shown.update(last.done, last.stage, last.total)
                elif last.done % 100 == 0 or last.done == last.total:
                    click.echo(f"{last.stage} {last.done}/{last.total} {_state(last)}".rstrip(), err=True)
            if stop.is_set() and last.stage != "training":
                progress.close()
                break
    return last


def _state(progress) -> str:
    if progress is None:
        return ""
    losses = " ".join(f"{name} {value:.3f}" for name, value in (progress.losses or {}).items())
    ccc = " ".join(f"{name} {value:.3f}" for name, value in (progress.val or {}).items())
    return f"{losses}  val CCC {ccc}" if ccc else losses
