"""`sertool vad`: find speech in recordings."""

import collections
import contextlib
import errno
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from sertool._machine import cores
from sertool.cli import options
from sertool.cli.recordings import (
    check_writable,
    duration,
    none_found,
    passed_over,
    took,
    under_way,
    with_standard_input,
    writing,
)
from sertool.cli.terminal import on_terminal, visible
from sertool.cli.view import vad as view
from sertool.errors import UsageError
from sertool.recordings import pool
from sertool.recordings.scan import Recording, scan
from sertool.speech import formats, job
from sertool.speech import plot as drawing
from sertool.speech.detection import SILENT
from sertool.speech.segmenter import Parameters

_DEFAULT = Parameters()
_GAP = round(_DEFAULT.threshold - _DEFAULT.lower, 6)
_SECONDS = click.FloatRange(min=0, max=3600)


def _time(option: str, default: float, text: str) -> Callable[[options.Command], options.Command]:
    """Return an option for a duration."""
    return click.option(option, type=_SECONDS, default=default, show_default=True, metavar="SECONDS", help=text)


@click.command(
    epilog="""\b
Formats; times in seconds, of the recording:
  csv            file,start,end; audformat's segmented index
  rttm           SPEAKER FILE 1 START LENGTH <NA> <NA> speech <NA> <NA>; FILE
                 without its ending, blanks in it as %20, % as %25
  audacity       labels for File > Import > Labels, one .txt per recording
  textgrid       for Praat, one .TextGrid per recording, one tier called speech
  probabilities  file,start,end,probability; CSV, one row every 10 ms
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
  sertool vad talk.wav -o talk.txt --shortest-silence 0.5"""
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write to this file, or to this folder for audacity and textgrid of several recordings.  "
    "[default: standard output]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "rttm", "audacity", "textgrid", "probabilities"], case_sensitive=False),
    help="[default: by the output's extension, .csv, .rttm, .txt or .TextGrid; csv on standard output]",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw waveform, probabilities and segments of one recording (png, pdf, svg; needs matplotlib).",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=_DEFAULT.threshold,
    show_default=True,
    help="Probability at which speech begins.",
)
@click.option(
    "--lower",
    type=click.FloatRange(0, 1),
    help=f"Probability below which it ends.  [default: {_DEFAULT.lower}; {_GAP} under another threshold]",
)
@_time("--shortest-speech", _DEFAULT.shortest_speech_s, "Shorter speech is dropped.")
@_time("--shortest-silence", _DEFAULT.shortest_silence_s, "Shorter pauses are speech.")
@_time("--padding", _DEFAULT.padding_s, "Added to speech on both sides.")
@options.jobs
@options.pattern
@options.overwrite
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary; failures are still named.")
def vad(
    paths: tuple[str, ...],
    output: Path | None,
    form: str | None,
    plot: Path | None,
    threshold: float,
    lower: float | None,
    shortest_speech: float,
    shortest_silence: float,
    padding: float,
    jobs: int | None,
    pattern: str | None,
    overwrite: bool,
    quiet: bool,
) -> int:
    """Find when somebody speaks.

    PATH is a file, a folder (searched recursively), a pattern such as '*.wav', or - for a list of files on standard
    input (one per line, or separated by NUL). Reads every format that `sertool label` reads, of any length, and
    averages channels. Prints a table on a terminal; piped, or with -o or --format, it writes what other tools read.
    """
    parameters = _parameters(threshold, lower, shortest_speech, shortest_silence, padding)
    aligned = form is None and output is None and sys.stdout.isatty()
    form = form or _by_ending(output)
    skipped: collections.Counter[str] = collections.Counter()
    recordings = scan(with_standard_input(paths), pattern, skipped)
    if not recordings:
        return none_found(paths, skipped)
    if plot:
        if len(recordings) > 1:
            raise UsageError(f"--plot draws one recording, not {len(recordings)}")
        drawing.require(plot)
        check_writable(plot, recordings)
    stems = formats.stems(recordings, paths[0] if len(paths) == 1 and os.path.isdir(paths[0]) else None)
    target = _target(form, output, recordings, stems, overwrite)
    jobs = jobs or cores()

    stop, meter, summary = threading.Event(), pool.Meter(), pool.Summary()
    show_bar = on_terminal() and not quiet and (aligned or output is not None or not sys.stdout.isatty())
    speech, with_speech, unwritten, result = 0.0, 0, 0, None
    with (
        writing(output),
        under_way(recordings, "detecting", meter, stop, jobs, "finished files are kept", shown=show_bar) as shown,
        contextlib.ExitStack() as stack,
    ):
        table = view.Table(recordings, shown.print) if aligned else None
        writer = None if aligned else _writer(stack, form, target, stems)
        with_probabilities = form == "probabilities" or plot is not None
        results = job.detect_all(
            recordings, parameters, jobs=jobs, probabilities=with_probabilities, stop=stop, meter=meter
        )
        for done, result in enumerate(pool.timed(results, summary), start=1):
            name, detected = result.recording.name, result.found
            if detected:
                speech, with_speech = speech + detected.speech, with_speech + bool(detected.segments)
            if table:
                table.write(result)
            elif writer and detected:
                try:
                    writer.write(name, detected)
                except OSError as error:
                    if error.errno != errno.ENAMETOOLONG:
                        raise
                    click.echo(f"{visible(name)}: cannot write its file: the name is too long", err=True)
                    unwritten += 1
            if not table and (detected is None or (detected.silent and not quiet)):
                click.echo(f"{visible(name)}: {visible(result.error or SILENT)}", err=True)
            for text in () if quiet else result.notes:
                click.echo(f"{visible(name)}: {visible(text)}", err=True)
            shown.update(done, "finishing" if stop.is_set() else "detecting")
    if plot and result and result.found:
        drawing.plot(plot, result.recording.path.name, pool.decoded(result.recording), result.found, parameters)
    finished = summary.labelled + summary.failed
    if not quiet and summary.labelled and (aligned or output or len(recordings) > 1):
        counts = f"{with_speech} with speech, {summary.labelled - with_speech} without, {summary.failed} failed; "
        share = f"{duration(speech)} of {duration(summary.seconds)} are speech ({speech / summary.seconds:.0%})"
        click.echo(f"{counts if len(recordings) > 1 else ''}{share}{took(summary)}", err=True)
    if skipped and not quiet:
        click.echo(passed_over(skipped), err=True)
    if finished < len(recordings):
        click.echo(f"interrupted: {finished} files done, {len(recordings) - finished} to go", err=True)
        return 130
    return 1 if summary.failed or unwritten else 0


