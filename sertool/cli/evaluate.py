"""`sertool evaluate`: evaluate models on labelled recordings."""

from pathlib import Path
from typing import Any

import click

from sertool.cli import options


@click.command(
    epilog="""\b
Figures: CCC, Pearson and MAE of arousal, dominance and valence where the corpus
has numbers from 0 to 1; where it has classes, AUC: arousal of angry, happy and
fearful against sad, neutral and calm; valence of happy against angry and sad.
Of a model of classes: weighted accuracy WA (share of recordings that are right),
unweighted accuracy UA (mean recall of the classes that are there), F1 by class
and their mean macro-F1, recall, expected calibration error ECE, and what each
class was taken for. Recordings of other classes are left out.
Intervals hold 95 % of the bootstrap's resamples.
\b
Exit codes: 0 all recordings evaluated, 1 some failed (named on standard error
and left out), 2 wrong usage, 130 interrupted.
\b
Examples:
  sertool evaluate wav2small corpora/ --split val
  sertool evaluate wav2small corpora/ --against runs/wav2small/teacher --plots plots/
  sertool evaluate wav2small corpora/ --robustness --json result.json
  sertool evaluate wav2small corpora/ --against mobile --crop 0.5,1,2
  sertool evaluate wav2small --against mobile --course film.wav --plots plots/
  sertool evaluate wav2small-emotion corpora/ --split test-ood --plots plots/
  sertool evaluate mobile-emotion talks/ --segments talks/ --tier emotion"""
)
@click.argument("model")
@click.argument("corpus", required=False, type=options.FOLDER)
@options.layout("if there is a manifest.csv")
@options.splits
@options.corpora
@click.option("--against", metavar="MODEL", multiple=True, help="Evaluate this model too; may be repeated.")
@click.option(
    "--crop", "crops", metavar="S,S", help="Also measure on the middle S seconds of each recording, such as 0.5,1,2,5."
)
@click.option("--whole", "in_one", is_flag=True, help="Run the model on each whole recording: no detector, no windows.")
@options.runtime("set by each model")
@options.jobs
@options.shown(
    "--bootstrap", metavar="N", type=click.IntRange(min=0), default=1000, help="Resamples for the intervals; 0: none."
)
@options.shown(
    "--resample",
    type=click.Choice(["clips", "speakers"]),
    default="clips",
    help="Draw single clips, or all clips of a speaker together, since these are not independent.",
)
@options.shown("--seed", type=click.IntRange(min=0), default=0, help="Seed of the bootstrap and of --robustness.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Write all results as JSON; - writes to standard output instead of the tables.",
)
@click.option("--predictions", type=options.FILE, help="Write a CSV of labels and outputs, one row per file and model.")
@click.option(
    "--plots",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Draw there: scatter.png (valence and arousal by class) or, of models of classes, confusion.png and "
    "reliability.png; bars.png (CCC, AUC or accuracy by model) and course.png.",
)
@click.option(
    "--course",
    "recording",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A long recording: draw the outputs of MODEL and of the first --against over time.",
)
@click.option("--robustness", "robust", is_flag=True, help="Apply small changes to clips and count unchanged outputs.")
@click.option("--fairness", "fair", is_flag=True, help="Compare results between languages and between sexes.")
@options.shown(
    "--clips",
    metavar="N",
    type=click.IntRange(min=1),
    default=100,
    help="Number of clips for --robustness, evenly over the corpus.",
)
@options.segments
@options.segments_format
@options.tier
@click.option("--noise", metavar="DIR", type=options.FOLDER, help="Recordings of noise for --robustness.")
@click.option("--rooms", metavar="DIR", type=options.FOLDER, help="Room impulse responses for --robustness.")
def evaluate(**arguments: Any) -> int:
    """Evaluate a model on labelled recordings.

    MODEL is the name of a model, a bundle folder or a model file. CORPUS is a folder of recordings with a
    manifest.csv, or in another layout (`sertool plugins` lists them). Recordings are labelled as by `sertool
    label`, or with --whole as papers measure. Results are for all recordings and by corpus, language, sex and
    speaker. With --segments, each segment is a row instead; its labels are in the columns emotion (or text),
    arousal, dominance and valence. All models must have the same task: numbers, or classes. Without CORPUS, only
    --course is drawn.
    """
    from sertool.cli.run.evaluate import evaluate

    return evaluate(**arguments)
