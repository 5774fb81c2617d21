"""Implementation of `sertool bench`."""

import importlib.util
from pathlib import Path
from typing import Any

import click

from sertool import bench as benches
from sertool.cli import runs as running
from sertool.cli.terminal import bar, on_terminal
from sertool.cli.view import bench as view
from sertool.errors import UsageError
from sertool.evaluation import plots as drawing
from sertool.look import figures


def bench(
    models: tuple[str, ...],
    formats: tuple[str, ...],
    seconds: float,
    threads: int,
    runs: int,
    warmup: int,
    sweep: list[float] | None,
    plots: Path | None,
    vs: bool,
    target: str | None,
    markdown: bool,
    listing: bool,
) -> int:
    """Run `sertool bench`; the arguments are its options."""
    if vs and sweep:
        raise UsageError("--vs and --sweep exclude each other")
    if plots and not sweep:
        raise UsageError("--plots draws a sweep: add --sweep 0.5,1,2,5,10")
    subjects = (benches.pair if vs else benches.subjects)(models, formats)
    if listing:
        view.listing(subjects)
        return 0
    if any(subject.network for subject in subjects):
        running.require_torch()
    elif not importlib.util.find_spec("onnx"):
        raise UsageError("counting parameters and operations needs onnx: pip install 'sertool[train]'")
    if plots:
        figures.require(option="--plots")
        plots.mkdir(parents=True, exist_ok=True)
    how = benches.How(seconds, runs, warmup, threads)
    rows: list[dict[str, Any]] = []
    conditions, ratio = benches.conditions(how), None
    try:
        with bar(len(subjects) * len(sweep or [0]), "measured", "", shown=on_terminal(), transient=True) as shown:

            def progress(what: str) -> None:
                shown.update(len(rows), what)

            if vs:
                rows, ratio = benches.versus(subjects, how, progress).values()
            else:
                measured = (
                    benches.sweep(subjects, sweep, how, progress) if sweep else benches.table(subjects, how, progress)
                )
                for row in measured:
                    rows.append(row)
                    view.save(target, conditions, rows)  # keep the results if this process is killed
    finally:  # also after Ctrl-C
        if rows:
            view.report(conditions, rows, ratio, sweep, target, markdown)
    failed = sum("error" in row for row in rows)
    if plots and failed < len(rows):
        drawing.sweep(
            plots / "sweep.png", rows, f"{view.count(threads, 'thread')}, median of {view.count(runs, 'run')}"
        )
    if failed:
        click.echo(f"{failed} of {len(rows)} failed", err=True)
    return 1 if failed else 0
