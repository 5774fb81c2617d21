"""`sertool bench`: what models cost, and what the papers say of it."""

import importlib.util
import json
from pathlib import Path

import click

from sertool.cli.terminal import Finite, bar, on_terminal


class Durations(click.ParamType):
    """A,B,...: seconds, each above 0."""

    name = "durations"

    def convert(self, value, param, ctx):
        try:
            found = [float(part) for part in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is no list of seconds, as 0.5,1,2", param, ctx)
        if not all(0 < seconds < float("inf") for seconds in found):
            self.fail(f"{value!r}: seconds must be above 0", param, ctx)
        return sorted(set(found))


@click.command(
    epilog="""\b
Columns: weights that the file holds; its size; multiply-accumulates, counted in
its graph; wall-clock time, the median and the 10th and 90th percentile; RTF,
time by length of audio; time to load; largest resident memory of a process that
does nothing else, and how much of it came after its runtime was imported.
K, M, G are powers of 1000. Below it the same as multiples of the smallest model
that a paper measured, where machines cancel out, and the paper's in brackets,
as far as it says.
\b
Exit codes: 0 all measured, 1 some failed (the table says why), 2 wrong usage,
130 interrupted (what was finished is shown).
\b
Examples:
  sertool bench wav2small                        one bundle, all its variants
  sertool bench --list                           what is measured without MODEL
  sertool bench --markdown --json table1.json    all of it: takes an hour or so
  sertool bench mobilenetv4-small --format onnx --format onnx-int8:recipe=static
  sertool bench --vs wav2small:variant=fp32 wav2small:variant=int8
  sertool bench 'dawn:config={num_hidden_layers=6}' --format onnx \\
      --sweep 0.5,1,2,5,10,30,60 --plots plots/      Fig. 5 of arXiv 2408.13920"""
)
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@click.option(
    "--format",
    "formats",
    metavar="NAME[:KEY=VALUE,...]",
    multiple=True,
    help="Export format for networks; may be repeated.  [default: onnx, onnx-int8]",
)
@click.option("--seconds", type=Finite(0, min_open=True), default=5.0, show_default=True, help="Length of the audio.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of one run.")
@click.option(
    "--runs",
    type=click.IntRange(min=1),
    default=21,
    show_default=True,
    help="Number of timed runs; the median is shown.",
)
@click.option(
    "--warmup", type=click.IntRange(min=0), default=3, show_default=True, help="Runs before that are not timed."
)
@click.option("--sweep", metavar="A,B,...", type=Durations(), help="Measure at several lengths of audio, in seconds.")
@click.option(
    "--plots", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Draw the sweep into this folder."
)
@click.option(
    "--vs", is_flag=True, help="Compare two models, taking turns in one process, and show the ratio of their times."
)
@click.option(
    "--json",
    "target",
    metavar="FILE",
    help="Write all results as JSON; - writes to standard output instead of the tables.",
)
@click.option("--markdown", is_flag=True, help="Tables in Markdown.")
@click.option("--list", "listing", is_flag=True, help="Show what would be measured.")
def bench(models, formats, seconds, threads, runs, warmup, sweep, plots, vs, target, markdown, listing):
    """Measure what models cost: parameters, operations, memory and time, each in its own process.

    MODEL is a bundle (name, folder or file; NAME:variant=int8 selects one of its files) or a network that a plugin
    registers, NAME:key=value with its options, exported with random weights. If both have the name, the bundle is
    used; NAME: with a colon, or --format, selects the network. Without MODEL: all networks that a paper measured,
    and all bundles.
    """
    from sertool import bench
    from sertool.cli import runs as running
    from sertool.errors import UsageError

    if vs and sweep:
        raise UsageError("--vs and --sweep do not go together")
    if plots and not sweep:
        raise UsageError("--plots draws a sweep: add --sweep 0.5,1,2,5,10")
    found = (bench.pair if vs else bench.subjects)(models, formats)
    if listing:
        for subject in found:
            kind = f"network {subject.network.removesuffix(':')}" if subject.network else "bundle"
            click.echo(f"{subject.model:<20} {subject.format:<12} {kind}")
        return 0
    if any(subject.network for subject in found):
        running.require_torch()
    elif not importlib.util.find_spec("onnx"):
        raise UsageError("what a file holds is counted with onnx: pip install 'sertool[train]'")
    if plots:
        from sertool.evaluation import plots as drawing

        drawing.require()
        plots.mkdir(parents=True, exist_ok=True)
    how = bench.How(seconds, runs, warmup, threads)
    conditions, rows, ratio = bench.conditions(how), [], None
    try:
        with bar(len(found) * len(sweep or [0]), "measured", "", shown=on_terminal(), transient=True) as shown:

            def progress(what):
                shown.update(len(rows), what)

            if vs:
                rows, ratio = bench.versus(found, how, progress).values()
            else:
                measured = bench.sweep(found, sweep, how, progress) if sweep else bench.table(found, how, progress)
                for row in measured:
                    rows.append(row)
                    _save(target, conditions, rows)  # an hour's work, should this process be killed
    finally:  # after Ctrl-C, too
        if rows:
            _report(conditions, rows, ratio, sweep, target, markdown)
    failed = sum("error" in row for row in rows)
    if plots and failed < len(rows):
        drawing.sweep(plots / "sweep.png", rows, f"{_count(threads, 'thread')}, median of {_count(runs, 'run')}")
    if failed:
        click.echo(f"{failed} of {len(rows)} failed", err=True)
    return 1 if failed else 0


def _report(conditions: dict, rows: list, ratio: dict | None, sweep, target: str | None, markdown: bool) -> None:
    from sertool import bench

    smallest, multiples = (None, []) if ratio or sweep else bench.relative(rows)
    told = ({"ratio": ratio} if ratio else {}) | ({"relative_to": smallest, "relative": multiples} if smallest else {})
    _save(target, conditions, rows, **told)
    if target == "-":
        click.echo(_text(conditions, rows, **told), nl=False)
        return
    click.echo(bench.headline(conditions))
    each = "both in one process, turn by turn" if ratio else "each in its own process"
    click.echo(
        f"{_count(conditions['threads'], 'thread')}, {each}; median of {_count(conditions['repeats'], 'run')} after "
        f"{conditions['warmup']} to warm up (10th to 90th percentile); wall-clock time, without imports and loading"
    )
    click.echo()
    click.echo(_table(rows, COLUMNS | _part_columns(rows), markdown))
    if ratio:
        names = [f"{row['model']} {row['format']}" for row in rows]
        click.echo(
            f"\n{names[1]} takes {ratio['median']:.3f} times as long as {names[0]} "
            f"({ratio['low']:.3f} to {ratio['high']:.3f})"
        )
    if multiples:
        sources = "; ".join(dict.fromkeys(row["source"] for row in rows if row["source"]))
        click.echo(f"\nMultiples of {smallest} in the same format (in brackets: published ones; {sources})\n")
        click.echo(_table(multiples, MULTIPLES, markdown))


def _save(target: str | None, *what, **more) -> None:
    if target and target != "-":
        Path(target).write_text(_text(*what, **more), encoding="utf-8")


def _text(conditions: dict, rows: list, **more) -> str:
    return json.dumps({"conditions": conditions, "models": rows, **more}, indent=2, ensure_ascii=False) + "\n"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _table(rows: list[dict], columns: dict, markdown: bool) -> str:
    """Columns are title -> function of a row; of a row without figures the reason stands in place of them."""
    lines = [list(columns)]
    for row in rows:
        known = [cell(row) if "error" not in row or title in HEADS else "" for title, cell in columns.items()]
        lines.append(known)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = [title in HEADS for title in columns]
    if markdown:
        lines.insert(1, ["---" if own else "---:" for own in left])
        text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        failed = [f"{row['model']} {row['format']}: {row['error']}" for row in rows if "error" in row]
        return "\n".join([text, *(f"\n{reason}" for reason in failed)])
    shown = []
    for line, row in zip(lines, [{}, *rows], strict=True):
        cells = [cell.ljust(w) if own else cell.rjust(w) for cell, w, own in zip(line, widths, left, strict=True)]
        shown.append("  ".join(cells).rstrip() + (f"  failed: {row['error']}" if "error" in row else ""))
    return "\n".join(shown)


def _si(value: float, unit: str = "") -> str:
    """Three digits: 72.6 K, 1.94 GB, 391 M."""
    for prefix in ("", "K", "M", "G"):
        if value < 999.5 or prefix == "G":
            break
        value /= 1000
    digits = f"{value:.0f}" if value >= 99.95 or not prefix else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
    return f"{digits} {prefix}{unit}".strip()


def _ms(found: dict) -> str:
    middle, low, high = (1000 * found[key] for key in ("seconds", "low_s", "high_s"))
    digits = 2 if middle < 10 else 1 if middle < 100 else 0
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _part_columns(rows: list[dict]) -> dict:
    names = dict.fromkeys(name for row in rows for name in row.get("parts", {}))
    return {
        f"{name}, ms": lambda r, name=name: _ms(r["parts"][name]) if name in r.get("parts", {}) else ""
        for name in names
    }


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _multiple(figure: str):
    def cell(row):
        ours, paper = row[figure]
        return _digits(ours) + ("" if paper is None else f" ({_digits(paper)})")

    return cell


HEADS = ("model", "format", "audio")
COLUMNS = {
    "model": lambda row: row["model"],
    "format": lambda row: row["format"],
    "audio": lambda row: f"{row['audio_s']:g} s",
    "weights": lambda row: _si(row["parameters"]),
    "file": lambda row: _si(row["bytes"], "B"),
    "MACs": lambda row: _si(row["macs"]),
    "time, ms": _ms,
    "RTF": lambda row: f"{row['rtf']:.2g}",
    "load, ms": lambda row: f"{1000 * row['load_s']:.0f}",
    "memory": lambda row: _si(row["peak_bytes"], "B"),
    "added": lambda row: _si(row["added_bytes"], "B"),
}
MULTIPLES = {
    "model": COLUMNS["model"],
    "format": COLUMNS["format"],
    "weights": _multiple("parameters"),
    "file": _multiple("bytes"),
    "MACs": _multiple("macs"),
    "time": _multiple("seconds"),
    "memory": _multiple("peak_bytes"),
    "added": _multiple("added_bytes"),
}
