"""`sertool label`: recordings in, a table out."""

import collections
import contextlib
import os
import sys
import threading
from pathlib import Path

import click

from sertool._about import DEFAULT_MODEL, __version__
from sertool._machine import cores
from sertool.cli.recordings import (
    check_writable,
    none_found,
    passed_over,
    took,
    under_way,
    with_standard_input,
    writing,
)
from sertool.cli.terminal import on_terminal, visible

SHOWN_FAILURES = 5


@click.command(
    epilog="""\b
Columns: file; start and end in seconds; the outputs of the model; seconds of
speech; error. Models: mobile and wav2small give arousal, dominance and valence,
each about 0 to 1, 0.5 is neutral. mobile-emotion, mobile-emotion-free and
wav2small-emotion give the most likely of angry, happy, neutral and sad as
emotion, and a probability for each. mobile is the most accurate; wav2small is
several times as fast.
\b
Exit codes: 0 all labelled, 1 some failed (their rows say why), 2 wrong usage,
3 disk full, 130 interrupted.
\b
Examples:
  sertool label call.mp3
  sertool label interviews/ -o labels.csv
  sertool label -m mobile-emotion interviews/ -o emotions.csv
  sertool label talk.wav --windows --format jsonl
  find . -name '*.wav' -print0 | sertool label - -o labels.csv --resume"""
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "-m", "--model", default=DEFAULT_MODEL, show_default=True, help="Name of a model, bundle folder or model file."
)
@click.option("--variant", help="Which of the bundle's files to run.  [default: set by the bundle]")
@click.option(
    "--runtime",
    type=click.Choice(["onnx", "native"]),
    help="Run with onnxruntime, or with sertool's C engine.  [default: set by the variant]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the table to this file.  [default: standard output]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl", "parquet"], case_sensitive=False),
    help="[default: from the output's extension; csv on standard output]",
)
@click.option(
    "--windows",
    is_flag=True,
    help="One row per window (8 s of speech, which may span more time) instead of one per file.",
)
@click.option(
    "--window",
    type=click.FloatRange(min=0, min_open=True),
    help="Window length in seconds of speech.  [default: set by the model, 8]",
)
@click.option(
    "--hop",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds between window starts, at most the window length.  [default: the window length]",
)
@click.option("--no-vad", is_flag=True, help="Do not skip non-speech.")
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), help="Files in parallel, one thread each.  [default: all cores]"
)
@click.option("--ordered", is_flag=True, help="Write rows in the order of the files, not as they finish.")
@click.option("--glob", "pattern", metavar="PATTERN", help="In folders, take only files that match, such as '*.wav'.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run: label only new, changed and failed files.")
@click.option("--restart", is_flag=True, help="Overwrite an existing output.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary; failures stay in the table.")
def label(
    paths,
    model,
    variant,
    runtime,
    output,
    form,
    windows,
    window,
    hop,
    no_vad,
    jobs,
    ordered,
    pattern,
    resume,
    restart,
    quiet,
):
    """Label recordings with emotion.

    PATH is a file, a folder (searched recursively), a pattern such as '*.wav', or - for standard input: a list of
    files (one per line, or separated by NUL) or a recording. Reads wav, flac, ogg, opus, mp3 and more at any rate,
    and averages channels; the extra sertool[av] adds m4a, aac, wma and video, of which it takes the default track.
    Recordings of up to 8 s are labelled whole. In longer ones, non-speech is removed and the rest is labelled in
    windows of 8 s of speech, averaged by duration. A recording of more than one second in which nothing sounds like
    speech gets an error instead of a label.
    """
    from sertool.errors import UsageError
    from sertool.labelling import Labeller, job, table
    from sertool.labelling.journal import Journal
    from sertool.recordings import pool
    from sertool.recordings.scan import scan

    aligned = form is None and output is None and sys.stdout.isatty()
    if form is None:
        form = output.suffix.lower().removeprefix(".") if output else "csv"
        if form not in table.FORMATS:
            raise UsageError(f"{output}: name it .csv, .jsonl or .parquet, or say which with --format")
    if form == "parquet" and not output:
        raise UsageError("--format parquet needs a file: -o labels.parquet")
    if (resume or restart) and not output:
        raise UsageError("--resume and --restart need a file: -o labels.csv")
    if resume and restart:
        raise UsageError("--resume and --restart exclude each other")
    table.require(form)

    passed = collections.Counter()
    recordings = scan(with_standard_input(paths), pattern, passed)
    labeller = Labeller(model, variant, window, hop, vad=not no_vad, runtime=runtime)
    manifest = labeller.bundle.manifest
    jobs = jobs or cores()
    terminal = on_terminal() and not quiet
    if not recordings:
        return none_found(paths, passed)

    journal = None
    if output:
        described = {
            "sertool": __version__,
            "model": labeller.bundle.id,
            "variant": labeller.runtime.variant["name"],
            "window": labeller.window,
            "hop": labeller.hop,
            "windows": windows,
            "vad": not no_vad,
            "paths": [os.path.abspath(p) if p != "-" else p for p in paths],
        }
        mode = "resume" if resume else "restart" if restart else "new"
        check_writable(output, recordings)
        journal = Journal(output, described, mode)
        recordings += journal.others(recordings)

    stop = threading.Event()
    summary, failures, notes = pool.Summary(), [], []
    if terminal and (output or len(recordings) > 1):
        name = f"{manifest['name']} {manifest['version']} ({labeller.runtime.variant['name']})"
        click.echo(f"{name}, {jobs} workers", err=True)
    # Not over rows of a machine format on the same terminal.
    watched = terminal and (aligned or output is not None or not sys.stdout.isatty())
    meter, kept = pool.Meter(), "what was finished before is kept for --resume if there is a -o"
    with (
        writing(output),
        under_way(recordings, "labelling", meter, stop, jobs, kept, shown=watched) as shown,
        contextlib.ExitStack() as stack,
    ):
        if aligned:
            writer = _Aligned(max(len(visible(r.name)) for r in recordings), labeller.columns, shown.print)
        else:
            writer = _open(stack, output, form, labeller.columns)
        results = job.label_all(
            labeller,
            recordings,
            jobs=jobs,
            windows=windows,
            ordered=ordered,
            journal=journal,
            stop=stop,
            meter=meter,
        )
        for done, result in enumerate(pool.timed(results, summary), start=1):
            writer.write(result.rows)
            if result.failed:
                failures.append(result)
            notes += [f"{visible(result.recording.name)}: {visible(text)}" for text in result.notes]
            shown.update(done, "finishing" if stop.is_set() else "labelling")
        lost = bool(output) and form != "parquet" and not _still_there(writer.stream, output)
        if journal:
            journal.close()
    if lost:
        click.echo(f"sertool: {output} was deleted or replaced meanwhile: --resume writes it anew", err=True)
        return 1
    if not quiet:
        _several([] if aligned else [f"{visible(r.rows[0]['file'])}: {visible(r.rows[0]['error'])}" for r in failures])
        _several(notes)
        _report(summary, failures and not aligned, len(recordings), output, manifest)
        if passed:
            click.echo(passed_over(passed), err=True)
    finished = summary.labelled + summary.failed
    if finished < len(recordings):
        left = len(recordings) - finished
        way_on = "add --resume to the same command to go on" if output else "use -o FILE to be able to go on"
        click.echo(f"interrupted: {finished} files done, {left} to go; {way_on}", err=True)
        return 130
    return 1 if summary.failed else 0


