"""Load the teachers' published folders: frozen networks with the outputs arousal, dominance, valence."""

from pathlib import Path
from typing import Any, Self, TypeVar

from torch import nn

from sertool.errors import UsageError
from sertool.nn import checkpoint
from sertool.nn.checkpoint import CONFIG, construct, load, override, read_weights

from . import DIMENSIONS

PUBLISHED_OUTPUTS = {str(number): name for number, name in enumerate(DIMENSIONS)}

#: Settings of both wavlm-large and wav2vec2-large-robust that differ from transformers' defaults.
LARGE = {
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
}


_Network = TypeVar("_Network", bound=nn.Module)


class Frozen(nn.Module):
    """A network for inference only: ``train`` leaves it in eval mode, so that its outputs are deterministic."""

    def train(self, mode: bool = True) -> Self:
        return super().train(False)


def freeze(network: _Network) -> _Network:
    """Return the network in eval mode and without gradients."""
    return network.eval().requires_grad_(False)


def assemble(
    kind: type[_Network],
    settings: dict[str, Any],
    config: dict[str, Any] | None,
    folder: Path | None,
    repo: str,
) -> _Network:
    """Create a frozen ``kind`` from ``settings`` overridden by ``config``: random, or with the weights in ``folder``.

    Raises UsageError as ``override``, ``construct``, ``read_weights`` and ``load`` do.
    """
    settings = override(settings, config)
    network = construct(lambda: kind(settings), folder)
    assert isinstance(network, kind)
    if folder:
        load(network, read_weights(folder, repo), folder, repo)
    return freeze(network)


def read_config(folder: Path, repo: str, model_type: str) -> dict[str, Any]:
    """Read config.json of a published folder. Raises UsageError if it is missing or belongs to another model.

    If it names outputs, they must be arousal, dominance, valence, in this order.
    """
    config = checkpoint.read_config(folder, repo)
    outputs = config.get("id2label", PUBLISHED_OUTPUTS)
    if config.get("model_type") != model_type or outputs != PUBLISHED_OUTPUTS:
        raise UsageError(
            f"{folder / CONFIG}: model_type {config.get('model_type')!r} with outputs {outputs}, "
            f"not {model_type!r} with {PUBLISHED_OUTPUTS}; give the folder of {repo}"
        )
    return config
