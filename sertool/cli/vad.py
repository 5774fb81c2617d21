"""`sertool vad`: find speech in recordings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from sertool.cli import options
from sertool.cli.elsewhere import here

_SECONDS = click.FloatRange(min=0, max=3600)
_PROBABILITY = click.FloatRange(0, 1)


def _time(option: str, default: float, text: str) -> Callable[[options.Command], options.Command]:
    """Return an option for a duration."""
    return click.option(option, type=_SECONDS, default=default, show_default=True, metavar="SECONDS", help=text)


@click.command(
    epilog="""\b
Formats; times in seconds, of the recording: csv (file,start,end), jsonl,
parquet, xlsx, sqlite, rttm, labelstudio; audacity, textgrid, eaf, srt and vtt
with one file per recording. Segments are read from csv, srt, vtt, textgrid,
eaf, audacity, rttm, ctm and whisper's json.
\b
How segments are found: speech begins where the probability reaches --threshold
and ends where it falls below --lower, if it does not reach --threshold again
within --shortest-silence. Segments below --shortest-speech are dropped. The
others get --padding on both sides, at most to the middle of a pause.
\b
  too much counts as speech       --threshold 0.7
  soft words are missing          --threshold 0.3
  one segment per sentence        --shortest-silence 0.6
  words cut off at their ends     --padding 0.1
  segments for a recogniser       --longest-speech 30
\b
Exit codes: 0 all read, also where nobody speaks; 1 some failed (they are
named), 2 wrong usage, 3 disk full, 130 interrupted.
\b
Examples:
  sertool vad call.mp3
  sertool vad call.mp3 --plot call.png
  sertool vad interviews/ -o speech.csv
  sertool vad interviews/ -o speech.rttm
  sertool vad interviews/ --format textgrid -o annotations/
  sertool vad calls/ --channel each -o speech.csv
  sertool vad talk.wav -o talk.txt --shortest-silence 0.5"""
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=options.OUTPUT,
    metavar="PATH|URL",
    help="Write to this file, or to this folder a file per recording.  [default: standard output]",
)
@click.option(
    "--format",
    "form",
    metavar="NAME",
    help="[default: from the output's extension; csv on standard output]",
)
@options.dialect
@click.option("--probabilities", is_flag=True, help="One row every 10 ms, with the probability of speech.")
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw waveform, probabilities and segments of one recording (png, pdf, svg; needs matplotlib).",
)
@click.option(
    "--threshold", type=_PROBABILITY, default=0.5, show_default=True, help="Probability at which speech begins."
)
@click.option(
    "--lower",
    type=_PROBABILITY,
    help="Probability below which it ends.  [default: 0.35; 0.15 under another threshold]",
)
@_time("--shortest-speech", 0.25, "Shorter speech is dropped.")
@_time("--shortest-silence", 0.1, "Shorter pauses are speech.")
@click.option(
    "--longest-speech",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="Split longer speech where it is least probable.  [default: no limit]",
)
@_time("--padding", 0.03, "Added to speech on both sides.")
@options.channel
@options.track
@options.segments
@options.segments_format
@options.tier
@options.jobs
@options.pattern
@options.overwrite
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary; failures are still named.")
def vad(**arguments: Any) -> int:
    """Find when somebody speaks.

    PATH is a file, a folder (searched recursively), a tar or zip archive, a pattern such as '*.wav', a URL, or - for a
    list of these on standard input (one per line, or separated by NUL). Reads every format that `sertool label` reads,
    of any length. Prints a table on a terminal; piped, or with -o or --format, it writes what other tools read. With
    --segments, speech is looked for within them only.
    """
    from sertool.cli.run.vad import vad

    with here(arguments["output"], restart=arguments["overwrite"], option="--overwrite replaces it") as output:
        return vad(**arguments | {"output": output})
