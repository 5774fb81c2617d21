"""Read weights from files on disk; nothing is downloaded, and all weights must match."""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sertool.errors import UsageError


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Read tensors by key from a .safetensors or torch.save file; raise UsageError if it cannot be read.

    From torch.save files only tensors and plain containers are loaded, never code.
    """
    weights = read_saved(path)
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UsageError(f"{path}: not a dict of weights")
    return weights


def read_saved(path: Path | str) -> Any:
    """Read the content of a .safetensors or torch.save file to the CPU; raise UsageError if it cannot be read."""
    try:
        if Path(path).suffix == ".safetensors":
            from safetensors.torch import load_file  # a dependency of timm and transformers

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except pickle.UnpicklingError:  # torch's own message advises to allow code
        raise UsageError(
            f"{path}: cannot be read: it is damaged or contains more than tensors; no code from it was run"
        ) from None
    except Exception as error:  # zipfile, safetensors and torch raise many kinds of errors for damage
        raise UsageError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from None


def fill(network: nn.Module, weights: dict[str, Tensor], where: Path | str, remedy: str, assign: bool = False) -> None:
    """Load ``weights`` into ``network``; raise UsageError for keys that are missing, unexpected or of another shape."""
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
