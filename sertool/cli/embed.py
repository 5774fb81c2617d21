"""`sertool embed`: embeddings of recordings, for other programs."""

from typing import Any

import click

from sertool._about import DEFAULT_MODEL
from sertool.cli import options
from sertool.cli.elsewhere import here


@click.command(
    epilog="""\b
Columns: those of `sertool label`, with the values of the embedding, e000 and so
on, in place of the labels: wav2small and wav2small-emotion 169, the mobile
models 2,048. They are what the model's last layers turn into its answer, and
the mean over windows where a row has several.
\b
Formats: npy (a matrix; row i of NAME.npy is line i of the table NAME.csv),
parquet, csv, jsonl and the other tables of `sertool label`.
With --tokens: a file NAME.npy for each recording, [tokens, 169], 250 tokens a
second, in place of features such as MFCCs; wav2small and wav2small-emotion.
\b
Examples:
  sertool embed interviews/ -o embeddings.parquet
  sertool embed -m mobile-emotion interviews/ -o embeddings.npy
  sertool embed talk.wav --by window --hop 1 -o talk.csv
  sertool embed clips/ --tokens -o tokens/"""
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "-m", "--model", default=DEFAULT_MODEL, show_default=True, help="Name of a model, bundle folder or model file."
)
@click.option("--variant", help="Which of the bundle's files to run.  [default: set by the bundle]")
@options.runtime("set by the variant")
@click.option("-o", "--output", required=True, type=options.OUTPUT, help="File or URL, or with --tokens a folder.")
@click.option("--format", "form", metavar="NAME", help="[default: from the output's extension]")
@click.option("--tokens", is_flag=True, help="Write all tokens, before the pooling, a file for each recording.")
@click.option(
    "--by",
    type=click.Choice(["file", "window", "segment", "speaker", "channel", "speech-window"]),
    help="What a row is, as in `sertool label`.  [default: segment with --segments, else file]",
)
@click.option("--window", type=click.FloatRange(min=0, min_open=True), help="Window length in seconds.  [default: 8]")
@click.option("--hop", type=click.FloatRange(min=0, min_open=True), help="Seconds between window starts.")
@options.channel
@options.track
@options.segments
@options.segments_format
@options.tier
@click.option("--no-vad", is_flag=True, help="Do not skip non-speech.")
@options.jobs
@click.option("--ordered", is_flag=True, help="Write rows in the order of the files, not as they finish.")
@options.pattern
@click.option("--resume", is_flag=True, help="Continue an interrupted run: only new, changed and failed files.")
@click.option("--restart", is_flag=True, help="Overwrite an existing output.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary; failures stay in the table.")
def embed(tokens: bool, **arguments: Any) -> int:
    """Write the embeddings of recordings: what a model hears, as numbers, for other programs.

    PATH, recordings and rows are as in `sertool label`. Use them to search, to cluster, or to train a classifier of
    your own; `sertool tune` does the last for you.
    """
    if tokens:
        from sertool.cli.run.tokens import tokens as write

        return write(**arguments)
    from sertool.cli.run.label import label

    fixed: dict[str, Any] = {"dialect": None, "template": None, "windows": False, "short": "repeat", "segmenter": None}
    with here(arguments["output"], arguments["resume"], arguments["restart"]) as output:
        return label(**arguments | {"output": output}, **fixed, vectors="embedding")
