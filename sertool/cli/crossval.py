"""`sertool crossval`: cross-validate a recipe."""

import json
import threading
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sertool.cli import runs
from sertool.cli.interrupt import interruptible

if TYPE_CHECKING:
    from sertool.training.sections import Recipe


@click.command()
@runs.options
@click.option("--only", metavar="FOLD", multiple=True, help="Run only this fold; may be repeated.")
@click.option("--list", "listed", is_flag=True, help="List the folds, with clips and weights by class, and stop.")
@click.option(
    "--baseline",
    metavar="SECTION.KEY=VALUE",
    multiple=True,
    help="First cross-validate with this override, in RUN/baseline, and show both side by side.",
)
@click.option(
    "--against",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of another finished cross-validation: show both side by side, with the gain.",
)
@click.option(
    "--random-split",
    "random",
    is_flag=True,
    help="Split clips at random, ignoring speakers, to show how much leaking speakers inflate the figures.",
)
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
    """Train and test a recipe fold by fold, on speakers, sessions or corpora left out.

    RECIPE is one of `sertool train`. Its [folds] say what is left out: sessions where the corpus has them (IEMOCAP: one
    tests, the next validates, three train), else speakers, or with folds.by = "corpus" one corpus after the other.
    What is in data.also or folds.always only ever trains. A speaker in two parts is an error. Each fold is a run in
    a folder of its own; the same command goes on where it was cut off, and does not repeat what is done.

    The run's folder gets results.json, predictions.csv (every tested file), confusion.csv and, with matplotlib,
    confusion.png, of all folds; each fold's folder holds its own predictions.csv, report.json and rows.csv.

    \b
    Examples:
      sertool crossval distilhubert --list
      sertool crossval distilhubert --set data.root=IEMOCAP_full_release --baseline data.also=[]
      sertool crossval distilhubert --set data.root=IEMOCAP_full_release -o runs/fast \\
          --set train.epochs=5 --against runs/distilhubert-crossval
    """
    from sertool.errors import UsageError
    from sertool.training.recipe import find, load_recipe

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


def _run_folds(recipe: "Recipe", run: Path, only: Collection[str], random: bool, prefix: str = "") -> int | None:
    """Train and test the folds; return the exit code to end with, or None if all are done and results are written."""
    from sertool.errors import UsageError
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
        figures = ", ".join(f"{n} {report['overall']['measures'][n]['value']:.3f}" for n in _shown(report))
        click.echo(
            f"{prefix}fold {fold.name} ({number} of {len(folds)}), {report['clips']} clips: {figures}"
            f"{', from an earlier run' * done}"
        )
    if any(not (crossval.folder(run, name) / crossval.REPORT).exists() for name in names):
        return None if prefix else 0
    crossval.results(recipe, names, run, random)
    return None


def _shown(report: dict[str, Any]) -> list[str]:
    """Return the measures to print for a fold."""
    measures = report["overall"]["measures"]
    return [name for name in measures if name in ("WA", "UA", "macro-F1") or name.endswith("CCC")]


def _other(against: Path, run: Path, recipe: "Recipe") -> dict[str, Any]:
    """Return the results of another cross-validation.

    Raise UsageError, before any fold is trained, if they cannot be compared with this one.
    """
    from sertool.errors import UsageError
    from sertool.plugins import load_plugins
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
    from sertool.evaluation import categorical, folds
    from sertool.training import crossval

    summary = results["summary"]
    if other and against:
        names = [against.name, run.name] if against.name != run.name else [str(against), str(run)]
        names = [f"{n} (leaks)" if "leak" in x["split"] else n for n, x in zip(names, (other, results), strict=True)]
        summary = folds.summary(
            {name: list(x["folds"].values()) for name, x in zip(names, (other, results), strict=True)}
        )
    lines = [*folds.markdown(summary)]
    confusion = results["summary"]["recipes"][run.name].get("confusion")
    if confusion:
        lines += ["", *categorical.confusion_markdown(confusion, results["outputs"])]
        crossval.write_confusion(run / "confusion.csv", confusion, results["outputs"])
        _draw(run, {run.name: (results["outputs"], confusion)})
    heading = f"{results['split']}; mean ± standard deviation over {len(results['folds'])} folds"
    click.echo("\n".join(["", heading, *lines]))
    click.echo(f"\nwrote {run / crossval.RESULTS}, {crossval.PREDICTIONS}{' and confusion.csv' * bool(confusion)}")
    return 0


def _draw(run: Path, confusions: dict[str, tuple[list[str], list[list[int]]]]) -> None:
    """Draw confusion.png if matplotlib is installed."""
    from sertool.errors import UsageError
    from sertool.evaluation import plots

    try:
        plots.require()
    except UsageError:
        return  # confusion.csv has the same data
    plots.confusion(run / "confusion.png", confusions, "all folds")
