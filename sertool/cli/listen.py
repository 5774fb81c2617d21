"""`sertool listen`: label what a microphone or a pipe gives, while it comes."""

from typing import Any

import click

from sertool._about import DEFAULT_MODEL
from sertool.cli import options


@click.command(
    epilog="""\b
Rows are JSON lines with the columns of sertool label, and delay: seconds from
the end of what a row is about until it is written. The end of the input or
Ctrl-C ends it.
\b
Exit codes: 0 ended, 1 the microphone went away, 2 wrong usage, 141 the reader
of the rows is gone.
\b
Examples:
  sertool listen
  sertool listen -m mobile-emotion --by segment
  arecord -q -f S16_LE -r 16000 -t raw | sertool listen - --rate 16000
  ffmpeg -v error -i rtsp://camera/stream -f wav - | sertool listen - -o rows.jsonl
  sertool listen --devices"""
)
@click.argument("source", required=False, metavar="[-]")
@click.option("-m", "--model", default=DEFAULT_MODEL, show_default=True, help="Name of a model, bundle folder or file.")
@click.option("--variant", help="Which of the bundle's files to run.  [default: set by the bundle]")
@click.option(
    "--by",
    type=click.Choice(["window", "segment"]),
    default="window",
    show_default=True,
    help="A row every hop, or for each stretch of speech when it has ended.",
)
@click.option(
    "--window", type=click.FloatRange(1, 30), default=4.0, show_default=True, help="Seconds that a row looks back."
)
@click.option("--hop", type=click.FloatRange(0.05, 30), default=1.0, show_default=True, help="Seconds between rows.")
@click.option("--no-vad", is_flag=True, help="Label windows without speech, too.")
@click.option("--unsure", metavar="P", type=click.FloatRange(0, 1), help="As in sertool label.")
@click.option("-o", "--output", type=options.FILE, help="Also append the rows to this file.")
@click.option("--plain", is_flag=True, help="JSON lines on a terminal, too, instead of a live view.")
@click.option("--device", help="Number or name of the microphone.  [default: the system's]")
@click.option("--devices", is_flag=True, help="List the microphones and exit.")
@click.option("--rate", type=int, help="Of raw samples on standard input, in Hz; WAV says it itself.")
@click.option("--channels", type=int, default=1, show_default=True, help="Of raw samples; they are averaged.")
@click.option(
    "--kind",
    type=click.Choice(["s16", "s24", "s32", "u8", "f32", "f64"]),
    default="s16",
    show_default=True,
    help="Of raw samples.",
)
@click.option("-q", "--quiet", is_flag=True, help="No summary.")
def listen(**arguments: Any) -> int:
    """Label what a microphone or a pipe gives, while it comes.

    Without an argument, it listens to the microphone (pip install 'sertool[live]'); with -, to standard input: WAV, or
    raw samples, little-endian. Memory does not grow. Of a microphone, what a slow machine misses is counted; a pipe
    waits.
    """
    from sertool.cli.run.listen import listen

    return listen(**arguments)
