"""Implementation of `sertool label`."""

import contextlib
import dataclasses
import functools
import itertools
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sertool.labelling.cluster import Cluster

from sertool._about import __version__
from sertool._machine import cores
from sertool.cli import outputs
from sertool.cli.recordings import (
    check_writable,
    given_segments,
    listed,
    none_found,
    passed_over,
    under_way,
    workers_for,
    writing,
)
from sertool.cli.terminal import Bar, on_terminal, visible
from sertool.cli.view import label as view
from sertool.errors import UsageError
from sertool.labelling import Labeller, job, table
from sertool.labelling.journal import Journal
from sertool.labelling.plan import Plan
from sertool.labelling.relative import Relative
from sertool.look import figures
from sertool.recordings import pool
from sertool.recordings.listing import Listing
from sertool.recordings.places import Choice
from sertool.recordings.recording import Recording, printable
from sertool.recordings.shards import Shard, digest
from sertool.recordings.urls import is_url, without_secrets
from sertool.segments import Table


def label(
    paths: tuple[str, ...],
    model: str,
    variant: str | None,
    runtime: str | None,
    output: Path | None,
    form: str | None,
    dialect: str | None,
    template: str | None,
    by: str | None,
    windows: bool,
    window: float | None,
    hop: float | None,
    channel: Choice,
    track: Choice,
    segments: Path | None,
    segments_format: str | None,
    tier: str | None,
    short: str,
    segmenter: str | None,
    no_vad: bool,
    jobs: int | None,
    ordered: bool,
    pattern: str | None,
    resume: bool,
    restart: bool,
    quiet: bool,
    unsure: float | None = None,
    relative_to: str | None = None,
    vectors: str = "",
    report: Path | None = None,
    embed: bool = False,
    plot: Path | None = None,
    shard: str | None = None,
    executor: str | None = None,
    scheduler: str | None = None,
    title: str = "",
    continues: bool = False,
) -> int:
    """Run `sertool label`; the arguments are its options. With ``vectors``, as in Labeller, run `sertool embed`.

    ``title`` is that of the report. ``continues``: the user's command continues an interrupted run by itself.
    """
    part = Shard.parse(shard) if shard else None
    if part and (output is None or report or plot or relative_to):
        raise UsageError("--shard needs -o FILE; --report, --plot and --relative-to need all rows: merge first")
    if scheduler and executor == "local":
        raise UsageError("--scheduler is for --executor dask")
    if embed and not report:
        raise UsageError("--embed is for the page of --report")
    if windows and by not in (None, "window"):
        raise UsageError(f"--windows is --by window, not --by {by}")
    if (resume or restart) and not output:
        raise UsageError("--resume and --restart need a file: -o labels.csv")
    if resume and restart:
        raise UsageError("--resume and --restart exclude each other")
    by = "window" if windows else by
    chosen = (form, output, dialect, template)
    # A table for a person needs no format, and so no plugins, which take a tenth of a second to load.
    choice = None if chosen == (None,) * 4 and sys.stdout.isatty() else outputs.Choice(form, output, dialect)
    template = outputs.template(template, choice.form) if choice else None
    skipped: Counter[str] = Counter()
    recordings = listed(paths, pattern, skipped, quiet)
    if not recordings:
        return none_found(paths, skipped)
    whole, unsharded = recordings, output
    if part and output and choice:
        if choice.form.per_recording:
            raise UsageError(f"--shard is for tables; {choice.form.name} has a file for each recording")
        output, recordings = part.path(output), part.of_list(recordings)
        resume = resume or not restart
    labeller = Labeller(model, variant, window, hop, vad=not no_vad, runtime=runtime, unsure=unsure, vectors=vectors)
    journal = None
    mode = "restart" if restart else "resume" if resume else "new"
    run = {
        "sertool": __version__,
        "model": labeller.bundle.id,
        "variant": labeller.runtime.variant.name,
        "window": labeller.window,
        "hop": labeller.hop,
        "vad": labeller.vad,
        "unsure": unsure,
        "vectors": vectors,
        "paths": [_identity(path) for path in paths],
        "segments": os.path.abspath(segments) if segments else None,
        "segments-format": segments_format,
        "tier": tier,
        **({"shard": str(part)} if part else {}),
    }
    for written in (unsharded, output, report, plot):
        if written:
            check_writable(written, whole)
    if plot:
        figures.require(plot)
    given = given_segments(segments, segments_format, tier, recordings)
    plan = Plan(by or ("segment" if given or segmenter else "file"), channel, track, given, segmenter, short)
    if plan.by_segment and not plan.segments:
        _ = plan.find  # raises before anything is written
    to_own = Relative(relative_to, labeller, plan) if relative_to else None
    columns = table.table(labeller, plan, template, relative=bool(to_own))
    folder = paths[0] if len(paths) == 1 and os.path.isdir(paths[0]) else None

    def opened() -> outputs.Output | None:
        inputs = [*(given.files if given else ()), *(to_own.files if to_own else ())]
        if choice is None:
            return None
        return outputs.Output(choice, output, recordings, folder, overwrite=True, inputs=inputs)

    target = opened()
    cluster = None
    if executor == "dask" or scheduler:
        from sertool.labelling.cluster import Cluster

        cluster = Cluster(scheduler, jobs or cores())
    if output:
        about = {"table": dataclasses.asdict(columns), "folder": folder, "list": digest(whole)} if part else None
        journal = Journal(output, run | plan.described(), mode, about, recordings if part else None)
        if others := journal.others(recordings):
            recordings = Listing(itertools.chain(recordings, others))
            given = given_segments(segments, segments_format, tier, recordings)
            plan = dataclasses.replace(plan, segments=given)
            to_own = Relative(relative_to, labeller, plan) if relative_to else None
            columns = table.table(labeller, plan, template, relative=bool(to_own))
            target = opened()
    workers = cluster.threads if cluster else jobs or workers_for(recordings)
    doing = _Run(labeller, plan, columns, recordings, target, workers, quiet, to_own, bool(report or plot), cluster)
    if continues or part:
        doing.hint = "the same command continues"
    with cluster or contextlib.nullcontext():
        complete = doing.label(journal, ordered)
    if not complete:
        click.echo(f"sertool: {output} was deleted or replaced during the run: --resume writes it again", err=True)
        return 1
    if not quiet:
        doing.report(skipped)
    status = doing.status()
    if (report or plot) and status != 130:
        names = ", ".join(os.path.basename(os.path.abspath(path)) for path in paths if path != "-")
        title = title or (f"Labels of {names}" if names else "Labels")
        status = doing.look(report, plot, title, embed) or status
    return status


