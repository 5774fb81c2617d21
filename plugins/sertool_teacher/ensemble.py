"""The mean of any members."""

import csv
from pathlib import Path

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

#: Probability below which a logarithm says no more.
SMALLEST = 1e-7


class Ensemble(Frozen):
    """Waveform [batch, samples], 16 kHz -> [batch, names]: the plain mean of what the members answer under ``names``.

    Of classes it is the mean of probabilities, given as logarithms: logits, as any categorical network. Each of
    ``members`` is a table: {"model": a registered name, and that model's options}, {"bundle": a name, a bundle folder
    or an .onnx file}, {"run": a folder of `sertool train`, whose best weights it takes} or {"crossval": a folder of
    `sertool crossval`}, whose folds answer each for the recordings that it left out. ``shortest`` is the fewest samples
    that all of them take. WavLM and Dawn are the teacher of arXiv 2408.13920: 483,943,750 parameters. Raises
    UsageError if a table is wrong or a member lacks one of the outputs, and what loading it raises.
    """

    def __init__(self, members: list[dict], names=DIMENSIONS):
        super().__init__()
        if not isinstance(members, list) or not members:
            raise UsageError('teacher: members is empty; give tables such as {model = "wavlm", weights = "DIR"}')
        self.members = nn.ModuleList(_member(table, names) for table in members)
        self.classes = any(member.classes for member in self.members)
        self.shortest = max(member.shortest for member in self.members)
        self.knows_files = any(member.knows_files for member in self.members)
        freeze(self)

    def forward(self, waveform: Tensor, files: list[Path] | None = None) -> Tensor:
        mean = torch.stack([member(waveform, files).float() for member in self.members]).mean(dim=0)
        return mean.clamp(min=SMALLEST).log() if self.classes else mean


class Member(Frozen):
    """A network [batch, samples] -> [batch, its own names]; of these ``wanted``, in their order.

    ``classes`` says that these are probabilities; ``logits`` that the network does not give them as such.
    """

    def __init__(self, what: str, network: nn.Module, names, wanted, shortest: int, classes: bool, logits: bool):
        super().__init__()
        lacking = [name for name in wanted if name not in names]
        if lacking:
            raise UsageError(f"{what}: gives {', '.join(names)}, no {lacking[0]}; it cannot be a teacher's member")
        self.what, self.network, self.shortest, self.count = what, network, shortest, len(names)
        self.classes, self.logits = classes, logits
        self.order = [list(names).index(name) for name in wanted]
        self.knows_files = isinstance(network, Crossfit)

    def forward(self, waveform: Tensor, files: list[Path] | None = None) -> Tensor:
        outputs = self.network(waveform, files) if self.knows_files else self.network(waveform)
        if outputs.shape[1] != self.count:
            raise UsageError(f"{self.what}: built with {outputs.shape[1]} outputs, but registered with {self.count}")
        outputs = outputs[:, self.order]
        return torch.softmax(outputs.float(), dim=1) if self.logits else outputs


class Crossfit(nn.Module):
    """The networks of a cross-validation's folds; of classes the mean of their probabilities, as logarithms.

    For a clip of a recording that a fold left out, as ``files`` tell, that fold alone answers: a network is surer of
    what it was fitted on than of anything else, and so would say no more than the label. For any other recording all
    answer. Folds with one and the same frozen encoder run it once.
    """

    def __init__(self, networks: list[nn.Module], left_out: dict[Path, int], classes: bool):
        super().__init__()
        self.networks, self.left_out, self.classes = nn.ModuleList(networks), left_out, classes
        split = all(is_split(network) for network in networks)
        self.together = split and len({digest(network.encoder) for network in networks}) == 1
        if self.together:
            for network in networks[1:]:
                network.encoder = networks[0].encoder

    def forward(self, waveform: Tensor, files: list[Path] | None = None) -> Tensor:
        if self.together:
            states = self.networks[0].encoder(waveform)
            answers = torch.stack([network.head(states) for network in self.networks])
        else:
            answers = torch.stack([network(waveform) for network in self.networks])
        answers = torch.softmax(answers.float(), dim=2) if self.classes else answers.float()
        mean = answers.mean(dim=0)
        for place, file in enumerate(files or []):
            if (fold := self.left_out.get(file.resolve())) is not None:
                mean[place] = answers[fold, place]
        return mean.clamp(min=SMALLEST).log() if self.classes else mean


