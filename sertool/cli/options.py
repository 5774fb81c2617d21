"""Options that several commands share."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click


class _Place(click.ParamType[Any]):
    """A channel or a track: a number, "each", or a word that stands for one of them."""

    def __init__(self, name: str, words: dict[str, int | None]) -> None:
        self.name, self._words = name, words

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        text = str(value).lower()
        if text == "each" or text in self._words:
            return self._words.get(text, text)
        if text.isdecimal() and int(text) >= 1:
            return int(text)
        self.fail(f"{value!r} is not {', '.join(self._words)}{', ' if self._words else ''}each or a number from 1")


class _Output(click.ParamType[Any]):
    """A path, or a URL as a string."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from sertool.recordings.urls import is_url

        return value if isinstance(value, Path) or is_url(value) else Path(value)


OUTPUT = _Output()

Command = TypeVar("Command", bound=Callable[..., Any])

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)

shown = functools.partial(click.option, show_default=True)  # an option whose help shows its default

jobs = click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    help="Files in parallel, one thread each.  [default: all cores; of a store, 8 for each core]",
)
pattern = click.option(
    "--glob", "pattern", metavar="PATTERN", help="In folders, take only files that match, such as '*.wav'."
)
overwrite = click.option("--overwrite", is_flag=True, help="Overwrite existing output.")
splits = click.option(
    "--split", "splits", metavar="NAME", multiple=True, help="Use this split; may be repeated.  [default: all]"
)
corpora = click.option("--corpora", metavar="A,B", default="", help="Use these corpora.  [default: all]")


channel = click.option(
    "--channel",
    type=_Place("channel", {"mix": None, "left": 1, "right": 2}),
    metavar="mix|left|right|N|each",
    help="The mean of the channels, one of them, or each by itself.  [default: mix]",
)
track = click.option(
    "--track",
    type=_Place("track", {}),
    metavar="N|each",
    help="Of a container with several audio tracks: which one.  [default: as marked in the file]",
)
segments = click.option(
    "--segments",
    type=click.Path(exists=True, path_type=Path),
    metavar="FILE|FOLDER",
    help="Segments that somebody has made: one file, or a folder with a file of the same name for each recording.",
)
segments_format = click.option("--segments-format", metavar="NAME", help="Their format.  [default: from the extension]")
tier = click.option("--tier", metavar="NAME", help="Which tier of a TextGrid or .eaf to read.  [default: all]")
dialect = click.option(
    "--dialect",
    type=click.Choice(["excel"]),
    help="CSV for Excel: byte order mark, semicolons, decimal commas.",
)
template = click.option(
    "--template",
    metavar="TEXT",
    help="Text of a segment in srt, vtt, textgrid, eaf, audacity and rttm, such as '{text} ({emotion})'.",
)


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
