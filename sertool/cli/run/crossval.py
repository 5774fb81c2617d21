"""Implementation of `sertool crossval`."""

import json
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from sertool.cli import runs
from sertool.cli.interrupt import interruptible
from sertool.cli.view import crossval as view
from sertool.errors import UsageError
from sertool.evaluation import folds as tables
from sertool.evaluation import plots
from sertool.look import figures
from sertool.plugins import load_plugins
from sertool.training.recipe import find, load_recipe
from sertool.training.sections import Recipe

# sertool.training.crossval needs torch, so functions import it once require_torch() has passed.


def crossval(
    recipe: str,
    run: Path | None,
    overrides: tuple[str, ...],
    show: bool,
    only: tuple[str, ...],
    listed: bool,
    baseline: tuple[str, ...],
    against: Path | None,
    random: bool,
) -> int:
    """Run `sertool crossval`; the arguments are its options."""
    if baseline and against:
        raise UsageError("--baseline and --against exclude each other: there can be one comparison only")
    path = find(recipe)
    resolved = load_recipe(path, overrides, complete=not show)
    if show:
        click.echo(json.dumps(resolved.as_dict(), indent=2))
        return 0
    runs.require_torch()
    from sertool.training import crossval

    run = run or Path("runs") / f"{path.stem}-crossval{'-random' * random}"
    if listed:
        click.echo("\n".join(crossval.listing(resolved, crossval.folds(resolved, random))))
        return 0
    if random:
        click.echo(
            "random split: speakers are in several parts, so these figures are too high; for comparison only", err=True
        )
    if baseline:
        against = run / "baseline"
        before = load_recipe(path, [*overrides, *baseline])
        if (status := _run_folds(before, against, only, random, "baseline, ")) is not None:
            return status
    other = _other(against, run, resolved) if against and not (baseline and only) else None
    if (status := _run_folds(resolved, run, only, random)) is not None:
        return status
    return _finish(crossval.read_results(run), run, other, against)


def _run_folds(recipe: Recipe, run: Path, only: Collection[str], random: bool, prefix: str = "") -> int | None:
    """Train and test the folds; return the exit code to end with, or None if all are done and results are written."""
    from sertool.training import crossval

    folds = crossval.folds(recipe, random)
    names = [fold.name for fold in folds]
    if unknown := sorted(set(only) - set(names)):
        raise UsageError(f"--only {unknown[0]}: no such fold (there are: {', '.join(names)})")
    stop = threading.Event()
    for number, fold in enumerate(folds, start=1):
        if only and fold.name not in only:
            continue
        folder = crossval.folder(run, fold.name)
        done = (folder / crossval.REPORT).exists()
        with interruptible(stop):
            runs.draw(crossval.run_fold(recipe, fold, folder, stop.is_set), stop, f"{prefix}fold {fold.name} ")
        if not (folder / crossval.REPORT).exists():
            click.echo(f"interrupted in {prefix}fold {fold.name}; run the same command again to continue", err=True)
            return 130
        report = json.loads((folder / crossval.REPORT).read_text(encoding="utf-8"))
        view.fold(report, f"{prefix}fold {fold.name} ({number} of {len(folds)})", earlier=done)
    if any(not (crossval.folder(run, name) / crossval.REPORT).exists() for name in names):
        return None if prefix else 0
    crossval.results(recipe, names, run, random)
    return None


def _other(against: Path, run: Path, recipe: Recipe) -> dict[str, Any]:
    """Return the results of another cross-validation.

    Raise UsageError, before any fold is trained, if they cannot be compared with this one.
    """
    from sertool.training import crossval

    other = crossval.read_results(against)
    outputs = list(load_plugins().get("models", recipe.model.name).outputs)
    if other["outputs"] != outputs:
        raise UsageError(
            f"--against {against}: its outputs are {', '.join(other['outputs'])}, not {', '.join(outputs)}"
        )
    if against.resolve() == run.resolve():
        raise UsageError(f"--against {against}: that is this run's own folder; choose another one with -o")
    return other


def _finish(results: dict[str, Any], run: Path, other: dict[str, Any] | None, against: Path | None) -> int:
    """Print the results, next to those of ``other`` in folder ``against``; return the exit code."""
    from sertool.training import crossval

    summary = results["summary"]
    if other and against:
        names = [against.name, run.name] if against.name != run.name else [str(against), str(run)]
        names = [f"{n} (leaks)" if "leak" in x["split"] else n for n, x in zip(names, (other, results), strict=True)]
        summary = tables.summary(
            {name: list(x["folds"].values()) for name, x in zip(names, (other, results), strict=True)}
        )
    confusion = results["summary"]["recipes"][run.name].get("confusion")
    if confusion:
        crossval.write_confusion(run / "confusion.csv", confusion, results["outputs"])
        _draw(run, {run.name: (results["outputs"], confusion)})
    view.table(results, summary, confusion)
    click.echo(f"\nwrote {run / crossval.RESULTS}, {crossval.PREDICTIONS}{' and confusion.csv' * bool(confusion)}")
    return 0


def _draw(run: Path, confusions: dict[str, tuple[list[str], list[list[int]]]]) -> None:
    """Draw confusion.png if matplotlib is installed."""
    try:
        figures.require()
    except UsageError:
        return  # confusion.csv has the same data
    plots.confusion(run / "confusion.png", confusions, "all folds")
