"""Shared by `train`, `distil` and `crossval`: find the recipe, show progress, handle Ctrl-C, write the bundle."""

import importlib
import json
import threading
import time
from collections.abc import Callable, Collection, Generator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from sertool.cli.interrupt import interruptible
from sertool.cli.options import Command
from sertool.cli.terminal import bar, on_terminal

if TYPE_CHECKING:
    from sertool._types import Progress as Report
    from sertool.bundle import Bundle
    from sertool.training.loop import Progress

_Recipe = TypeVar("_Recipe")

#: The options of all three commands, outermost first.
OPTIONS = (
    click.argument("recipe"),
    click.option(
        "-o",
        "--output",
        "run",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of the run.  [default: runs/RECIPE]",
    ),
    click.option(
        "--set",
        "overrides",
        metavar="SECTION.KEY=VALUE",
        multiple=True,
        help="Override a value of the recipe; may be repeated. augment.NAME.OPTION=VALUE overrides an augmentation.",
    ),
    click.option("--show", is_flag=True, help="Print the resolved recipe and stop."),
)


def options(command: Command) -> Command:
    """Add OPTIONS to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def train_and_release(
    recipe: str, run: Path | None, overrides: Collection[str], show: bool, kind: str, teacher: bool = False
) -> int:
    """Run `sertool KIND RECIPE`; return the exit code."""
    from sertool.training.recipe import find, load_recipe
    from sertool.training.sections import DistilRecipe, Recipe

    path = find(recipe)
    resolved = load_recipe(path, overrides, complete=not show, kind={"train": Recipe, "distil": DistilRecipe}[kind])
    if show:
        click.echo(json.dumps(resolved.as_dict(), indent=2))
        return 0
    require_torch()
    from sertool.exporting import release
    from sertool.training import distil, loop, supervised

    release.check(resolved)
    run = run or Path("runs") / path.stem
    if teacher and isinstance(resolved, DistilRecipe):
        return _release(release.release_teacher, resolved, run)
    if not (run / "last.pt").exists():
        release.rehearse(resolved)
        if not (resolved.model.start or "weights" in resolved.model.options):
            click.echo(f"{resolved.model.name} begins with random weights", err=True)
    stop = threading.Event()
    with interruptible(stop):
        if isinstance(resolved, DistilRecipe):
            steps = distil.distil(resolved, run, stop.is_set)
        else:
            steps = supervised.train(resolved, run, stop.is_set)
        last = draw(steps, stop, rank=loop.rank)
    first = loop.rank() == 0
    loop.leave()
    if last and (last.stage != "training" or last.done < last.total):
        where = f"at step {last.done} of {last.total}" if last.stage == "training" else f"while {last.stage}"
        if first:
            click.echo(f"interrupted {where}; run the same command again to continue", err=True)
        return 130
    return _release(release.release, resolved, run) if first else 0


def require_torch() -> None:
    """Raise UsageError if the packages for training are not installed."""
    from sertool.errors import UsageError

    try:
        for name in ("onnx", "torch"):
            importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"this needs {error.name}: pip install 'sertool[train]'") from None


def _release(
    write: "Callable[[_Recipe, Path, Report], tuple[Bundle, tuple[str, ...]]]", recipe: _Recipe, run: Path
) -> int:
    """Write a bundle into the run's folder and print the variants that missed a gate; return the exit code."""
    with bar(0, "clips", "measuring", shown=on_terminal()) as shown:
        bundle, missed = write(recipe, run, lambda stage, done, total: shown.update(done, stage, total))
    click.echo(f"wrote {bundle.path}; inspect it with: sertool bundle show {bundle.path}")
    for line in missed:
        click.echo(f"sertool: not written: {line}", err=True)
    return 1 if missed else 0


def draw(
    progress: "Generator[Progress, None, None]",
    stop: threading.Event,
    prefix: str = "",
    rank: Callable[[], int] = lambda: 0,
) -> "Progress | None":
    """Show a run's progress until it is done or stopped; return the last Progress, if any.

    Only the process of rank 0 prints.
    """
    last: Progress | None = None
    terminal, clock = on_terminal() and rank() == 0, _Clock()
    with bar(1, "", "starting", shown=terminal, state=lambda: _state(last)) as shown:
        for last in progress:
            if terminal:
                shown.update(last.done, prefix + last.stage, last.total)
            elif rank() == 0 and (left := clock.due(last)) is not None:
                click.echo(f"{prefix}{last.stage} {last.done}/{last.total} {left} {_state(last)}".rstrip(), err=True)
            if stop.is_set() and last.stage != "training":
                progress.close()
                break
    return last


class _Clock:
    """Decide when to print a line if there is no terminal, and estimate how long a stage takes at its speed so far."""

    EVERY_S = 10.0

    def __init__(self) -> None:
        self.stage: str | None = None
        self.began, self.first, self.printed = 0.0, 0, 0.0

    def due(self, progress: "Progress") -> str | None:
        """Return the time left as text, empty if unknown, or None if no line is due."""
        now = time.monotonic()
        if progress.stage != self.stage:
            self.stage, self.began, self.first = progress.stage, now, progress.done
        if progress.done < progress.total and now - self.printed < self.EVERY_S:
            return None
        self.printed = now
        done = progress.done - self.first
        if not done or progress.done == progress.total:
            return ""
        seconds = (now - self.began) / done * (progress.total - progress.done)
        return f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02}:{int(seconds % 60):02} left"


def _state(progress: "Progress | None") -> str:
    """Return losses and validation metrics as text."""
    if progress is None:
        return ""
    losses = " ".join(f"{name} {value:.3f}" for name, value in (progress.losses or {}).items())
    figures = " ".join(f"{name} {value:.3f}" for name, value in (progress.val or {}).items())
    return f"{losses}  val {figures}" if figures else losses
