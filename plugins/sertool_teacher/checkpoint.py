"""Checkpoint folders as Hugging Face publishes them: read from disk, never downloaded, loaded whole or not at all."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from sertool.errors import UsageError
from sertool.nn.weights import fill
from sertool.nn.weights import read_weights as file_weights

from . import DIMENSIONS

CONFIG = "config.json"
PUBLISHED_OUTPUTS = {str(number): name for number, name in enumerate(DIMENSIONS)}

#: Where the weights may be, the safe format first. An index lists the files that they are split over.
FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

#: torch.nn.utils.weight_norm's names, in checkpoints of before 2023, to those of torch.nn.utils.parametrizations.
WEIGHT_NORM = {
    "pos_conv_embed.conv.weight_g": "pos_conv_embed.conv.parametrizations.weight.original0",
    "pos_conv_embed.conv.weight_v": "pos_conv_embed.conv.parametrizations.weight.original1",
}

#: Keys of a transformers configuration that decide what the encoder computes and which weights it has.
ENCODER = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "layer_norm_eps",
    "do_stable_layer_norm",
    "feat_extract_norm",
    "feat_extract_activation",
    "conv_dim",
    "conv_kernel",
    "conv_stride",
    "conv_bias",
    "num_conv_pos_embeddings",
    "num_conv_pos_embedding_groups",
    "mask_time_prob",  # above 0, the weights hold masked_spec_embed; SpecAugment itself is off
    "mask_feature_prob",
)

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

    UsageError if ``config`` has a key that ``settings`` has not or transformers refuses a value, or of ``read_weights``
    and ``fill``.
    """
    for key in config or {}:
        if key not in settings:
            raise UsageError(f"config: there is no {key!r} (there are: {', '.join(settings)})")
    settings = settings | (config or {})
    # On the meta device a network costs neither memory nor the time for random weights that are not kept.
    with torch.device("meta") if folder else contextlib.nullcontext():
        try:
            network = create(settings)
        except Exception as error:  # transformers raises a class of its own for each kind of check
            where = folder / CONFIG if folder else "config"
            raise UsageError(f"{where}: transformers refuses it ({_line(error)})") from None
    if folder:
        published = read_weights(folder, repo)
        weights = {_modern(key, published): value.float() for key, value in published.items()}
        fill(network, weights, folder, f"is this {repo}, whole?", assign=True)
    return freeze(network)


def read_config(folder: Path, repo: str, model_type: str) -> dict:
    """config.json of a published folder; UsageError if it is not there or of another model.

    Outputs that it names must be arousal, dominance, valence, in this order.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise _missing(path, repo)
    config = read_json(path)
    outputs = config.get("id2label", PUBLISHED_OUTPUTS)
    if config.get("model_type") != model_type or outputs != PUBLISHED_OUTPUTS:
        raise UsageError(
            f"{path}: model_type {config.get('model_type')!r} with outputs {outputs}, "
            f"not {model_type!r} with {PUBLISHED_OUTPUTS}; give the folder of {repo}"
        )
    return config


def read_weights(folder: Path, repo: str) -> dict[str, Tensor]:
    """All tensors of a folder, by key, from the first of FILES that is there; UsageError names what is wrong."""
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        raise _missing(folder / "model.safetensors", repo, "(or pytorch_model.bin) ")
    if path.suffix != ".json":
        return file_weights(path)
    index = read_json(path).get("weight_map")
    if not isinstance(index, dict) or not index:
        raise UsageError(f"{path}: no 'weight_map'; download it again")
    weights = {}
    for name in sorted(set(map(str, index.values()))):
        if not (folder / name).is_file():
            raise _missing(folder / name, repo)
        weights |= file_weights(folder / name)
    return weights


def read_json(path: Path) -> dict:
    """The table in a JSON file; UsageError if there is none."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error})") from None
    if not isinstance(table, dict):
        raise UsageError(f"{path}: not a JSON object")
    return table


def _modern(key: str, weights: dict[str, Tensor]) -> str:
    """The key in today's spelling; as it is, and so left over, if ``weights`` hold that too."""
    for old, new in WEIGHT_NORM.items():
        if key.endswith(old) and (modern := key.removesuffix(old) + new) not in weights:
            return modern
    return key


def _missing(path: Path, repo: str, otherwise: str = "") -> UsageError:
    return UsageError(
        f"{path} {otherwise}is missing; download {repo} from Hugging Face first: "
        f"hf download {repo} --local-dir {path.parent}"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
