"""Write a copy of a bundle that computes something after its model, with another manifest and card."""

import copy
import csv
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sertool import audio, bundle
from sertool._types import Floats, Samples
from sertool.bundle import Bundle, Manifest, Variant
from sertool.errors import SertoolError, UsageError
from sertool.runtime import Runtime
from sertool.tuning import files
from sertool.tuning.tail import Tail

#: Maximum difference of a file from its source file followed by the tail, in float64.
EXACT = 1e-4
#: Exporters whose files can be rewritten; others write files beside the model that would be stale.
_EXPORTERS = {"onnx", "onnx-fp16", "onnx-int8", "native", "native-int8"}


@dataclass(frozen=True)
class Rewritten:
    """A bundle, and ``dropped``: name of a variant or file -> why it is not in it."""

    bundle: Bundle
    dropped: dict[str, str]


def rewrite(
    source: Bundle,
    folder: Path,
    manifest: Manifest,
    tail: Tail | None,
    clips: Sequence[Samples],
    card: str,
) -> Rewritten:
    """Write ``folder``: the files of ``source`` followed by ``tail``, checked against it on ``clips`` and the samples.

    ``manifest`` describes the new bundle; its variants are set here. ``card`` is its model card, with the marks of a
    table of files. Without a tail, outputs and measurements stay those of ``source``. Raises UsageError for a single
    file as source, SertoolError if a new file does not compute what it should.
    """
    if not source.path.is_dir():
        raise UsageError(f"{source.path}: a single file; give the folder of a bundle")
    kept, dropped = _kept(source.manifest.variants, tail)
    if not kept:
        raise UsageError(f"{source.path}: none of its files can be rewritten: {next(iter(dropped.values()))}")
    samples = sorted((source.path / bundle.SAMPLES).glob("*.wav"))
    heard = [*map(audio.read, samples), *clips]
    with bundle.replacing(folder) as fresh:
        manifest = replace(manifest, variants=[])
        reference: list[Floats] = []
        ordered = sorted(kept, key=lambda variant: variant.largest_difference)
        entries: dict[str, Variant] = {}
        for variant in ordered:
            old = Runtime(str(source.path), variant.name)
            pairs = [old.run_both(clip) for clip in heard]
            outputs, embeddings = (np.array([pair[i] for pair in pairs], np.float64) for i in (0, 1))
            expected = tail(outputs, embeddings) if tail else outputs
            entry = copy.deepcopy(variant)
            path = fresh / entry.file
            write = files.write_onnx if entry.runtime == "onnx" else files.write_native
            for name in variant.beside:
                shutil.copyfile(bundle.place(source.path, name), fresh / name)
            write(source.path / entry.file, path, tail, manifest.embedded(entry))
            new = Runtime(str(path))
            actual = np.array([new.run_both(clip)[0] for clip in heard], np.float64)
            for name in variant.beside:
                if not (source.path / name).is_file():  # it ships with sertool, and need not be in each bundle
                    (fresh / name).unlink()
            worst = float(np.abs(actual - expected).max())
            if not worst <= EXACT * max(1.0, float(np.abs(expected).max())):
                raise SertoolError(f"{path.name}: its outputs differ by {worst:.1e} from what they should be")
            reference = reference or list(expected)
            if tail:
                differences = np.abs(actual - np.array(reference))
                largest, mean = float(f"{differences.max():.3g}"), float(f"{differences.mean():.3g}")
                entry.difference = {"max": largest, "mean": mean, "clips": len(heard)}
                entry.checks, entry.cost = [], {}
            if not entries and (source.path / bundle.WEIGHTS).is_file():
                weights = source.path / bundle.WEIGHTS, fresh / bundle.WEIGHTS
                if not files.write_torch(*weights, tail, embeddings, outputs):
                    dropped[bundle.WEIGHTS] = "the network's last layer is not one linear layer"
            entries[entry.name] = entry
        manifest.variants = [entries[variant.name] for variant in kept]
        manifest.default = manifest.default if manifest.default in entries else manifest.variants[0].name
        if tail:
            _write_samples(fresh, manifest, samples, reference)
        else:
            shutil.copytree(source.path / bundle.SAMPLES, fresh / bundle.SAMPLES)
        # Sizes are known only now: the table of files needs them.
        bundle.write(fresh, manifest, card)
        bundle.write(fresh, manifest, bundle.with_files(card, manifest))
    return Rewritten(bundle.read(folder), dropped)


def _kept(variants: Sequence[Variant], tail: Tail | None) -> tuple[list[Variant], dict[str, str]]:
    kept, dropped = [], dict[str, str]()
    for variant in variants:
        exporter = (variant.format or "").partition(":")[0]
        if exporter and exporter not in _EXPORTERS:
            dropped[variant.name] = f"export it again with --format {exporter}"
        elif tail and variant.runtime == "native" and len(tail.linear.bias) > files.MOST_NATIVE:
            dropped[variant.name] = f"the C engine has at most {files.MOST_NATIVE} outputs"
        else:
            kept.append(variant)
    return kept, dropped


def _write_samples(folder: Path, manifest: Manifest, samples: Sequence[Path], outputs: Sequence[Any]) -> None:
    (folder / bundle.SAMPLES).mkdir()
    with open(folder / bundle.SAMPLES / bundle.EXPECTED, "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["file", *manifest.output_names])
        for clip, values in zip(samples, outputs[: len(samples)], strict=True):
            shutil.copyfile(clip, folder / bundle.SAMPLES / clip.name)
            table.writerow([clip.name, *(f"{value:.6f}" for value in values)])
