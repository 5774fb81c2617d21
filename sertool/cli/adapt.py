"""`sertool adapt`: shift a bundle to own voices, without labels."""

from pathlib import Path
from typing import Any

import click

from sertool.cli import options


@click.command(
    epilog="""\b
When it helps: one voice, or one group of people with the same language and
microphone, in all its moods. A model of classes leans to some of them on
voices that are unlike those that it was trained on; that lean is taken off.
When not to use it:
  * recordings of one mood only. The shift is limited so that it does little
    harm, but it cannot tell a sad voice from sad recordings.
  * many different voices in one folder: give a table with a column for the
    speaker, and each gets a bundle of its own.
  * arousal, dominance, valence: a shift would remove what is true of the voice.
    `sertool label --relative-to` compares a voice with itself instead.
\b
Examples:
  sertool adapt mobile-emotion my-recordings/ -o mine
  sertool adapt mobile-emotion calls.csv --by speaker -o voices
  sertool label -m mine new-recordings/"""
)
@click.argument("model", metavar="MODEL")
@click.argument("recordings", metavar="FOLDER|TABLE", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the new bundle."
)
@click.option(
    "--by", metavar="COLUMN", help="A bundle for each value of this column of TABLE, in a folder of that name in -o."
)
@click.option("--name", help="Name of the bundle.  [default: that of its folder]")
@options.pattern
@options.jobs
@options.overwrite
@click.option("--json", "as_json", is_flag=True, help="Print what changes as JSON.")
def adapt(**arguments: Any) -> int:
    """Shift a bundle of classes to own voices, from recordings without labels.

    MODEL is a bundle's name or folder. Give a FOLDER of recordings, or a TABLE (csv) with a column file. The mean of
    the answers is compared with that of average voices, and the difference is taken off: partly, the more recordings
    the more, and never farther than a typical voice lies from the average. The new bundle is an ordinary one.
    Needs the extra sertool[tune].
    """
    from sertool.cli.run.adapt import adapt

    return adapt(**arguments)
