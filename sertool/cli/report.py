"""`sertool report`: a page to look at labels and hear the recordings."""

from typing import Any

import click

from sertool._about import DEFAULT_MODEL
from sertool.cli import options


@click.command(
    epilog="""\b
Tables: csv, tsv, jsonl or parquet with a column file, such as sertool label
writes. Recordings are looked for in the folders of --audio, beside the table
and in the current folder.
\b
Exit codes: 0 written, 2 wrong usage, 3 disk full, 130 interrupted.
\b
Examples:
  sertool report labels.csv --audio interviews/ -o report.html
  sertool report interviews/ -o report.html
  sertool report interviews/ -m mobile-emotion -o report.html --embed
  sertool report --compare old.csv new.csv --audio calls/ -o differences.html
  sertool report --compare labels.csv truth.csv --audio calls/ -o mistakes.html
  sertool label calls/ --windows -o labels.csv --report report.html"""
)
@click.argument("paths", metavar="LABELS|FOLDER...", nargs=-1, required=True)
@click.option("-o", "--output", type=options.FILE, required=True, help="The page to write, such as report.html.")
@click.option(
    "--compare",
    is_flag=True,
    help="Two tables of the same recordings: two models, or labels and then the truth. The largest differences come "
    "first.",
)
@click.option("--audio", "folders", type=options.FOLDER, multiple=True, help="Folder with the recordings; repeatable.")
@click.option("--embed", is_flag=True, help="Put the recordings into the page, as Opus: about 16 MB an hour.")
@click.option(
    "--label",
    "label_column",
    metavar="COLUMN",
    help="Column with the class; with --compare, of the second table.  [default: emotion, label or class]",
)
@click.option("--title", help="[default: the name of the table or folder]")
@click.option("-m", "--model", default=DEFAULT_MODEL, show_default=True, help="What labels a FOLDER.")
@click.option("--restart", is_flag=True, help="Label a FOLDER again instead of continuing.")
@options.jobs
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
def report(**arguments: Any) -> int:
    """Write a page to look at labels: a map, a table, and a timeline with a player for each recording.

    LABELS is a table that `sertool label` wrote. A FOLDER is labelled first, in windows of speech; its table is kept
    beside the page, as report.csv beside report.html, and an interrupted run continues there. The page is one file
    that needs no network. It links to the recordings where they are, or holds them with --embed, to be sent by mail.
    """
    from sertool.cli.run.report import report

    return report(**arguments)
