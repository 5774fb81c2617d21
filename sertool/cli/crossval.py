"""`sertool crossval`: a recipe's figures on what it never heard."""

import json
import threading
from pathlib import Path

import click

from sertool.cli import runs


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
def crossval(recipe, run, overrides, show, only, listed, baseline, against, random):
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
        raise UsageError("--baseline and --against exclude each other: both are what this one stands beside")
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
            "random split: speakers are in several parts, so these figures flatter; for comparison only", err=True
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


def _run_folds(recipe, run: Path, only, random: bool, prefix: str = "") -> int | None:
    """Train and test the folds; the exit code if that ends it, None if all are done and their results written."""
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
        with runs.interruptible(stop):
            runs.draw(crossval.run_fold(recipe, fold, folder, stop.is_set), stop, f"{prefix}fold {fold.name} ")
        if not (folder / crossval.REPORT).exists():
            click.echo(f"interrupted in {prefix}fold {fold.name}; the same command goes on from there", err=True)
            return 130
        report = json.loads((folder / crossval.REPORT).read_text(encoding="utf-8"))
        figures = ", ".join(f"{n} {report['overall']['measures'][n]['value']:.3f}" for n in _shown(report))
        click.echo(
            f"{prefix}fold {fold.name} ({number} of {len(folds)}), {report['clips']} clips: {figures}"
            f"{', as before' * done}"
        )
    if any(not (crossval.folder(run, name) / crossval.REPORT).exists() for name in names):
        return None if prefix else 0
    crossval.results(recipe, names, run, random)
    return None


def _shown(report: dict) -> list[str]:
    measures = report["overall"]["measures"]
    return [name for name in measures if name in ("WA", "UA", "macro-F1") or name.endswith("CCC")]


def _other(against: Path, run: Path, recipe) -> dict:
    """What another cross-validation found; UsageError, before folds are trained, if it cannot stand beside this one."""
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


def _finish(found: dict, run: Path, other: dict | None, against: Path | None) -> int:
    from sertool.evaluation import categorical, folds
    from sertool.training import crossval

    summary = found["summary"]
    if other:
        names = [against.name, run.name] if against.name != run.name else [str(against), str(run)]
        names = [f"{n} (leaks)" if "leak" in x["split"] else n for n, x in zip(names, (other, found), strict=True)]
        summary = folds.summary(
            {name: list(x["folds"].values()) for name, x in zip(names, (other, found), strict=True)}
        )
    lines = [*folds.markdown(summary)]
    confusion = found["summary"]["recipes"][run.name].get("confusion")
    if confusion:
        lines += ["", *categorical.confusion_markdown(confusion, found["outputs"])]
        crossval.write_confusion(run / "confusion.csv", confusion, found["outputs"])
        _draw(run, {run.name: (found["outputs"], confusion)})
    click.echo("\n".join(["", f"{found['split']}; mean ± standard deviation over {len(found['folds'])} folds", *lines]))
    click.echo(f"\nwrote {run / crossval.RESULTS}, {crossval.PREDICTIONS}{' and confusion.csv' * bool(confusion)}")
    return 0


def _draw(run: Path, confusions: dict) -> None:
    from sertool.errors import UsageError
    from sertool.evaluation import plots

    try:
        plots.require()
    except UsageError:
        return  # the CSV has the same
    plots.confusion(run / "confusion.png", confusions, "all folds")
