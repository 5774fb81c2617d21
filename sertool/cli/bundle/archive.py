"""`sertool bundle pack`, `unpack`, `install` and `uninstall`."""

from pathlib import Path
from typing import Any

import click

_SHA256 = click.option(
    "--sha256", metavar="HEX", help="Refuse all but this sha256, of the zip or of the bundle, as `bundle pack` prints."
)
_PATH = click.Path(path_type=Path)
_EXISTING_PATH = click.Path(exists=True, path_type=Path)


@click.command()
@click.argument("directory", metavar="BUNDLE")
@click.option("-o", "--output", metavar="FILE", type=_PATH, help="[default: NAME-VERSION.zip]")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
def pack(**arguments: Any) -> int:
    """Pack a bundle as one zip, its sums checked first.

    The same bundle gives the same bytes wherever and whenever it is packed; nothing is compressed. Any unzip reads it.

    Exit codes: 0 packed, 1 the bundle is not sound, 2 wrong usage.
    """
    from sertool.cli.run.bundle import pack

    return pack(**arguments)


@click.command()
@click.argument("file", type=_EXISTING_PATH)
@click.option("-o", "--output", metavar="DIR", type=_PATH, help="The new folder.  [default: the bundle's name, here]")
@_SHA256
def unpack(**arguments: Any) -> int:
    """Unpack the zip of a bundle into a new folder and check its sums.

    Exit codes: 0 unpacked, 1 the zip is not sound and nothing was written, 2 wrong usage.
    """
    from sertool.cli.run.bundle import unpack

    return unpack(**arguments)


@click.command()
@click.argument("source", metavar="FILE|FOLDER", type=_EXISTING_PATH)
@click.option("--name", help="What to call it.  [default: its own name]")
@click.option("--force", is_flag=True, help="Replace one of that name, or go before one that ships with sertool.")
@_SHA256
def install(**arguments: Any) -> int:
    """Check a bundle, a zip or a folder, and copy it to your bundles, so that `--model NAME` finds it.

    Your bundles are below SERTOOL_BUNDLES, by default sertool/bundles in your data folder. A bundle of that name that
    is there stays as it is until the new one has passed `bundle check`.

    Exit codes: 0 installed, 1 the bundle is not sound and nothing was changed, 2 wrong usage.
    """
    from sertool.cli.run.bundle import install

    return install(**arguments)


@click.command()
@click.argument("name")
def uninstall(**arguments: Any) -> int:
    """Remove a bundle of yours by its name.

    Exit codes: 0 removed, 2 there is none of that name.
    """
    from sertool.cli.run.bundle import uninstall

    return uninstall(**arguments)
