"""The teachers' published folders: frozen networks with the outputs arousal, dominance, valence."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from sertool.errors import UsageError
from sertool.nn import checkpoint
from sertool.nn.checkpoint import CONFIG, construct, load, override, read_weights

from . import DIMENSIONS

PUBLISHED_OUTPUTS = {str(number): name for number, name in enumerate(DIMENSIONS)}

#: Of wavlm-large and wav2vec2-large-robust alike, where they differ from transformers' defaults.
LARGE = {
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
}


class Frozen(nn.Module):
    """A network that only infers: ``train`` leaves it in eval mode, so that its outputs depend on nothing else."""

    def train(self, mode: bool = True) -> "Frozen":
        return super().train(False)


def freeze(network: nn.Module) -> nn.Module:
    """The network, in eval mode and with no gradient."""
    return network.eval().requires_grad_(False)


def assemble(create: Callable[[dict], nn.Module], settings: dict, config: dict | None, folder: Path | None, repo: str):
    """A frozen network of ``settings`` that ``config`` overrides: random, or with all the weights in ``folder``.

    UsageError of ``override``, ``construct``, ``read_weights`` and ``load``.
    """
    settings = override(settings, config)
    network = construct(lambda: create(settings), folder)
    if folder:
        load(network, read_weights(folder, repo), folder, repo)
    return freeze(network)


def read_config(folder: Path, repo: str, model_type: str) -> dict:
    """config.json of a published folder; UsageError if it is not there or of another model.

    Outputs that it names must be arousal, dominance, valence, in this order.
    """
    config = checkpoint.read_config(folder, repo)
    outputs = config.get("id2label", PUBLISHED_OUTPUTS)
    if config.get("model_type") != model_type or outputs != PUBLISHED_OUTPUTS:
        raise UsageError(
            f"{folder / CONFIG}: model_type {config.get('model_type')!r} with outputs {outputs}, "
            f"not {model_type!r} with {PUBLISHED_OUTPUTS}; give the folder of {repo}"
        )
    return config
