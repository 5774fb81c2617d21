"""`sertool tune`: own classes or numbers from a few labelled recordings."""

from pathlib import Path
from typing import Any

import click

from sertool.cli import options
from sertool.cli.options import FOLDER


@click.command(
    epilog="""\b
LABELS is one of:
  a folder with a folder of recordings for each class
  a table (csv, tsv) with a column file, relative to the table, and a column
    emotion, label or class, or --label, or --numbers; and maybe speaker, start
    and end (seconds)
\b
What it prints:
  before   how often the model is right on these clips as it is
  after    the same, each clip judged by a model that did not hear it, nor any
           other clip of its speaker where there are enough speakers
The intervals are of these clips; strangers and other microphones are harder.
\b
Examples:
  sertool tune mobile-emotion labels.csv -o mine
  sertool tune wav2small-emotion notes/ -o mine          (notes/calm, notes/tense)
  sertool tune mobile ratings.csv --numbers arousal,valence -o mine
  sertool export mine -o chip --format c --calibrate notes/"""
)
@click.argument("model", metavar="MODEL")
@click.argument("labels", metavar="LABELS", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the new bundle."
)
@click.option("--label", metavar="COLUMN", help="Column with the class.  [default: emotion, label or class]")
@click.option("--numbers", metavar="A,B", help="Columns with numbers to learn in place of classes.")
@click.option("--root", type=FOLDER, help="Folder that the table's files are relative to.  [default: the table's]")
@click.option("--name", help="Name of the bundle.  [default: that of its folder]")
@options.shown("--seed", default=0, help="How the clips are split for cross-validation.")
@options.jobs
@options.overwrite
@click.option("--json", "as_json", is_flag=True, help="Print the measurements as JSON.")
def tune(**arguments: Any) -> int:
    """Learn own classes or numbers from a few labelled recordings, at least three of each class.

    MODEL is a bundle's name or folder, with an embedding. Only its last layer is learnt, with the model's own answer as
    a prior; how strong it is, cross-validation chooses. The result is an ordinary bundle: label, check, pack, export.
    Labels that look wrong are listed. Needs the extra sertool[tune].
    """
    from sertool.cli.run.tune import tune

    return tune(**arguments)
