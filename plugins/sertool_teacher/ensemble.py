"""The mean of arbitrary members."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sertool.errors import UsageError
from sertool.nn.checkpoint import read_json
from sertool.nn.weights import fill, read_saved
from sertool.plugins import load_plugins
from sertool.runtime import Runtime
from sertool.tasks import TASKS
from sertool.training.kept import digest, is_split

from . import DIMENSIONS
from .checkpoint import Frozen, freeze

KINDS = ("model", "bundle", "run", "crossval")

#: Smallest probability whose logarithm is used.
SMALLEST = 1e-7


class Ensemble(Frozen):
    """Waveform [batch, samples], 16 kHz -> [batch, names]: the unweighted mean of the members' outputs ``names``.

    For classes it is the logarithm of the mean probabilities: logits, as from any categorical network. Each of
    ``members`` is a table: {"model": a registered name, plus options of that model}, {"bundle": a name, a bundle folder
    or an .onnx file}, {"run": a folder of `sertool train`, whose best weights are used} or {"crossval": a folder of
    `sertool crossval`}, where each fold predicts the recordings that it held out. ``shortest`` is the minimum number of
    samples that all members accept. WavLM and Dawn are the teacher of arXiv 2408.13920: 483,943,750 parameters. Raises
    UsageError if a table is invalid or a member lacks one of the outputs, and any error of loading a member.
    """

    def __init__(self, members: list[dict[str, Any]], names: Sequence[str] = DIMENSIONS) -> None:
        super().__init__()
        if not isinstance(members, list) or not members:
            raise UsageError('teacher: members is empty; give tables such as {model = "wavlm", weights = "DIR"}')
        loaded = [_member(table, names) for table in members]
        self.members = nn.ModuleList(loaded)
        self.classes = any(member.classes for member in loaded)
        self.shortest = max(member.shortest for member in loaded)
        self.knows_files = any(member.knows_files for member in loaded)
        freeze(self)

    def forward(self, waveform: Tensor, files: list[Path] | None = None) -> Tensor:
        mean = torch.stack([member(waveform, files).float() for member in self.members]).mean(dim=0)
        return mean.clamp(min=SMALLEST).log() if self.classes else mean


class Member(Frozen):
    """A network [batch, samples] -> [batch, names], of which the outputs ``wanted`` are selected, in that order.

    ``classes``: the outputs are classes, returned as probabilities; ``logits``: the network itself returns logits.
    """

    def __init__(
        self,
        what: str,
        network: nn.Module,
        names: Sequence[str],
        wanted: Sequence[str],
        shortest: int,
        classes: bool,
        logits: bool,
    ) -> None:
        super().__init__()
        lacking = [name for name in wanted if name not in names]
        if lacking:
            raise UsageError(
                f"{what}: outputs {', '.join(names)}, but not {lacking[0]}; it cannot be a teacher's member"
            )
        self.what, self.network, self.shortest, self.count = what, network, shortest, len(names)
        self.classes, self.logits = classes, logits
        self.order = [list(names).index(name) for name in wanted]
        self.knows_files = isinstance(network, Crossfit)

    def forward(self, waveform: Tensor, files: list[Path] | None = None) -> Tensor:
        outputs: Tensor = self.network(waveform, files) if self.knows_files else self.network(waveform)
        if outputs.shape[1] != self.count:
            raise UsageError(f"{self.what}: built with {outputs.shape[1]} outputs, but registered with {self.count}")
        outputs = outputs[:, self.order]
        return torch.softmax(outputs.float(), dim=1) if self.logits else outputs


class Crossfit(nn.Module):
    """The networks of a cross-validation's folds; for classes the logarithm of their mean probabilities.

    A clip of a recording that a fold held out, according to ``files``, is predicted by that fold only: a network is
    overconfident on its training data and would only reproduce the label. Any other recording is predicted by all
    folds. If all folds have the same frozen encoder, it runs once.
    """

    def __init__(self, networks: list[nn.Module], left_out: dict[Path, int], classes: bool) -> None:
        super().__init__()
        self.networks, self.left_out, self.classes = nn.ModuleList(networks), left_out, classes
        split = all(is_split(network) for network in networks)
        self.together = split and len({digest(network.get_submodule("encoder")) for network in networks}) == 1
        if self.together:
            for network in networks[1:]:
                network.encoder = networks[0].encoder

    def forward(self, waveform: Tensor, files: list[Path] | None = None) -> Tensor:
        if self.together:
            states = self.networks[0].get_submodule("encoder")(waveform)
            predictions = torch.stack([network.get_submodule("head")(states) for network in self.networks])
        else:
            predictions = torch.stack([network(waveform) for network in self.networks])
        predictions = torch.softmax(predictions.float(), dim=2) if self.classes else predictions.float()
        mean = predictions.mean(dim=0)
        for place, file in enumerate(files or []):
            if (fold := self.left_out.get(file.resolve())) is not None:
                mean[place] = predictions[fold, place]
        return mean.clamp(min=SMALLEST).log() if self.classes else mean


class ClipByClip(nn.Module):
    """Run a bundle's file, which takes one clip per call, on batches, with onnxruntime on the CPU."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self.runtime = runtime

    def forward(self, waveform: Tensor) -> Tensor:
        outputs = [self.runtime.run(clip) for clip in waveform.float().cpu().numpy()]
        return torch.from_numpy(np.stack(outputs)).to(waveform.device)


