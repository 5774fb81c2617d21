"""Checks of an exporter."""

import copy
import itertools
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from sertool import bundle
from sertool.errors import SertoolError
from sertool.features.mel import GEOMETRIES
from sertool.nn import LogMel, SoftmaxPool, UtteranceNorm
from sertool.options import named_options
from sertool.plugins import load_plugins
from sertool.registry import Exporter, Source
from sertool.runtime import Runtime
from sertool.testing.exported import differences, export, manifest
from sertool.testing.faults import doing, refused, require
from sertool.testing.models import settle
from sertool.training.targets import answering

LENGTHS = (8_001, 16_000, 33_333)
OUTPUTS = ("angry", "happy", "sad")


class Blocks(nn.Module):
    """The building blocks of sertool's networks: waveform [batch, samples] -> probabilities [batch, 3].

    One linear layer is large enough for exporters that do not quantise small layers.
    """

    def __init__(self, n_fft: int) -> None:
        super().__init__()
        self.normalise, self.logmel = UtteranceNorm(), LogMel(n_fft)
        self.shortest = self.logmel.geometry.shortest
        self.fine = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.shrink = nn.MaxPool2d(3, stride=2, padding=1)
        self.mix = weight_norm(nn.Conv2d(8, 8, 1))
        width = 8 * ((self.logmel.geometry.n_mels - 1) // 2 + 1)
        self.wide = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 256), nn.GELU())
        self.pool, self.head = SoftmaxPool(256), nn.Linear(256, len(OUTPUTS))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        x = self.logmel(self.normalise(waveform))[:, None]
        x = self.mix(self.shrink(self.fine(x)))
        logits: torch.Tensor = self.head(self.pool(self.wide(x.transpose(1, 2).flatten(2))))
        return logits.softmax(dim=1)


class Untraceable(nn.Module):
    """A network with control flow that depends on a value."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return waveform[:, :3] if float(waveform.mean()) > 0 else -waveform[:, :3]


def check(name: str, inputs: Sequence[str], models: Sequence[str], options: dict[str, Any]) -> None:
    """Check an exporter; see `sertool.testing.check_exporter`."""
    exporter, where = load_plugins().get("exporters", name), f"exporter {name!r}"
    variant, tolerance = exporter.variant, exporter.tolerance
    require(isinstance(variant, str) and bool(variant), where, f"variant is {variant!r}, not a name")
    right = isinstance(tolerance, (int, float)) and tolerance > 0 and math.isfinite(tolerance)
    require(right, where, f"tolerance is {tolerance!r}, not a number above 0")
    require(exporter.runtime in bundle.RUNTIMES, where, f"runtime is {exporter.runtime!r}, not one of sertool's")
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as scratch:
        torch.manual_seed(0)
        networks = [_registered(text) for text in models] or [_blocks(n_fft) for n_fft in GEOMETRIES]
        for number, ((what, network, about), input_form) in enumerate(
            zip(networks, itertools.cycle(inputs), strict=False)
        ):
            settle(network, 16_000)
            folder = Path(scratch, str(number))
            folder.mkdir()
            _check_network(network, about, exporter, folder, input_form, options, f"{where}, {what}, {input_form}")
        refusals: dict[str, nn.Module] = {"a network that branches on its input": Untraceable()}
        if models:
            refusals["a network that it does not support"] = Blocks(64)
        for what, network in refusals.items():
            _check_refused(network, exporter, Path(scratch), options, where, what)


def _blocks(n_fft: int) -> tuple[str, nn.Module, dict[str, Any]]:
    """Return (description, network, ``about`` for exported.manifest) of the building blocks."""
    network = Blocks(n_fft)
    about = {"student": "blocks", "task": "categorical", "outputs": OUTPUTS, "shortest": network.shortest}
    return f"n_fft {n_fft}", network, about


def _registered(text: str) -> tuple[str, nn.Module, dict[str, Any]]:
    """Return the same as ``_blocks`` for a registered model."""
    name, options = named_options(text)
    model = load_plugins().get("models", name)
    about = {"student": name, "task": model.task, "outputs": model.outputs, "shortest": model.shortest}
    return text, answering(model, model.build(**options)), about


def _check_network(
    network: nn.Module,
    about: dict[str, Any],
    exporter: Exporter,
    folder: Path,
    input_form: str,
    options: dict[str, Any],
    where: str,
) -> None:
    before = copy.deepcopy(network.state_dict())
    with doing(where, "exporting"):
        file = export(network, exporter, folder, about, input_form, options)
    after = network.state_dict()
    unchanged = before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)
    require(unchanged and not network.training, where, "exporting changes the network: work on a copy")
    require(file.is_file(), where, f"no file {file.name} was written")
    with doing(where, "running the file"):
        runtime = Runtime(str(file))
        written = manifest(network, exporter, file, about, input_form)
        require(runtime.bundle.manifest == written, where, "its metadata differs after reading it back")
        for n, difference in differences(network, file, (about["shortest"], about["shortest"] + 1, *LENGTHS)):
            fault = f"differs from torch by {difference:.1e} at {n} samples, allowed is {exporter.tolerance:g}"
            require(difference <= exporter.tolerance, where, fault)
    again = folder / "again"
    again.mkdir()
    with doing(where, "exporting a second time"):
        export(network, exporter, again, about, input_form, options)
    for path in sorted(again.iterdir()):
        same = (folder / path.name).read_bytes() == path.read_bytes()
        require(same, where, f"exporting twice gives different bytes ({path.name})")


def _check_refused(
    network: nn.Module, exporter: Exporter, folder: Path, options: dict[str, Any], where: str, what: str
) -> None:
    file, source = folder / "refused", Source(network.eval(), torch.zeros(1, 80_000))
    with refused(where, what, SertoolError):
        exporter.export(source, file, {bundle.METADATA_KEY: "{}"}, **options)
    require(not file.exists(), where, "leaves a file behind for a network that it could not export")
