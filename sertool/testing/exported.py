"""Export a network, and run the file with the runtime."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sertool import bundle
from sertool.bundle import Manifest, Output, Variant
from sertool.features.inputs import features
from sertool.nn import frontend
from sertool.registry import Exporter, Source
from sertool.runtime import Runtime
from sertool.testing.clips import sound

#: Clips for exporters that calibrate.
CLIPS = tuple(sound(n, level) for n, level in ((8_000, 0.1), (16_001, 0.02), (24_000, 0.3), (12_345, 0.1)))


def manifest(network: nn.Module, exporter: Exporter, file: Path, about: dict[str, Any], input_form: str) -> Manifest:
    """Return a minimal manifest to run a file; ``about``: student, task, outputs (names), shortest."""
    return Manifest(
        name="checked",
        version="0",
        title='Checked by sertool.testing: é, "quotes", ✓',
        student=about["student"],
        task=about["task"],
        outputs=[Output(name) for name in about["outputs"]],
        frontend=frontend.describe(network),
        shortest_samples=about["shortest"],
        variants=[Variant(exporter.variant, file.name, input_form, exporter.runtime)],
        default=exporter.variant,
        licence="none",
    )


def export(
    network: nn.Module,
    exporter: Exporter,
    folder: Path,
    about: dict[str, Any],
    input_form: str,
    options: dict[str, Any],
) -> Path:
    """Write a network in eval mode, for the input ``input_form``, to a folder as for a bundle; return its path."""
    file = folder / f"model.{exporter.runtime}"
    described = manifest(network, exporter, file, about, input_form)
    convert = features(described.frontend, input_form)
    inner = frontend.without(network) if input_form == "logmel" else network
    clips = tuple(torch.from_numpy(convert(clip))[None] for clip in CLIPS)
    source = Source(inner.eval(), frontend.example(described.frontend, input_form), input_form, clips)
    exporter.export(source, file, {bundle.METADATA_KEY: described.embedded(described.variants[0])}, **options)
    return file


def differences(network: nn.Module, file: Path, lengths: Iterable[int]) -> Iterator[tuple[int, float]]:
    """Yield (samples, largest difference of an output from torch) of clips; inf if the number of outputs differs."""
    runtime = Runtime(str(file))
    for n in lengths:
        clip = sound(n)
        with torch.inference_mode():
            wanted = network(torch.from_numpy(clip)[None])[0].numpy()
        outputs = runtime.run(clip)
        yield n, float(np.abs(outputs - wanted).max()) if outputs.shape == wanted.shape else float("inf")
