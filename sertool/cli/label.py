"""`sertool label`: label recordings with emotion."""

from pathlib import Path
from typing import Any

import click

from sertool._about import DEFAULT_MODEL
from sertool.cli import options


@click.command(
    epilog="""\b
Columns: file; start and end in seconds; the outputs of the model; seconds of
speech; error. Models: mobile and wav2small give arousal, dominance and valence,
each about 0 to 1, 0.5 is neutral. mobile-emotion, mobile-emotion-free and
wav2small-emotion give the most likely of angry, happy, neutral and sad as
emotion, and a probability for each. mobile is the most accurate; wav2small is
several times as fast.
\b
Exit codes: 0 all labelled, 1 some failed (their rows say why), 2 wrong usage,
3 disk full, 130 interrupted.
\b
Examples:
  sertool label call.mp3
  sertool label interviews/ -o labels.csv
  sertool label -m mobile-emotion interviews/ -o emotions.csv
  sertool label talk.wav --windows --format jsonl
  find . -name '*.wav' -print0 | sertool label - -o labels.csv --resume"""
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "-m", "--model", default=DEFAULT_MODEL, show_default=True, help="Name of a model, bundle folder or model file."
)
@click.option("--variant", help="Which of the bundle's files to run.  [default: set by the bundle]")
@options.runtime("set by the variant")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the table to this file.  [default: standard output]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl", "parquet"], case_sensitive=False),
    help="[default: from the output's extension; csv on standard output]",
)
@click.option(
    "--windows",
    is_flag=True,
    help="One row per window (8 s of speech, which may span more time) instead of one per file.",
)
@click.option(
    "--window",
    type=click.FloatRange(min=0, min_open=True),
    help="Window length in seconds of speech.  [default: set by the model, 8]",
)
@click.option(
    "--hop",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds between window starts, at most the window length.  [default: the window length]",
)
@click.option("--no-vad", is_flag=True, help="Do not skip non-speech.")
@options.jobs
@click.option("--ordered", is_flag=True, help="Write rows in the order of the files, not as they finish.")
@options.pattern
@click.option("--resume", is_flag=True, help="Continue an interrupted run: label only new, changed and failed files.")
@click.option("--restart", is_flag=True, help="Overwrite an existing output.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary; failures stay in the table.")
def label(**arguments: Any) -> int:
    """Label recordings with emotion.

    PATH is a file, a folder (searched recursively), a pattern such as '*.wav', or - for standard input: a list of
    files (one per line, or separated by NUL) or a recording. Reads wav, flac, ogg, opus, mp3 and more at any rate,
    and averages channels; the extra sertool[av] adds m4a, aac, wma and video, of which it takes the default track.
    Recordings of up to 8 s are labelled whole. In longer ones, non-speech is removed and the rest is labelled in
    windows of 8 s of speech, averaged by duration. A recording of more than one second in which nothing sounds like
    speech gets an error instead of a label.
    """
    from sertool.cli.run.label import label

    return label(**arguments)
