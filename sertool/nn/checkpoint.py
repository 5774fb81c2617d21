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

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"

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

#: Keys of transformers' speech configurations that decide what the encoder computes and which weights it has.
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


def override(settings: dict, config: dict | None) -> dict:
    """``settings`` with the values of ``config``; UsageError if that has a key that ``settings`` has not."""
    for key in config or {}:
        if key not in settings:
            raise UsageError(f"config: there is no {key!r} (there are: {', '.join(settings)})")
    return settings | (config or {})


def construct(create: Callable[[], nn.Module], folder: Path | None) -> nn.Module:
    """What ``create()`` returns: with random weights, or without any where ``folder`` has them (see ``load``).

    UsageError if transformers refuses a value of its configuration, which is the folder's or the option ``config``.
    """
    # On the meta device a network costs neither memory nor the time for random weights that are not kept.
    with torch.device("meta") if folder else contextlib.nullcontext():
        try:
            return create()
        except Exception as error:  # transformers raises a class of its own for each kind of check
            where = folder / CONFIG if folder else "config"
            raise UsageError(f"{where}: transformers refuses it ({_line(error)})") from None


def load(network: nn.Module, weights: dict[str, Tensor], folder: Path, repo: str) -> None:
    """Put all of a folder's ``weights`` into ``network``, as float32; UsageError as ``fill`` raises it."""
    weights = {_modern(key, weights): value.float() for key, value in weights.items()}
    fill(network, weights, folder, f"is this {repo}, whole?", assign=True)


def read_config(folder: Path, repo: str) -> dict:
    """config.json of a published folder; UsageError if it is not there."""
    path = folder / CONFIG
    if not path.is_file():
        raise _missing(path, repo)
    return read_json(path)


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
        if name != Path(name).name or name in ("", ".", ".."):
            raise UsageError(f"{path}: {name!r} is not a name of a file beside it")
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
