"""Implementation of `sertool vad`."""

import collections
import contextlib
import errno
import math
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from sertool.cli import outputs
from sertool.cli.recordings import (
    check_writable,
    duration,
    given_segments,
    listed,
    none_found,
    passed_over,
    took,
    under_way,
    workers_for,
    writing,
)
from sertool.cli.terminal import on_terminal, visible
from sertool.cli.view import vad as view
from sertool.errors import UsageError
from sertool.look import figures
from sertool.recordings import pool
from sertool.recordings.fetch import on_disk
from sertool.recordings.places import Choice
from sertool.recordings.recording import Recording
from sertool.segments import Table
from sertool.segments.given import Given
from sertool.speech import job
from sertool.speech import plot as drawing
from sertool.speech.detection import SILENT
from sertool.speech.segmenter import Parameters


def vad(
    paths: tuple[str, ...],
    output: Path | None,
    form: str | None,
    dialect: str | None,
    probabilities: bool,
    plot: Path | None,
    threshold: float,
    lower: float | None,
    shortest_speech: float,
    shortest_silence: float,
    longest_speech: float | None,
    padding: float,
    channel: Choice,
    track: Choice,
    segments: Path | None,
    segments_format: str | None,
    tier: str | None,
    jobs: int | None,
    pattern: str | None,
    overwrite: bool,
    quiet: bool,
) -> int:
    """Run `sertool vad`; the arguments are its options."""
    longest = math.inf if longest_speech is None else longest_speech
    parameters = _parameters(threshold, lower, shortest_speech, shortest_silence, padding, longest)
    plain = (form, output, dialect, probabilities) == (None, None, None, False)
    choice = None if plain and sys.stdout.isatty() else outputs.Choice(form, output, dialect)
    skipped: collections.Counter[str] = collections.Counter()
    recordings = listed(paths, pattern, skipped, quiet)
    if not recordings:
        return none_found(paths, skipped)
    if plot:
        if len(recordings) > 1 or "each" in (channel, track):
            raise UsageError("--plot draws one channel of one recording")
        figures.require(plot)
        check_writable(plot, recordings)
    if choice and probabilities and (choice.form.per_recording or choice.form.templated):
        raise UsageError(f"--probabilities writes a table, not {choice.form.name}")
    given = given_segments(segments, segments_format, tier, recordings)
    folder = paths[0] if len(paths) == 1 and os.path.isdir(paths[0]) else None
    inputs = given.files if given else ()
    target = None if choice is None else outputs.Output(choice, output, recordings, folder, overwrite, inputs)
    run = _Run(recordings, target, quiet, probabilities)
    results = {
        "jobs": jobs or workers_for(recordings),
        "channel": channel,
        "track": track,
        "segments": given,
        "probabilities": probabilities or plot is not None,
    }
    last = run.detect(parameters, _table(channel, track, given, probabilities), results)
    if plot and last and last.parts:
        place = last.parts[0].place
        with on_disk(last.recording) as there:
            blocks = pool.decoded(there, None, place.channel, place.track)
            drawing.plot(plot, last.recording.path.name, blocks, last.parts[0].found, parameters)
    if not quiet:
        run.report()
        if skipped:
            click.echo(passed_over(skipped), err=True)
    return run.status()


def _table(channel: Choice, track: Choice, given: Given | None, probabilities: bool) -> Table:
    """Return the columns of the output."""
    places = [name for name, choice in (("track", track), ("channel", channel)) if choice == "each"]
    columns = [] if probabilities or given is None else [name for name in given.columns if name not in places]
    last = ["probability"] if probabilities else []
    return Table(("file", "start", "end", *places, *columns, *last), given=tuple(columns))


def _parameters(
    threshold: float,
    lower: float | None,
    shortest_speech: float,
    shortest_silence: float,
    padding: float,
    longest_speech: float,
) -> Parameters:
    """Return the parameters of the segmenter. Raise UsageError if they are invalid."""
    if lower is None:  # the default of silero-vad
        gap = round(Parameters.threshold - Parameters.lower, 6)
        lower = min(threshold, max(round(threshold - gap, 6), 0.01))
    try:
        return Parameters(threshold, lower, shortest_speech, shortest_silence, padding, longest_speech)
    except ValueError as error:
        raise UsageError(str(error)) from None


class _Run:
    """One run over recordings: write the output, show progress, count results; without ``target``, print a table."""

    def __init__(
        self, recordings: Sequence[Recording], target: outputs.Output | None, quiet: bool, probabilities: bool
    ) -> None:
        self.recordings, self.target, self.quiet, self.probabilities = recordings, target, quiet, probabilities
        self.path = target.path if target else None
        self.summary = pool.Summary()
        self.speech, self.with_speech, self.unwritten = 0.0, 0, 0

    def detect(self, parameters: Parameters, table: Table, options: dict[str, Any]) -> job.Detection | None:
        """Detect and write; return the last result."""
        stop, meter, result = threading.Event(), pool.Meter(), None
        visible_bar = self.target is None or self.path is not None or not sys.stdout.isatty()
        show_bar = on_terminal() and not self.quiet and visible_bar
        note = "finished files are kept"
        with (
            writing(self.path),
            under_way(self.recordings, "detecting", meter, stop, options["jobs"], note, shown=show_bar) as shown,
        ):
            printed = None if self.target else view.Table(self.recordings, shown.print)
            results = job.detect_all(self.recordings, parameters, stop=stop, meter=meter, **options)
            with self.target or contextlib.nullcontext():
                if self.target:
                    self.target.open(table)
                for done, result in enumerate(pool.timed(results, self.summary), start=1):
                    self.speech += result.speech
                    self.with_speech += result.speech > 0
                    if printed:
                        printed.write(result)
                    else:
                        self._write(result)
                    for text in () if self.quiet else result.notes:
                        click.echo(f"{visible(result.recording.name)}: {visible(text)}", err=True)
                    shown.update(done, "finishing" if stop.is_set() else "detecting")
        return result

    def report(self) -> None:
        """Print the summary on standard error."""
        summary, many = self.summary, len(self.recordings) > 1
        if not (summary.labelled and (self.target is None or self.path or many)):
            return
        without = summary.labelled - self.with_speech
        counts = f"{self.with_speech} with speech, {without} without, {summary.failed} failed; " if many else ""
        share = self.speech / summary.seconds
        text = f"{duration(self.speech)} of {duration(summary.seconds)} are speech ({share:.0%})"
        click.echo(f"{counts}{text}{took(summary)}", err=True)

    def status(self) -> int:
        """Return the exit code."""
        finished = self.summary.labelled + self.summary.failed
        if finished < len(self.recordings):
            click.echo(f"interrupted: {finished} files done, {len(self.recordings) - finished} to go", err=True)
            return 130
        return 1 if self.summary.failed or self.unwritten else 0

    def _write(self, result: job.Detection) -> None:
        name = visible(result.recording.name)
        if result.failed or (result.silent and not self.quiet):
            click.echo(f"{name}: {visible(result.error or SILENT)}", err=True)
        if result.failed or not self.target:
            return
        try:
            rows = result.probability_rows() if self.probabilities else result.rows()
            self.target.write(result.recording, result.seconds, rows)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            click.echo(f"{name}: cannot write its file: the name is too long", err=True)
            self.unwritten += 1
