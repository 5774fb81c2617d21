"""Implementation of `sertool merge`."""

from pathlib import Path

import click

from sertool.cli import outputs
from sertool.cli.recordings import writing
from sertool.cli.terminal import visible
from sertool.errors import UsageError
from sertool.labelling.merge import open_shards
from sertool.recordings.shards import shards_of

_SHOWN = 10


def merge(output: Path, dialect: str | None, form: str | None, partial: bool, overwrite: bool, quiet: bool) -> int:
    """Run `sertool merge`; the arguments are its options."""
    tables = shards_of(output)
    if not tables:
        raise UsageError(f"{output}: no shards beside it, such as {output.stem}.1-of-8{output.suffix}")
    of = int(tables[0].stem.rpartition("-of-")[2])
    shards = open_shards(tables, of)
    if shards.problems and not partial:
        shown = "; ".join(shards.problems[:_SHOWN])
        more = f"; and {len(shards.problems) - _SHOWN} more" if len(shards.problems) > _SHOWN else ""
        raise UsageError(f"{shown}{more} (--partial merges what there is)")
    choice = outputs.Choice(form, output, dialect)
    if choice.form.per_recording:
        raise UsageError(f"{choice.form.name} has a file for each recording: there is nothing to merge")
    recordings = [recording for recording, _ in shards.entries()] if choice.named else []
    target = outputs.Output(choice, output, recordings, shards.folder, overwrite, inputs=tables, gone=True)
    failed = 0
    with writing(output), target:
        target.open(shards.table)
        for recording, entry in shards.entries():
            failed += entry.failed
            target.write(recording, entry.seconds, entry.rows, entry.failed)
    if not quiet:
        count = len(shards.index[0])
        click.echo(
            f"merged {len(tables)} shards into {visible(str(output))}: {count - failed} labelled, {failed} failed",
            err=True,
        )
        for problem in shards.problems[:_SHOWN]:
            click.echo(problem, err=True)
    return 1 if shards.problems else 0
