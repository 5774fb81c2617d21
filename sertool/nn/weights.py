"""Weights from files: read from disk, never downloaded, and all of them or none."""

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

from sertool.errors import UsageError


def read_weights(path) -> dict[str, Tensor]:
    """Tensors by key from a .safetensors file, or one that torch.save wrote; UsageError if it cannot be read.

    Of the latter only tensors and plain containers are loaded, never code.
    """
    weights = read_saved(path)
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UsageError(f"{path}: not a table of weights")
    return weights


def read_saved(path):
    """What a .safetensors file or torch.save holds, on the CPU; UsageError if it cannot be read."""
    try:
        if Path(path).suffix == ".safetensors":
            from safetensors.torch import load_file  # comes with timm and transformers

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except pickle.UnpicklingError:  # torch would go on to advise what lets it run
        raise UsageError(f"{path}: cannot be read: more than tensors, or damaged; nothing of it was run") from None
    except Exception as error:  # zipfile, safetensors and torch each raise classes of their own for damage
        raise UsageError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from None


def fill(network: nn.Module, weights: dict[str, Tensor], where, remedy: str, assign: bool = False) -> None:
    """Load ``weights`` into ``network``; UsageError names the first key that is missing, left over or misshapen."""
    wanted = network.state_dict()
    faults = {
        "missing": [key for key in wanted if key not in weights],
        "unexpected": [key for key in weights if key not in wanted],
        "misshapen": [
            f"{key}, {list(weights[key].shape)} instead of {list(value.shape)}"
            for key, value in wanted.items()
            if key in weights and weights[key].shape != value.shape
        ],
    }
    for fault, keys in faults.items():
        if keys:
            raise UsageError(f"{where}: {len(keys)} {fault} weights, the first: {keys[0]}; {remedy}")
    network.load_state_dict(weights, assign=assign)
