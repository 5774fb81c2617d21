"""What `train`, `distil` and `crossval` share: find the recipe, draw the run, survive Ctrl-C, write the bundle."""

import contextlib
import json
import signal
import threading
import time
from pathlib import Path

import click

from sertool.cli.terminal import bar, on_terminal

#: The options of all three, outermost first.
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


def options(command):
    """Decorator that gives a command OPTIONS."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def train_and_release(recipe: str, run: Path | None, overrides, show: bool, kind: str, teacher: bool = False) -> int:
    """The whole of `sertool KIND RECIPE`; the exit code."""
    from sertool.training.recipe import DistilRecipe, Recipe, find, load_recipe

    path = find(recipe)
    resolved = load_recipe(path, overrides, complete=not show, kind={"train": Recipe, "distil": DistilRecipe}[kind])
    if show:
        click.echo(json.dumps(resolved.as_dict(), indent=2))
        return 0
    require_torch()
    from sertool.export import release
    from sertool.training import distil, loop, supervised

    release.check(resolved)
    run = run or Path("runs") / path.stem
    if teacher:
        return _release(release.release_teacher, resolved, run)
    if not (run / "last.pt").exists():
        release.rehearse(resolved)
        if not (resolved.model.start or "weights" in resolved.model.options):
            click.echo(f"{resolved.model.name} begins with random weights", err=True)
    steps = {"train": supervised.train, "distil": distil.distil}[kind]
    stop = threading.Event()
    with interruptible(stop):
        last = draw(steps(resolved, run, stop.is_set), stop, rank=loop.rank)
    first = loop.rank() == 0
    loop.leave()
    if last and (last.stage != "training" or last.done < last.total):
        where = f"at step {last.done} of {last.total}" if last.stage == "training" else f"while {last.stage}"
        if first:
            click.echo(f"interrupted {where}; the same command goes on from there", err=True)
        return 130
    return _release(release.release, resolved, run) if first else 0


def require_torch() -> None:
    """UsageError if what training needs is not installed."""
    from sertool.errors import UsageError

    try:
        import onnx  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise UsageError(f"training needs {error.name}: pip install 'sertool[train]'") from None


def _release(write, recipe, run: Path) -> int:
    with bar(0, "clips", "measuring", shown=on_terminal()) as shown:
        bundle, missed = write(recipe, run, lambda stage, done, total: shown.update(done, stage, total))
    click.echo(f"wrote {bundle.path}; look at it with: sertool bundle show {bundle.path}")
    for line in missed:
        click.echo(f"sertool: not written: {line}", err=True)
    return 1 if missed else 0


@contextlib.contextmanager
def interruptible(stop: threading.Event):
    """The first Ctrl-C or SIGTERM asks for a stop at the step's end; another one leaves at once."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def first(*_):
        stop.set()
        restore()

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, first)
    try:
        yield
    finally:
        restore()


def draw(progress, stop: threading.Event, prefix: str = "", rank=lambda: 0):
    """Draw a run's progress until it is done or stopped; the last Progress, if any. Only the first process speaks."""
    last, terminal, clock = None, on_terminal() and rank() == 0, _Clock()
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
    """When a line of a log file is due, and how long a stage will take at its pace so far."""

    EVERY_S = 10.0

    def __init__(self):
        self.stage, self.spoke = None, 0.0

    def due(self, progress) -> str | None:
        """Time left as text, if a line is due."""
        now = time.monotonic()
        if progress.stage != self.stage:
            self.stage, self.began, self.first = progress.stage, now, progress.done
        if progress.done < progress.total and now - self.spoke < self.EVERY_S:
            return None
        self.spoke = now
        done = progress.done - self.first
        if not done or progress.done == progress.total:
            return ""
        seconds = (now - self.began) / done * (progress.total - progress.done)
        return f"{int(seconds // 3600)}:{int(seconds // 60 % 60):02}:{int(seconds % 60):02} left"


def _state(progress) -> str:
    if progress is None:
        return ""
    losses = " ".join(f"{name} {value:.3f}" for name, value in (progress.losses or {}).items())
    figures = " ".join(f"{name} {value:.3f}" for name, value in (progress.val or {}).items())
    return f"{losses}  val {figures}" if figures else losses
