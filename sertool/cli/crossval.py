"""`sertool crossval`: cross-validate a recipe."""

from pathlib import Path
from typing import Any

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
def crossval(**arguments: Any) -> int:
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
    from sertool.cli.run.crossval import crossval

    return crossval(**arguments)
