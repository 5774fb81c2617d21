"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)

jobs = click.option(
    "-j", "--jobs", type=click.IntRange(min=1), help="Files in parallel, one thread each.  [default: all cores]"
)
pattern = click.option(
    "--glob", "pattern", metavar="PATTERN", help="In folders, take only files that match, such as '*.wav'."
)
overwrite = click.option("--overwrite", is_flag=True, help="Overwrite existing output.")
splits = click.option(
    "--split", "splits", metavar="NAME", multiple=True, help="Use this split; may be repeated.  [default: all]"
)
corpora = click.option("--corpora", metavar="A,B", default="", help="Use these corpora.  [default: all]")


def runtime(default: str) -> Callable[[Command], Command]:
    """Return --runtime; ``default`` says what sets it if it is not given."""
    return click.option(
        "--runtime",
        type=click.Choice(["onnx", "native"]),
        help=f"Run with onnxruntime, or with sertool's C engine.  [default: {default}]",
    )


def layout(text: str) -> Callable[[Command], Command]:
    """Return --layout; ``text`` says when the manifest is the default."""
    return click.option("--layout", metavar="NAME", help=f"How CORPUS is laid out.  [default: manifest, {text}]")
