"""`sertool calibrate`: measure how right a bundle is, so that its labels say how sure they are."""

from pathlib import Path
from typing import Any

import click

from sertool.cli import options
from sertool.cli.options import FOLDER, layout


@click.command(
    epilog="""\b
What the new bundle knows, and `label` writes:
  confidence      of classes: the probability that the winner is right
  .low, .high     of numbers: an interval that holds 80 % of true values
  typical         with --noise: how much audio is like the speech trained on
It also knows where an average voice lies, for `sertool adapt`. The files
compute the same as before.
\b
Examples:
  sertool calibrate mine corpora/ --split val -o mine-sure
  sertool calibrate mine corpora/ --split val --noise noise/ --check test -o mine-sure"""
)
@click.argument("model", metavar="MODEL")
@click.argument("corpus", metavar="CORPUS", type=FOLDER)
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the new bundle."
)
@layout("if it has a manifest.csv")
@options.shown("--split", default="val", help="Speakers that the model was not trained on.")
@options.corpora
@click.option(
    "--noise",
    metavar="DIR",
    multiple=True,
    type=FOLDER,
    help="Sounds that are no speech; may be repeated. Synthesised tones are added.",
)
@options.shown("--speech-split", default="train", help="With --noise: speech that the model was trained on.")
@click.option(
    "--check", "checks", metavar="SPLIT", multiple=True, help="Also measure on each corpus of this split; repeatable."
)
@options.shown("--clips", type=click.IntRange(min=10), default=400, help="Clips of each corpus and split.")
@options.jobs
@options.overwrite
@click.option("--json", "as_json", is_flag=True, help="Print the calibration and the measurements as JSON.")
def calibrate(**arguments: Any) -> int:
    """Measure how right a bundle is on labelled recordings, so that its labels say how sure they are.

    MODEL is a bundle's name or folder. CORPUS has recordings with emotions, or with ratings. Use speakers that the
    model was not trained on: on others, it would seem surer than it is. Needs the extra sertool[tune].
    """
    from sertool.cli.run.calibrate import calibrate

    return calibrate(**arguments)
