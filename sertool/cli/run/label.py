"""Implementation of `sertool label`."""

import contextlib
import os
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import click

from sertool._about import __version__
from sertool._machine import cores
from sertool.cli.recordings import (
    check_writable,
    none_found,
    passed_over,
    under_way,
    with_standard_input,
    writing,
)
from sertool.cli.terminal import Bar, on_terminal, visible
from sertool.cli.view import label as view
from sertool.errors import UsageError
from sertool.labelling import Labeller, job, table
from sertool.labelling.journal import Journal
from sertool.recordings import pool
from sertool.recordings.scan import Recording, scan


def label(
    paths: tuple[str, ...],
    model: str,
    variant: str | None,
    runtime: str | None,
    output: Path | None,
    form: str | None,
    windows: bool,
    window: float | None,
    hop: float | None,
    no_vad: bool,
    jobs: int | None,
    ordered: bool,
    pattern: str | None,
    resume: bool,
    restart: bool,
    quiet: bool,
) -> int:
    """Run `sertool label`; the arguments are its options."""
    aligned = form is None and output is None and sys.stdout.isatty()
    form = _format(form, output, resume, restart)
    skipped: Counter[str] = Counter()
    recordings = scan(with_standard_input(paths), pattern, skipped)
    labeller = Labeller(model, variant, window, hop, vad=not no_vad, runtime=runtime)
    if not recordings:
        return none_found(paths, skipped)
    journal = None
    if output:
        check_writable(output, recordings)
        mode = "resume" if resume else "restart" if restart else "new"
        journal = Journal(output, _described(labeller, windows, paths), mode)
        recordings += journal.others(recordings)
    run = _Run(labeller, recordings, output, form, aligned, jobs or cores(), quiet)
    if not run.label(journal, windows, ordered):
        click.echo(f"sertool: {output} was deleted or replaced during the run: --resume writes it again", err=True)
        return 1
    if not quiet:
        run.report(skipped)
    return run.status()


def _format(form: str | None, output: Path | None, resume: bool, restart: bool) -> str:
    """Return the format to write; raise UsageError for options that contradict each other."""
    if form is None:
        form = output.suffix.lower().removeprefix(".") if output else "csv"
        if form not in table.FORMATS:
            raise UsageError(f"{output}: name it .csv, .jsonl or .parquet, or choose the format with --format")
    if form == "parquet" and not output:
        raise UsageError("--format parquet needs a file: -o labels.parquet")
    if (resume or restart) and not output:
        raise UsageError("--resume and --restart need a file: -o labels.csv")
    if resume and restart:
        raise UsageError("--resume and --restart exclude each other")
    table.require(form)
    return form


def _described(labeller: Labeller, windows: bool, paths: Sequence[str]) -> dict[str, Any]:
    """Return the settings that must be equal for a run to be resumed."""
    return {
        "sertool": __version__,
        "model": labeller.bundle.id,
        "variant": labeller.runtime.variant.name,
        "window": labeller.window,
        "hop": labeller.hop,
        "windows": windows,
        "vad": labeller.vad,
        "paths": [os.path.abspath(p) if p != "-" else p for p in paths],
    }


class _Run:
    """One run over recordings: write the table, show progress, count results."""

    def __init__(
        self,
        labeller: Labeller,
        recordings: list[Recording],
        output: Path | None,
        form: str,
        aligned: bool,
        jobs: int,
        quiet: bool,
    ) -> None:
        self.labeller, self.recordings, self.output, self.form = labeller, recordings, output, form
        self.aligned, self.jobs, self.terminal = aligned, jobs, on_terminal() and not quiet
        self.summary, self.failures, self.notes = pool.Summary(), list[job.Result](), list[str]()
        self.stream: TextIO | None = None  # the output, if it is a file of text

    def label(self, journal: Journal | None, windows: bool, ordered: bool) -> bool:
        """Label and write; return False if the output file was deleted or replaced during the run."""
        stop, meter = threading.Event(), pool.Meter()
        many = self.output is not None or len(self.recordings) > 1
        if self.terminal and many:
            manifest, variant = self.labeller.bundle.manifest, self.labeller.runtime.variant
            click.echo(f"{manifest.name} {manifest.version} ({variant.name}), {self.jobs} workers", err=True)
        # No progress bar on a terminal that shows rows of a machine-readable format.
        show_bar = self.terminal and (self.aligned or self.output is not None or not sys.stdout.isatty())
        note = "with -o, finished files are kept for --resume"
        with (
            writing(self.output),
            under_way(self.recordings, "labelling", meter, stop, self.jobs, note, shown=show_bar) as shown,
            contextlib.ExitStack() as stack,
        ):
            writer = self._writer(stack, shown)
            results = job.label_all(
                self.labeller,
                self.recordings,
                jobs=self.jobs,
                windows=windows,
                ordered=ordered,
                journal=journal,
                stop=stop,
                meter=meter,
            )
            for done, result in enumerate(pool.timed(results, self.summary), start=1):
                writer.write(result.rows)
                if result.failed:
                    self.failures.append(result)
                self.notes += [f"{visible(result.name)}: {visible(text)}" for text in result.notes]
                shown.update(done, "finishing" if stop.is_set() else "labelling")
            complete = not (self.stream and self.output) or _is_file(self.stream, self.output)
            if journal:
                journal.close()
        return complete

    def report(self, skipped: Counter[str]) -> None:
        """Print failures, notes and the summary on standard error."""
        named = [] if self.aligned else self.failures
        view.several([f"{visible(r.rows[0]['file'])}: {visible(r.rows[0]['error'])}" for r in named])
        view.several(self.notes)
        manifest, total = self.labeller.bundle.manifest, len(self.recordings)
        view.report(self.summary, bool(named), total, self.output, manifest)
        if skipped:
            click.echo(passed_over(skipped), err=True)

    def status(self) -> int:
        """Return the exit code; after an interruption, print how to continue."""
        finished = self.summary.labelled + self.summary.failed
        if finished < len(self.recordings):
            left = len(self.recordings) - finished
            hint = "add --resume to the same command to continue" if self.output else "use -o FILE to be able to resume"
            click.echo(f"interrupted: {finished} files done, {left} to go; {hint}", err=True)
            return 130
        return 1 if self.summary.failed else 0

    def _writer(self, stack: contextlib.ExitStack, shown: Bar) -> table.Writer | view.Aligned:
        """Open the table; the stack closes it."""
        columns = self.labeller.columns
        if self.aligned:
            return view.Aligned(max(len(visible(r.name)) for r in self.recordings), columns, shown.print)
        if self.output is None:
            sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]  # a text stream
            return table.open_writer(self.form, sys.stdout, columns)
        try:
            if self.form != "parquet":
                self.stream = stack.enter_context(self.output.open("w", encoding="utf-8", newline=""))
            writer = table.open_writer(self.form, self.stream or self.output, columns)
        except OSError as error:
            raise UsageError(f"cannot write {self.output}: {error.strerror}") from None
        stack.callback(writer.close)
        return writer


def _is_file(stream: TextIO, path: Path) -> bool:
    """Return whether the path is still that of the open file."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