def _parameters(
    threshold: float, lower: float | None, shortest_speech: float, shortest_silence: float, padding: float
) -> Parameters:
    """Return the parameters of the segmenter. Raise UsageError if they are invalid."""
    if lower is None:  # the default of silero-vad
        lower = min(threshold, max(round(threshold - _GAP, 6), 0.01))
    try:
        return Parameters(threshold, lower, shortest_speech, shortest_silence, padding)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _by_ending(output: Path | None) -> str:
    """Return the format for a file extension, csv for standard output. Raise UsageError if it is unknown."""
    if output is None:
        return "csv"
    for form, ending in formats.ENDINGS.items():
        if output.suffix.lower() == ending.lower():
            return form
    raise UsageError(f"{output}: name it .csv, .rttm, .txt or .TextGrid, or choose the format with --format")


def _target(
    form: str, output: Path | None, recordings: Sequence[Recording], stems: dict[str, str], overwrite: bool
) -> Path | dict[str, Path] | None:
    """Return the file to write, or a file for each recording by its name, or None for standard output.

    Raise UsageError if the output does not suit the format, exists, or is one of the recordings.
    """
    ending, single, many = formats.ENDINGS[form], form in formats.SINGLE, len(recordings) > 1
    if output:
        check_writable(output, recordings)
    suffix = "" if output is None or output.is_dir() else output.suffix.lower()
    named = suffix == ending.lower() or bool(suffix and not many)
    if single and many and (output is None or named):
        raise UsageError(f"--format {form} writes one file per recording: name a folder with -o")
    if output is None:
        return None
    into = single and not named
    if output.exists() and output.is_dir() != into:
        raise UsageError(f"{output} is a {'file, but must be a folder' if into else 'folder, but must be a file'}")
    targets = {r.name: output / (stems[r.name] + ending) for r in recordings} if into else {"": output}
    inputs = {os.path.realpath(recording.path) for recording in recordings}
    for path in targets.values():
        if os.path.realpath(path) in inputs:
            raise UsageError(f"{path} is one of the recordings: choose another -o")
        if os.path.lexists(path) and not overwrite:
            raise UsageError(f"{path} exists: --overwrite replaces it")
    return targets if into else output


def _writer(
    stack: contextlib.ExitStack, form: str, target: Path | dict[str, Path] | None, stems: dict[str, str]
) -> formats.Files | formats.Writer:
    """Return a writer to the result of _target; the stack closes the file."""
    if isinstance(target, dict):
        return formats.Files(form, target, stems)
    if target is None:
        sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]  # a text stream
        return formats.Writer(form, sys.stdout, stems)
    return formats.Writer(form, stack.enter_context(target.open("w", encoding="utf-8", newline="")), stems)
