"""The front end of a network (LogMel, normalisation), and the network without it."""

import copy
from typing import Any

import torch
from torch import nn

from sertool.errors import UsageError
from sertool.features import mel
from sertool.nn.logmel import LogMel
from sertool.nn.normalise import UtteranceNorm


def describe(network: nn.Module) -> dict[str, Any]:
    """Return the front end as in a bundle's manifest.

    {"name": "logmel", "n_fft", "hop", "n_mels", "normalise"} for a network with exactly one LogMel; "normalise" is
    whether it has an UtteranceNorm. {"name": "waveform"} for other networks.
    """
    logmels = [part for part in network.modules() if isinstance(part, LogMel)]
    if len(logmels) != 1:
        return {"name": "waveform"}
    g = logmels[0].geometry
    normalise = any(isinstance(part, UtteranceNorm) for part in network.modules())
    return {"name": "logmel", "n_fft": g.n_fft, "hop": g.hop, "n_mels": g.n_mels, "normalise": normalise}


def without(network: nn.Module) -> nn.Module:
    """Return a copy that takes LogMel frames [batch, frames, n_mels] in dB instead of waveforms.

    Raises UsageError for a network without a LogMel, with several, or with one that the C front end does not implement.
    """
    front = describe(network)
    if front["name"] != "logmel" or mel.GEOMETRIES.get(front["n_fft"]) != mel.Geometry(
        front["n_fft"], front["hop"], front["n_mels"]
    ):
        known = ", ".join(f"n_fft {g.n_fft}, hop {g.hop}, {g.n_mels} mels" for g in mel.GEOMETRIES.values())
        raise UsageError(
            f"--input logmel: {type(network).__name__} has no LogMel that the C front end can compute ({known})"
        )
    network = copy.deepcopy(network)
    for place, part in list(network.named_modules()):
        if isinstance(part, LogMel | UtteranceNorm):
            network.set_submodule(place, nn.Identity())
    return network


def example(frontend: dict[str, Any], form: str, seconds: float = 5.0) -> torch.Tensor:
    """Return zeros of the given length; ``form`` is "waveform" [1, samples] or "logmel" [1, frames, n_mels]."""
    samples = round(seconds * mel.SAMPLE_RATE)
    if form == "waveform":
        return torch.zeros(1, samples)
    return torch.zeros(1, 1 + samples // frontend["hop"], frontend["n_mels"])
