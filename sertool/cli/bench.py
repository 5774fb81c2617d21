"""`sertool bench`: measure the cost of models and compare it with the papers."""

from pathlib import Path
from typing import Any

import click

from sertool.cli.terminal import Finite


class Durations(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """A,B,...: seconds, each above 0; converted to a sorted list."""

    name = "durations"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[float]:
        try:
            durations = [float(part) for part in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a list of seconds, such as 0.5,1,2", param, ctx)
        if not all(0 < seconds < float("inf") for seconds in durations):
            self.fail(f"{value!r}: seconds must be above 0", param, ctx)
        return sorted(set(durations))


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
def bench(**arguments: Any) -> int:
    """Measure what models cost: parameters, operations, memory and time, each in its own process.

    MODEL is a bundle (name, folder or file; NAME:variant=int8 selects one of its files) or a network that a plugin
    registers, NAME:key=value with its options, exported with random weights. If both have the name, the bundle is
    used; NAME: with a colon, or --format, selects the network. Without MODEL: all networks that a paper measured,
    and all bundles.
    """
    from sertool.cli.run.bench import bench

    return bench(**arguments)