def _identity(path: str) -> str:
    """Return what a path on the command line is called in the journal."""
    return path if path == "-" else without_secrets(path) if is_url(path) else os.path.abspath(path)


class _Run:
    """One run over recordings: write the output, show progress, count results; without ``target``, print a table."""

    def __init__(
        self,
        labeller: Labeller,
        plan: Plan,
        columns: Table,
        recordings: Sequence[Recording],
        target: outputs.Output | None,
        jobs: int,
        quiet: bool,
        to_own: Relative | None,
        keep: bool,
        cluster: "Cluster | None",
    ) -> None:
        self.cluster = cluster
        self.rows: list[dict[str, Any]] | None = [] if keep else None  # in memory, for --report and --plot
        self.to_own = to_own
        self.labeller, self.plan, self.columns = labeller, plan, columns
        self.recordings, self.target, self.jobs = recordings, target, jobs
        self.path = target.path if target else None
        self.terminal, self.quiet = on_terminal() and not quiet, quiet
        self.hint = "add --resume to the same command to continue" if self.path else "use -o FILE to be able to resume"
        self.summary, self.failures, self.notes = pool.Summary(), view.Several(), view.Several()

    def label(self, journal: Journal | None, ordered: bool) -> bool:
        """Label and write; return False if the output file was deleted or replaced during the run."""
        stop, meter = threading.Event(), pool.Meter()
        many = self.path is not None or len(self.recordings) > 1
        if self.terminal and many:
            manifest, variant = self.labeller.bundle.manifest, self.labeller.runtime.variant
            click.echo(f"{manifest.name} {manifest.version} ({variant.name}), {self.jobs} workers", err=True)
        # No progress bar on a terminal that shows rows of a machine-readable format.
        show_bar = self.terminal and (self.target is None or self.path is not None or not sys.stdout.isatty())
        note = "with -o, finished files are kept for --resume"
        with (
            writing(self.path),
            under_way(self.recordings, "labelling", meter, stop, self.jobs, note, shown=show_bar) as shown,
        ):
            printed = None if self.target else view.Aligned(self.recordings, self.columns, shown.print)
            spread = self.cluster.label_all if self.cluster else functools.partial(job.label_all, jobs=self.jobs)
            results = spread(
                self.labeller, self.recordings, self.plan, ordered=ordered, journal=journal, stop=stop, meter=meter
            )
            finished = self._counted(pool.timed(results, self.summary), shown, stop)
            if self.to_own:
                finished = self.to_own.fill(finished)
            with self.target or contextlib.nullcontext():
                if self.target:
                    self.target.open(self.columns)
                for result in finished:
                    if printed:
                        printed.write(result.rows)
                    elif self.target:
                        self.target.write(
                            result.recording, result.seconds, result.rows, result.failed, result.taken_over
                        )
                    if self.rows is not None:
                        self.rows += result.rows
                    if result.failed:
                        self.failures.add(f"{visible(printable(result.name))}: {visible(result.error or '')}")
                    for text in result.notes:
                        self.notes.add(f"{visible(result.name)}: {visible(text)}")
                complete = self.target is None or self.target.is_there()
            if journal:
                if self.finished == len(self.recordings):
                    journal.complete(self.finished)
                journal.close()
        return complete

    def _counted(self, results: Iterator[job.Result], shown: Bar, stop: threading.Event) -> Iterator[job.Result]:
        """Yield results unchanged; after each, move the bar, also while they are held back to be compared."""
        for done, result in enumerate(results, start=1):
            yield result
            shown.update(done, "finishing" if stop.is_set() else "labelling")

    def look(self, report: Path | None, plot: Path | None, title: str, embed: bool) -> int:
        """Write the page and the picture of --report and --plot; return the exit code."""
        from sertool.cli.run import report as pages

        table = pages.of_run(self.rows or [], self.columns, title)
        paths = pages.paths_of(self.recordings)
        if plot:
            pages.draw(table, paths, plot, title)
            if not self.quiet:
                click.echo(f"drew {visible(str(plot))}", err=True)
        if report:
            return pages.make(table, paths, report, embed, title, self.jobs, self.quiet, self.plan.by)
        return 0

    def report(self, skipped: Counter[str]) -> None:
        """Print failures, notes and the summary on standard error."""
        named = self.failures if self.target else view.Several()
        named.print()
        for text in self.to_own.notes if self.to_own else ():
            self.notes.add(visible(text))
        self.notes.print()
        manifest, total = self.labeller.bundle.manifest, len(self.recordings)
        if self.plan.segments and (unused := self.plan.segments.unused):
            most = ", ".join(repr(visible(name)) for name in list(unused)[:3])
            click.echo(f"{unused.total()} segments belong to none of the recordings (to {most})", err=True)
        in_table = self.target is not None and not self.target.drops_failures
        reasons = self.target.reasons if self.target else None
        view.report(self.summary, len(named) > 0 and in_table, total, reasons, manifest)
        if skipped:
            click.echo(passed_over(skipped), err=True)

    @property
    def finished(self) -> int:
        """Return how many recordings are done, labelled or failed."""
        return self.summary.labelled + self.summary.failed

    def status(self) -> int:
        """Return the exit code; after an interruption, print how to continue."""
        if self.finished < len(self.recordings):
            left = len(self.recordings) - self.finished
            click.echo(f"interrupted: {self.finished} files done, {left} to go; {self.hint}", err=True)
            return 130
        return 1 if self.summary.failed else 0