class ClipByClip(nn.Module):
    """A bundle's file, which takes one clip a call, on batches: through onnxruntime, on the CPU."""

    def __init__(self, runtime: Runtime):
        super().__init__()
        self.runtime = runtime

    def forward(self, waveform: Tensor) -> Tensor:
        outputs = [self.runtime.run(clip) for clip in waveform.float().cpu().numpy()]
        return torch.from_numpy(np.stack(outputs)).to(waveform.device)


def _member(table: dict, names) -> Member:
    kinds = [kind for kind in KINDS if isinstance(table, dict) and kind in table]
    if len(kinds) != 1 or not isinstance(table[kinds[0]], str):
        raise UsageError(f'teacher: member {table}: write exactly one of {", ".join(KINDS)}, as in {{model = "dawn"}}')
    options = dict(table)
    what = options.pop(kinds[0])
    if kinds == ["model"]:
        return _registered(what, options, f"teacher: member {what!r}", names)
    if options:
        raise UsageError(f"teacher: member {table}: a {kinds[0]} takes no {next(iter(options))!r}")
    return {"bundle": _bundle, "run": _run, "crossval": _crossval}[kinds[0]](what, names)


def _registered(name: str, options: dict, what: str, names) -> Member:
    model = load_plugins().get("models", name)
    try:
        network = model.build(**options)
    except TypeError as error:
        raise UsageError(f"{what}: {error}") from None
    shortest, classes = getattr(network, "shortest", model.shortest), TASKS[model.task].has_classes
    return Member(what, network, model.outputs, names, shortest, classes, logits=classes)


def _bundle(name: str, names) -> Member:
    runtime = Runtime(name)
    classes = TASKS[runtime.bundle.manifest["task"]].has_classes
    network, outputs = ClipByClip(runtime), runtime.bundle.outputs
    return Member(f"teacher: bundle {name}", network, outputs, names, runtime.shortest, classes, logits=False)


def _crossval(run: str, names) -> Member:
    folders = sorted(path.parent for path in Path(run).glob("fold-*/report.json"))
    if not folders:
        raise UsageError(f"{run}: no finished fold of `sertool crossval` in it")
    members = [_run(str(folder), names) for folder in folders]
    left_out = {}
    for fold, folder in enumerate(folders):
        root = Path(read_json(folder / "recipe.json")["data"]["root"])
        with open(folder / "rows.csv", newline="", encoding="utf-8") as stream:
            tested = [row["file"] for row in csv.DictReader(stream) if row["part"] == "test"]
        left_out |= {(root / file).resolve(): fold for file in tested}
    first = members[0]
    network = Crossfit([member.network for member in members], left_out, first.logits)
    outputs = load_plugins().get("models", read_json(folders[0] / "recipe.json")["model"]["name"]).outputs
    return Member(f"teacher: {run}", network, outputs, names, first.shortest, first.classes, first.logits)


def _run(run: str, names) -> Member:
    folder = Path(run)
    recipe, best = folder / "recipe.json", folder / "best.pt"
    for path in (recipe, best):
        if not path.is_file():
            raise UsageError(f"{path} is missing: not a folder of `sertool train`, or one that has not validated yet")
    model, saved = read_json(recipe).get("model"), read_saved(best)
    if not (isinstance(model, dict) and model.keys() >= {"name", "options"}):
        raise UsageError(f"{recipe}: no model.name and model.options")
    if not (isinstance(saved, dict) and isinstance(saved.get("network"), dict)):
        raise UsageError(f"{best}: not written by `sertool train`")
    # What the run began with is not needed again.
    options = {key: value for key, value in model["options"].items() if key != "weights"}
    member = _registered(model["name"], options, f"{recipe}: model {model['name']!r}", names)
    fill(member.network, saved["network"], best, f"it does not belong to {recipe}")
    return member
