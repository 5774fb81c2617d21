"""A network through an exporter, and back through the runtime that labels."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sertool import bundle
from sertool.features.inputs import features
from sertool.features.mel import SAMPLE_RATE
from sertool.nn import frontend
from sertool.registry import Exporter, Source
from sertool.runtime import Runtime
from sertool.testing.clips import sound

#: For an exporter that calibrates.
CLIPS = tuple(sound(n, level) for n, level in ((8_000, 0.1), (16_001, 0.02), (24_000, 0.3), (12_345, 0.1)))


def manifest(network: nn.Module, exporter: Exporter, file: Path, about: dict, taken: str) -> dict:
    """The smallest that a file can be run with; ``about``: student, task, outputs (names), shortest."""
    return {
        "schema": bundle.SCHEMA,
        "name": "checked",
        "version": "0",
        "title": 'Checked by sertool.testing: é, "quotes", ✓',
        "student": about["student"],
        "task": about["task"],
        "outputs": [{"name": name, "range": [0, 1]} for name in about["outputs"]],
        "sample_rate": SAMPLE_RATE,
        "input": {"name": "waveform", "shape": [1, "time"], "dtype": "float32", "channels": 1},
        "frontend": frontend.describe(network),
        "preprocessing": [],
        "window_s": 8.0,
        "shortest_samples": about["shortest"],
        "variants": [
            {"name": exporter.variant, "file": file.name, "input": taken, "runtime": exporter.runtime},
        ],
        "default": exporter.variant,
        "licence": "none",
        "training": {},
        "metrics": {},
    }


def export(network: nn.Module, exporter: Exporter, folder: Path, about: dict, taken: str, options: dict) -> Path:
    """Write a network in eval mode, for the input ``taken``, into a folder as a bundle does; the file's path."""
    file = folder / f"model.{exporter.runtime}"
    found = manifest(network, exporter, file, about, taken)
    convert = features(found["frontend"], taken)
    inner = frontend.without(network) if taken == "logmel" else network
    clips = tuple(torch.from_numpy(convert(clip))[None] for clip in CLIPS)
    source = Source(inner.eval(), frontend.example(found["frontend"], taken), taken, clips)
    exporter.export(source, file, {bundle.METADATA_KEY: bundle.embedded(found, found["variants"][0])}, **options)
    return file


def differences(network: nn.Module, file: Path, lengths) -> Iterator[tuple[int, float]]:
    """(samples, largest difference of an output from torch's; inf for another number of outputs) of clips."""
    runtime = Runtime(str(file))
    for n in lengths:
        clip = sound(n)
        with torch.inference_mode():
            wanted = network(torch.from_numpy(clip)[None])[0].numpy()
        found = runtime.run(clip)
        yield n, float(np.abs(found - wanted).max()) if found.shape == wanted.shape else float("inf")
