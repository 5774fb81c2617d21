"""`sertool augment`: apply training augmentations to recordings."""

from pathlib import Path
from typing import Any

import click


@click.command(
    epilog="""\b
--with NAME                       with its defaults
--with NAME:KEY=VALUE,KEY=VALUE   options; VALUE is TOML or bare text
--with NAME:p=0.04                applied to 4 % of the files, chosen by the seed
\b
`sertool plugins` lists the augmentations; for a wrong option the message lists
the valid ones.
\b
Exit codes: 0 all written, 1 some files failed (they are named), 2 wrong usage,
130 interrupted.
\b
Examples:
  sertool augment call.wav louder.wav --with gain:low=6,high=6
  sertool augment clips/ noisy/ --with room:folder=rir/ --with noise:folder=noise/,low=5
  sertool augment clips/ out/ --with 'shout:pitch=[1.5,1.8]' --copies 3 --seed 7"""
)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--with",
    "wanted",
    metavar="NAME[:KEY=VALUE,...]",
    multiple=True,
    required=True,
    help="An augmentation and its options; may be repeated, applied in this order.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same samples.")
@click.option(
    "--copies",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Variants of each file, in OUT/1, OUT/2 and so on if more than one.",
)
@click.option("--overwrite", is_flag=True, help="Replace files in OUT; never files of IN.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary; failures are still named.")
def augment(**arguments: Any) -> int:
    """Apply training augmentations to recordings.

    IN is a file or a folder (searched recursively). OUT is a folder; files keep their relative path and become
    .wav. For a single file OUT may be a .wav or .flac. Output is 16 kHz mono; .wav is 32-bit float, which keeps
    values beyond full scale, and a .flac that would clip is an error. The result for a file depends on the seed and
    on its name below IN, not on other files.
    """
    from sertool.cli.run.augment import augment

    return augment(**arguments)
