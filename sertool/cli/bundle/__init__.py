"""`sertool bundle`: check, show, compare, pack and install bundles."""

import click

from sertool.cli.bundle.archive import install, pack, uninstall, unpack
from sertool.cli.bundle.inspect import check, diff, show


@click.group(
    commands=(check, diff, install, pack, show, uninstall, unpack),
    epilog="""\b
One sha256 stands for a whole bundle: that of its SHA256SUMS, which lists all
other files. Whoever gets it from you by another way can tell, with --sha256,
that a bundle is yours.
\b
Exit codes: 0 done, 1 the bundle or zip is not sound, 2 wrong usage; of diff:
0 equal, 1 different, 2 cannot be compared.
\b
Examples:
  sertool bundle check out/                      is it whole, and still right?
  sertool bundle diff wav2small out/             what would change?
  sertool bundle pack out/ -o mine.zip           to pass it on; prints sha256
  sertool bundle install mine.zip --sha256 HEX   to label with: -m NAME
  sertool bundle uninstall mine""",
)
def bundle() -> None:
    """Check a bundle, compare two, pack and install them.

    A bundle is a folder with a bundle.json, as `sertool train`, `distil` and `export` write it; it is named by that
    folder or, if it is installed or ships with sertool, by its name (`sertool models` lists them). A model is a
    program: it cannot reach files or the network, but it can take time and memory. Install what you trust.
    """
