"""`sertool train`: a recipe to a bundle."""

import signal
import threading
from pathlib import Path

import click

from .progress import bar, on_terminal


@click.command()
@click.argument("recipe")
@click.option(
    "-o",
    "--output",
    "run",
    type=click.Path(file_okay=False, path_type=Path),
    help="The run's folder.  [default: runs/RECIPE]",
)
@click.option(
    "--set",
    "overrides",
    metavar="SECTION.KEY=VALUE",
    multiple=True,
    help="Change a value of the recipe; may be repeated.",
)
@click.option("--show", is_flag=True, help="Print the resolved recipe and stop.")
def train(recipe, run, overrides, show):
    """Train a model from a recipe and write it as a bundle.

    RECIPE is a TOML file, or the name of one that a plugin ships (wav2small). A run whose folder holds a checkpoint
    goes on from it, to the same weights as an unbroken one; Ctrl-C saves one. When training is done, the best weights
    are exported, measured on val and out-of-domain data, and written as a bundle into the run's folder.

    \b
    Example:
      sertool train wav2small --set data.root=corpora/ --set train.steps=3000
    """
    import json

    from ..errors import UsageError
    from ..training.recipe import load_recipe

    path = _find(recipe)
    resolved = load_recipe(path, overrides, complete=not show)
    if show:
        click.echo(json.dumps(resolved.as_dict(), indent=2))
        return 0
    try:
        import onnx  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise UsageError(f"training needs {error.name}: pip install 'sertool[train]'") from None
    from ..training.release import release
    from ..training.supervised import train as steps

    run = run or Path("runs") / path.stem
    stop = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        last = _train(steps(resolved, run), stop)
    finally:
        signal.signal(signal.SIGINT, previous)
    if stop.is_set():
        click.echo(f"interrupted at step {last.done} of {last.total}; the same command goes on from there", err=True)
        return 130
    with bar(0, "clips", "measuring", shown=on_terminal()) as shown:
        bundle = release(resolved, run, lambda stage, done, total: shown.update(done, stage, total))
    click.echo(f"wrote {bundle.path}; look at it with: sertool bundle show {bundle.path}")
    return 0


def _find(recipe: str) -> Path:
    """A recipe's path, or one that a registered model brings along."""
    from ..errors import UsageError
    from ..plugins import load_plugins

    if Path(recipe).is_file():
        return Path(recipe)
    plugins = load_plugins()
    shipped = {path.stem: path for name in plugins.names("models") for path in plugins.get("models", name).recipes}
    if recipe not in shipped:
        raise UsageError(f"no recipe {recipe!r}: neither a file nor one that ships ({', '.join(shipped)})")
    return shipped[recipe]


def _train(progress, stop: threading.Event):
    """Draw a run's progress until it is done or stopped; the last Progress."""
    terminal, last = on_terminal(), None
    with bar(1, "", "starting", shown=terminal, state=lambda: _state(last)) as shown:
        for last in progress:
            if terminal:
                shown.update(last.done, last.stage, last.total)
            elif last.done % 100 == 0 or last.done == last.total:
                click.echo(f"{last.stage} {last.done}/{last.total} {_state(last)}".rstrip(), err=True)
            if stop.is_set():
                progress.close()
                break
    return last


def _state(progress) -> str:
    if progress is None:
        return ""
    loss = f"loss {progress.loss:.3f}" if progress.loss is not None else ""
    ccc = " ".join(f"{name} {value:.3f}" for name, value in (progress.val or {}).items())
    return f"{loss}  val CCC {ccc}" if ccc else loss
