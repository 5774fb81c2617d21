"""`sertool merge`: one table from the shards of `sertool label --shard`."""

from typing import Any

import click

from sertool.cli import options
from sertool.cli.elsewhere import shards_here


@click.command(
    epilog="""\b
Exit codes: 0 merged, 1 merged with --partial although shards are missing,
2 wrong usage or shards missing, 3 disk full.
\b
Example, on three machines and then on one:
  sertool label calls/ -o labels.csv --shard 1/3
  sertool label calls/ -o labels.csv --shard 2/3
  sertool label calls/ -o labels.csv --shard 3/3
  sertool merge labels.csv"""
)
@click.argument("output", type=options.OUTPUT)
@options.dialect
@click.option("--format", "form", metavar="NAME", help="[default: from the output's extension]")
@click.option("--partial", is_flag=True, help="Merge what there is, even if shards are missing or not finished.")
@options.overwrite
@click.option("-q", "--quiet", is_flag=True, help="No summary.")
def merge(**arguments: Any) -> int:
    """Merge the shards of OUTPUT, the -o of `sertool label --shard`, into one table.

    Rows are in the order of the recordings, whatever the number of shards: the table is the one that `sertool label
    --ordered` would have written. A recording that two shards have is taken once. The shards stay.
    """
    from sertool.cli.run.merge import merge

    with shards_here(arguments["output"], arguments["overwrite"]) as output:
        return merge(**arguments | {"output": output})
