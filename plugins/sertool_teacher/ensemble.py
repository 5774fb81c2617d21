"""The mean of any members."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sertool.errors import UsageError
from sertool.nn.weights import fill, read_saved
from sertool.plugins import load_plugins
from sertool.runtime import Runtime

from . import DIMENSIONS
from .checkpoint import Frozen, freeze, read_json

KINDS = ("model", "bundle", "run")


class Ensemble(Frozen):
    """Waveform [batch, samples], 16 kHz -> [batch, 3]: the plain mean of the members' arousal, dominance and valence.

    Each of ``members`` is a table: {"model": a registered name, and that model's options}, {"bundle": a name, a bundle
    folder or an .onnx file} or {"run": a folder of `sertool train`, whose best weights it takes}. ``shortest`` is the
    fewest samples that all of them take. WavLM and Dawn are the teacher of arXiv 2408.13920: 483,943,750 parameters.
    Raises UsageError if a table is wrong or a member lacks one of the three outputs, and what loading it raises.
    """

    def __init__(self, members: list[dict]):
        super().__init__()
        if not isinstance(members, list) or not members:
            raise UsageError('teacher: members is empty; give tables such as {model = "wavlm", weights = "DIR"}')
        self.members = nn.ModuleList(map(_member, members))
        self.shortest = max(member.shortest for member in self.members)
        freeze(self)

    def forward(self, waveform: Tensor) -> Tensor:
        return torch.stack([member(waveform).float() for member in self.members]).mean(dim=0)


class Member(Frozen):
    """A network [batch, samples] -> [batch, names], its outputs put into the order arousal, dominance, valence."""

    def __init__(self, what: str, network: nn.Module, names, shortest: int):
        super().__init__()
        lacking = [name for name in DIMENSIONS if name not in names]
        if lacking:
            raise UsageError(f"{what}: gives {', '.join(names)}, no {lacking[0]}; it cannot be a teacher's member")
        self.what, self.network, self.shortest, self.count = what, network, shortest, len(names)
        self.order = [list(names).index(name) for name in DIMENSIONS]

    def forward(self, waveform: Tensor) -> Tensor:
        outputs = self.network(waveform)
        if outputs.shape[1] != self.count:
            raise UsageError(f"{self.what}: built with {outputs.shape[1]} outputs, but registered with {self.count}")
        return outputs[:, self.order]


class ClipByClip(nn.Module):
    """A bundle's file, which takes one clip a call, on batches: through onnxruntime, on the CPU."""

    def __init__(self, runtime: Runtime):
        super().__init__()
        self.runtime = runtime

    def forward(self, waveform: Tensor) -> Tensor:
        outputs = [self.runtime.run(clip) for clip in waveform.float().cpu().numpy()]
        return torch.from_numpy(np.stack(outputs)).to(waveform.device)


def _member(table: dict) -> Member:
    kinds = [kind for kind in KINDS if isinstance(table, dict) and kind in table]
    if len(kinds) != 1 or not isinstance(table[kinds[0]], str):
        raise UsageError(f'teacher: member {table}: write exactly one of {", ".join(KINDS)}, as in {{model = "dawn"}}')
    options = dict(table)
    what = options.pop(kinds[0])
    if kinds == ["model"]:
        return _registered(what, options, f"teacher: member {what!r}")
    if options:
        raise UsageError(f"teacher: member {table}: a {kinds[0]} takes no {next(iter(options))!r}")
    return _bundle(what) if kinds == ["bundle"] else _run(Path(what))


def _registered(name: str, options: dict, what: str) -> Member:
    model = load_plugins().get("models", name)
    try:
        network = model.build(**options)
    except TypeError as error:
        raise UsageError(f"{what}: {error}") from None
    return Member(what, network, model.outputs, getattr(network, "shortest", model.shortest))


def _bundle(name: str) -> Member:
    runtime = Runtime(name)
    return Member(f"teacher: bundle {name}", ClipByClip(runtime), runtime.bundle.outputs, runtime.shortest)


def _run(folder: Path) -> Member:
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
    member = _registered(model["name"], options, f"{recipe}: model {model['name']!r}")
    fill(member.network, saved["network"], best, f"it does not belong to {recipe}")
    return member