def _open(stack, output, form, columns):
    """The writer for these options, closed with the stack."""
    from sertool.errors import UsageError
    from sertool.labelling import table

    if output is None:
        sys.stdout.reconfigure(encoding="utf-8", newline="")
        return table.open_writer(form, sys.stdout, columns)
    try:
        target = output
        if form != "parquet":
            target = stack.enter_context(output.open("w", encoding="utf-8", newline=""))
        writer = table.open_writer(form, target, columns)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from None
    stack.callback(writer.close)
    return writer


def _still_there(stream, output: Path) -> bool:
    """Whether the table that was written is what its name stands for."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.stat(output))
    except FileNotFoundError:
        return False


class _Aligned:
    """Rows as a person reads them: what `sertool label` prints on a terminal."""

    def __init__(self, longest: int, columns, print_line):
        self._file, self._columns, self._print = min(max(longest, 4), 48), columns, print_line
        heads = "".join(f"{name:>{max(10, len(name) + 2)}}" for name in (*columns, "speech"))
        self._print(f"{'file':<{self._file}}{'start':>10}{'end':>10}{heads}")

    def write(self, rows):
        for row in rows:
            name = visible(row["file"])
            name = name if len(name) <= self._file else "…" + name[1 - self._file :]
            if row["error"]:
                self._print(f"{name:<{self._file}}  {visible(row['error'])}")
                continue
            values = "".join(_cell(row[n], max(10, len(n) + 2)) for n in (*self._columns, "speech"))
            self._print(f"{name:<{self._file}}{row['start']:>10.3f}{row['end']:>10.3f}{values}")


def _cell(value, width: int) -> str:
    if value is None:  # speech that was not looked for
        return " " * width
    return f"{value:>{width}}" if isinstance(value, str) else f"{value:>{width}.2f}"


def _several(lines: list[str]) -> None:
    for line in lines[:SHOWN_FAILURES]:
        click.echo(line, err=True)
    if len(lines) > SHOWN_FAILURES:
        click.echo(f"... and {len(lines) - SHOWN_FAILURES} more", err=True)


def _report(summary, failures: bool, total: int, output, manifest: dict) -> None:
    if total == 1 and not summary.failed and output is None:
        return
    before = f" ({summary.taken_over} of them before)" if summary.taken_over else ""
    click.echo(f"{summary.labelled} labelled{before}, {summary.failed} failed{took(summary)}", err=True)
    if summary.labelled:
        click.echo(f"by {manifest['name']} {manifest['version']}, licence {manifest['licence']}", err=True)
    if failures and output:
        click.echo(f'the reasons are in {output}, column "error"', err=True)
