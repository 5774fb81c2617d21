"""`sertool export`: export a trained network as a bundle of measured files."""

from pathlib import Path
from typing import Any

import click

from sertool.cli import options
from sertool.cli.options import FILE, FOLDER, layout
from sertool.cli.terminal import Finite


@click.command(
    epilog="""\b
Formats: NAME[:KEY=VALUE,...]; `sertool plugins` lists the exporters. First-party:
  onnx                          float32, the reference
  onnx-int8                     matrix products in 8 bits (product=7: 7, faster),
                                the rest stored in 8
  onnx-int8:recipe=matmul       matrix products in 8 bits, the rest as it is
  onnx-int8:recipe=static       8 bits throughout, calibrated: needs --calibrate
  onnx-int8:recipe=weights      weights stored in 8 bits (bits=4: the large ones
                                in 4), computed in float32: the smallest
  onnx-fp16                     weights in 16 bits
  audonnx                       float32 with the model.yaml of audonnx.load
  native                        Wav2Small for sertool's engine in C, float32
  native-int8                   the same in 8 bits, calibrated: needs --calibrate
  c                             native-int8, and NAME.c and NAME.h that hold it and
                                need nothing else (bits=32: as native)
  web                           native-int8 (bits=32: native), and a web page, its
                                WebAssembly and JavaScript that hold it
input=logmel, in a format or as --input, leaves the LogMel to sertool's C
front-end: faster, but only sertool runs such a file.
\b
Exit codes: 0 all written, 1 a variant missed a gate (the figure is named, the
others are written), 2 wrong usage, 130 interrupted (nothing is written).
\b
Examples:
  sertool export wav2small -o out --format onnx --format onnx-int8:recipe=weights
  sertool export runs/mine -o out --format onnx-int8 --check corpora/ --split val \\
      --max-metric-drop 0.005 --min-speed 1 --max-bytes 80000
  sertool export dawn:weights=checkpoint/ -o dawn --format onnx-int8
  sertool label -m out FOLDER"""
)
@click.argument("source", metavar="MODEL|CHECKPOINT")
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the new bundle."
)
@options.shown(
    "--format",
    "formats",
    metavar="NAME[:KEY=VALUE,...]",
    multiple=True,
    default=("onnx",),
    help="Format of a file to write; may be repeated.",
)
@options.shown(
    "--input",
    "form",
    type=click.Choice(["waveform", "logmel"]),
    default="waveform",
    help="What files take, where their format does not say.",
)
@click.option("--check", metavar="CORPUS", type=FOLDER, help="Labelled recordings: measure CCC or UA of every file.")
@layout("if it has a manifest.csv")
@click.option(
    "--split",
    "splits",
    metavar="NAME",
    multiple=True,
    help="Use this split of CORPUS; may be repeated.  [default: all]",
)
@click.option("--corpora", metavar="A,B", default="", help="Use these corpora of CORPUS.  [default: all]")
@click.option("--calibrate", metavar="DIR", type=FOLDER, help="Recordings for calibration; not those of --check.")
@click.option("--max-diff", type=Finite(min=0), help="Gate: largest difference of an output from torch.")
@click.option("--max-metric-drop", type=Finite(), help="Gate: largest drop of CCC or UA below fp32, on CORPUS.")
@click.option("--max-bytes", type=click.IntRange(min=1), help="Gate: size of a file.")
@click.option("--min-speed", type=Finite(min=0), help="Gate: speed beside fp32 on one thread, as 1.0.")
@options.shown("--runs", type=click.IntRange(min=0), default=21, help="Timed runs of 5 s per file; 0 disables timing.")
@click.option("--name", help="Name of the bundle.  [default: the model's]")
@click.option("--weights", is_flag=True, help="Include the torch weights, so that the bundle can be exported again.")
@click.option(
    "--with-embedding",
    is_flag=True,
    help="Give each file a second output, the embedding, for `sertool embed`, `tune` and `adapt`.",
)
@click.option(
    "--tokens", type=FILE, help="Also write the part before the pooling as ONNX, with output [1, tokens, width]."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing bundle.")
@click.option("--json", "as_json", is_flag=True, help="Print the measurements as JSON.")
def export(**arguments: Any) -> int:
    """Export a trained network as a bundle, in several formats, and measure each file.

    MODEL is a bundle with its torch weights (wav2small, wav2small-emotion), or a network that a plugin registers, with
    options (NAME:weights=DIR; without weights they are random, which is enough for size and time). CHECKPOINT is
    the folder of a training run, or its best.pt. Each file is measured before it is written: largest and mean
    difference from torch over recordings of many lengths, CCC or UA on labelled recordings (--check), bytes, speed
    relative to float32 on one thread, peak memory. bundle.json and the model card keep the figures; the options
    marked Gate reject files. The same network gives the same bytes.
    """
    from sertool.cli.run.export import export

    return export(**arguments)
