"""Read checkpoint folders in Hugging Face format from disk; nothing is downloaded, and all weights must match."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sertool.errors import UsageError
from sertool.nn.weights import fill
from sertool.nn.weights import read_weights as file_weights

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"

#: Files of the weights, the safe format first. An index lists the files that the weights are split over.
FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

#: Names of torch.nn.utils.weight_norm, in checkpoints from before 2023 -> of torch.nn.utils.parametrizations.
WEIGHT_NORM = {
    "pos_conv_embed.conv.weight_g": "pos_conv_embed.conv.parametrizations.weight.original0",
    "pos_conv_embed.conv.weight_v": "pos_conv_embed.conv.parametrizations.weight.original1",
}

#: Keys of transformers' speech configurations that determine the encoder's computation and weights.
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
    "mask_time_prob",  # above 0, the weights include masked_spec_embed; SpecAugment itself is off
    "mask_feature_prob",
)


def override(settings: dict[str, Any], config: dict[str, Any] | None) -> dict[str, Any]:
    """Return ``settings`` updated with ``config``; raise UsageError for keys that ``settings`` lacks."""
    for key in config or {}:
        if key not in settings:
            raise UsageError(f"config: no key {key!r} (there are: {', '.join(settings)})")
    return settings | (config or {})


def construct(create: Callable[[], nn.Module], folder: Path | None) -> nn.Module:
    """Return ``create()``: with random weights, or on the meta device if ``folder`` is given (see ``load``).

    Raises UsageError if transformers rejects its configuration, which is the folder's or the option ``config``.
    """
    # On the meta device, random weights that ``load`` replaces cost neither memory nor time.
    with torch.device("meta") if folder else contextlib.nullcontext():
        try:
            return create()
        except Exception as error:  # transformers raises many kinds of errors
            where = folder / CONFIG if folder else "config"
            raise UsageError(f"{where}: transformers rejects it ({_line(error)})") from None


def load(network: nn.Module, weights: dict[str, Tensor], folder: Path, repo: str) -> None:
    """Load all of a folder's ``weights`` into ``network``, as float32; raises UsageError as ``fill``."""
    weights = {_modern(key, weights): value.float() for key, value in weights.items()}
    fill(network, weights, folder, f"check that this is a complete copy of {repo}", assign=True)


def read_config(folder: Path, repo: str) -> dict[str, Any]:
    """Read config.json of a published folder; raise UsageError if it is missing."""
    path = folder / CONFIG
    if not path.is_file():
        raise _missing(path, repo)
    return read_json(path)


def read_weights(folder: Path, repo: str) -> dict[str, Tensor]:
    """Read all tensors of a folder, by key, from the first existing file of FILES; raise UsageError if that fails."""
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        raise _missing(folder / "model.safetensors", repo, "(or pytorch_model.bin) ")
    if path.suffix != ".json":
        return file_weights(path)
    index = read_json(path).get("weight_map")
    if not isinstance(index, dict) or not index:
        raise UsageError(f"{path}: no 'weight_map'; download it again")
    weights: dict[str, Tensor] = {}
    for name in sorted(set(map(str, index.values()))):
        if name != Path(name).name or name in ("", ".", ".."):
            raise UsageError(f"{path}: {name!r} is not the name of a file in the same folder")
        if not (folder / name).is_file():
            raise _missing(folder / name, repo)
        weights |= file_weights(folder / name)
    return weights


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file; raise UsageError if that fails."""
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
    """Return the current name of a key; the key itself, which ``fill`` rejects, if ``weights`` have that name too."""
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
