"""How few bytes Wav2Small needs: recipes of our exporters, what each loses, and what it takes in time and memory.

    python tests/bench/smaller.py CORPORA [MODEL...] [--runs 15] [--clips 64] [--folder FOLDER]

CORPORA holds manifest.csv; MODEL is what `sertool export` takes: a bundle with its torch weights (by default those that
ship) or a run of training. Recipes are calibrated on --clips of its `train` split alone. Markdown: differences are from
torch, over 60 clips of `val` and pieces of 33 samples to 60 s; drops are fp32's figure less the recipe's, on `val` and
on `test-ood` (CCC: mean over dimensions, classes at their published places; AUC: mean over pairs and corpora); time is
fp32's median over the recipe's, on one thread, the files alternating in one process. Memory is what a fresh process
adds to its imports. The second table has the C front-end's time and memory in it, where that computes LogMel.
"""

import argparse
import os
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np
import torch
from report import header

from sertool import bundle
from sertool.evaluation import dimensional
from sertool.exporting import variants
from sertool.exporting.origin import find_origin
from sertool.measure import cost
from sertool.plugins import load_plugins
from sertool.runtime import Runtime
from sertool.training.targets import targets_of

LADDER = {
    "float32": "onnx",
    "float16": "onnx-fp16",
    "products in 8 bits": "onnx-int8:recipe=matmul",
    "static QDQ": "onnx-int8:recipe=static",
    "products in 8 bits, rest stored in 8 (default)": "onnx-int8",
    "all stored in 8 bits": "onnx-int8:recipe=weights",
    "matrices in 4 bits, convolutions in 8": "onnx-int8:recipe=weights,bits=4",
    "matrices in 2 bits, convolutions in 8": "onnx-int8:recipe=weights,bits=2",
    "matrices and convolutions in 4 bits": "onnx-int8:recipe=weights,bits=4,conv=4",
    "matrices in 2 bits, convolutions in 4": "onnx-int8:recipe=weights,bits=2,conv=4",
}
PAIRS = {"float32": "onnx", "8 bits": "onnx-int8:recipe=weights", "4 and 8 bits": "onnx-int8:recipe=weights,bits=4"}
SECONDS, SAVED_SECONDS = (1, 5, 60), (1, 5, 8, 60)
INPUTS = ("waveform", "logmel")
ANY = variants.Limits(max_diff=float("inf"))


class Separation(variants.Check):
    """The mean AUC of class pairs, corpus by corpus."""

    metric = "AUC"

    def score(self, outputs: np.ndarray) -> float:
        found = dimensional.class_pairs(outputs, self.rows, dimensional.DIMENSIONS)
        return float(np.mean([value for measures in found.values() for value in measures.values()]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("models", nargs="*", default=["wav2small", "wav2small-emotion"])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--folder", type=Path, help="keep the files here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    header("onnxruntime", "onnx", "torch")
    rows = load_plugins().get("corpora", "manifest").read(given.corpora)
    for model in given.models:
        origin = find_origin(model)
        name = origin.manifest.name
        with tempfile.TemporaryDirectory() as scratch:
            folder = (given.folder or Path(scratch)) / name
            ladder(origin, rows, folder / "ladder", given)
            saved(origin, rows, folder / "saved", given)


def ladder(origin, rows, folder: Path, given) -> None:
    entries = write(origin, rows, folder, LADDER.values(), given, checked=True)
    runtimes = [Runtime(str(folder / entry.file)) for entry in entries]
    times = [timed(runtimes, seconds, given.runs) for seconds in SECONDS]
    checks = [f"{check['metric']} {check['on']}" for check in entries[0].checks]
    print(f"\n### {origin.manifest.name}\n")
    table(
        ["", "`--format`", "bytes", "largest", "mean", *(f"drop {check}" for check in checks), *speeds(SECONDS)],
        [
            [
                what,
                f"`{entry.format}`",
                f"{entry.bytes:,}",
                f"{entry.difference['max']:.4f}",
                f"{entry.difference['mean']:.5f}",
                *(f"{check['drop']:+.4f}" for check in entry.checks),
                *(f"{medians[0] / medians[i]:.2f}" for medians in times),
            ]
            for i, (what, entry) in enumerate(zip(LADDER, entries, strict=True))
        ],
    )


def saved(origin, rows, folder: Path, given) -> None:
    """What LogMel in the C front-end saves."""
    formats = [f"{text}{',' if ':' in text else ':'}input={form}" for text in PAIRS.values() for form in INPUTS]
    entries = write(origin, rows, folder, formats, given)
    files = [folder / entry.file for entry in entries]
    times = [timed([Runtime(str(file)) for file in files], seconds, given.runs) for seconds in SAVED_SECONDS]
    memory = [[cost.fresh(str(file), seconds=s, repeats=3).added_bytes / 1e6 for file in files] for s in SAVED_SECONDS]
    table(
        ["", "input", "bytes", "largest", *(f"{s} s" for s in SAVED_SECONDS), *(f"MB, {s} s" for s in SAVED_SECONDS)],
        [
            [
                [*PAIRS][i // len(INPUTS)],
                entry.input,
                f"{entry.bytes:,}",
                f"{entry.difference['max']:.1e}",
                *(f"{1e3 * medians[i]:.1f} ms" for medians in times),
                *(f"{found[i]:.1f}" for found in memory),
            ]
            for i, entry in enumerate(entries)
        ],
    )


def write(origin, rows, folder: Path, formats, given, checked=False) -> list[bundle.Variant]:
    """Variants, with what was measured."""
    data = origin.manifest.training["recipe"]["data"]
    parts = {
        split: [row for row in rows if row.split == data[split] and (split == "ood" or row.corpus in data["corpora"])]
        for split in ("train", "val", "ood")
    }
    targets, checks = targets_of(origin.model, origin.recipe), []
    if checked:
        checks = [variants.Check(data[split], parts[split], targets) for split in ("val", "ood")]
        if origin.model.task == "dimensional":
            checks.append(Separation(data["ood"], parts["ood"], targets))
    clips, calibrate = (
        variants.some_clips([row.file for row in parts[split]], number)
        for split, number in (("val", 60), ("train", given.clips))
    )
    folder.mkdir(parents=True, exist_ok=True)
    material = variants.Material(clips, calibrate, checks, runs=0)
    manifest = replace(origin.manifest, variants=[])
    written = variants.write(
        folder, manifest, origin.network, [variants.parse(text) for text in formats], material, ANY
    )
    return written.variants


def timed(runtimes, seconds: float, runs: int) -> list[float]:
    """Median seconds of each on so much noise."""
    samples = (0.1 * np.random.default_rng(0).standard_normal(round(16_000 * seconds))).astype(np.float32)
    calls = {i: partial(runtime.run, samples) for i, runtime in enumerate(runtimes)}
    return [float(np.median(times)) for times in cost.alternating(calls, runs).values()]


def speeds(seconds) -> list[str]:
    return [f"speed, {s} s" for s in seconds]


def table(heads: list[str], rows: list[list[str]]) -> None:
    print(f"| {' | '.join(heads)} |\n|---|---|{'---:|' * (len(heads) - 2)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    print()


if __name__ == "__main__":
    main()