def _member(table: dict[str, Any], names: Sequence[str]) -> Member:
    kinds = [kind for kind in KINDS if isinstance(table, dict) and kind in table]
    if len(kinds) != 1 or not isinstance(table[kinds[0]], str):
        raise UsageError(f'teacher: member {table}: write exactly one of {", ".join(KINDS)}, as in {{model = "dawn"}}')
    options = dict(table)
    what = options.pop(kinds[0])
    if kinds == ["model"]:
        return _registered(what, options, f"teacher: member {what!r}", names)
    if options:
        raise UsageError(f"teacher: member {table}: a {kinds[0]} takes no option {next(iter(options))!r}")
    return {"bundle": _bundle, "run": _run, "crossval": _crossval}[kinds[0]](what, names)


def _registered(name: str, options: dict[str, Any], what: str, names: Sequence[str]) -> Member:
    model = load_plugins().get("models", name)
    try:
        network = model.build(**options)
    except TypeError as error:
        raise UsageError(f"{what}: {error}") from None
    shortest, classes = getattr(network, "shortest", model.shortest), TASKS[model.task].has_classes
    return Member(what, network, model.outputs, names, shortest, classes, logits=classes)


def _bundle(name: str, names: Sequence[str]) -> Member:
    runtime = Runtime(name)
    classes = TASKS[runtime.bundle.manifest.task].has_classes
    network, outputs = ClipByClip(runtime), runtime.bundle.outputs
    return Member(f"teacher: bundle {name}", network, outputs, names, runtime.shortest, classes, logits=False)


def _crossval(run: str, names: Sequence[str]) -> Member:
    folders = sorted(path.parent for path in Path(run).glob("fold-*/report.json"))
    if not folders:
        raise UsageError(f"{run}: no finished fold of `sertool crossval`")
    members = [_run(str(folder), names) for folder in folders]
    left_out: dict[Path, int] = {}
    for fold, folder in enumerate(folders):
        root = Path(read_json(folder / "recipe.json")["data"]["root"])
        with open(folder / "rows.csv", newline="", encoding="utf-8") as stream:
            tested = [row["file"] for row in csv.DictReader(stream) if row["part"] == "test"]
        left_out |= {(root / file).resolve(): fold for file in tested}
    first = members[0]
    network = Crossfit([member.network for member in members], left_out, first.logits)
    outputs = load_plugins().get("models", read_json(folders[0] / "recipe.json")["model"]["name"]).outputs
    return Member(f"teacher: {run}", network, outputs, names, first.shortest, first.classes, first.logits)


def _run(run: str, names: Sequence[str]) -> Member:
    folder = Path(run)
    recipe, best = folder / "recipe.json", folder / "best.pt"
    for path in (recipe, best):
        if not path.is_file():
            raise UsageError(f"{path} is missing: not a folder of `sertool train`, or the run has not validated yet")
    model, saved = read_json(recipe).get("model"), read_saved(best)
    if not (isinstance(model, dict) and model.keys() >= {"name", "options"}):
        raise UsageError(f"{recipe}: no model.name and model.options")
    if not (isinstance(saved, dict) and isinstance(saved.get("network"), dict)):
        raise UsageError(f"{best}: not written by `sertool train`")
    # The initial weights of the run are not needed.
    options = {key: value for key, value in model["options"].items() if key != "weights"}
    member = _registered(model["name"], options, f"{recipe}: model {model['name']!r}", names)
    fill(member.network, saved["network"], best, f"it does not belong to {recipe}")
    return member
