"""What a network computes of a waveform before its first layer, and the network without that."""

import copy

import torch
from torch import nn

from sertool.errors import UsageError
from sertool.features import mel
from sertool.nn.logmel import LogMel
from sertool.nn.normalise import UtteranceNorm


def describe(network: nn.Module) -> dict:
    """The front end as a bundle names it.

    {"name": "logmel", "n_fft", "hop", "n_mels", "normalise"} for a network of one LogMel, "normalise" telling whether
    an UtteranceNorm comes before it; else {"name": "waveform"}.
    """
    found = [part for part in network.modules() if isinstance(part, LogMel)]
    if len(found) != 1:
        return {"name": "waveform"}
    g = found[0].geometry
    normalise = any(isinstance(part, UtteranceNorm) for part in network.modules())
    return {"name": "logmel", "n_fft": g.n_fft, "hop": g.hop, "n_mels": g.n_mels, "normalise": normalise}


def without(network: nn.Module) -> nn.Module:
    """A copy that takes LogMel frames [batch, frames, n_mels] in dB in place of waveforms.

    UsageError for a network without a LogMel, with several, or with one that the C front-end does not have.
    """
    found = describe(network)
    if found["name"] != "logmel" or mel.GEOMETRIES.get(found["n_fft"]) != mel.Geometry(
        found["n_fft"], found["hop"], found["n_mels"]
    ):
        known = ", ".join(f"n_fft {g.n_fft}, hop {g.hop}, {g.n_mels} mels" for g in mel.GEOMETRIES.values())
        raise UsageError(
            f"--input logmel: {type(network).__name__} has no LogMel that the C front-end can take over ({known})"
        )
    network = copy.deepcopy(network)
    for place, part in list(network.named_modules()):
        if isinstance(part, LogMel | UtteranceNorm):
            network.set_submodule(place, nn.Identity())
    return network


def example(frontend: dict, form: str, seconds: float = 5.0) -> torch.Tensor:
    """Zeros of so many seconds in the ``form`` "waveform" [1, samples] or "logmel" [1, frames, n_mels]."""
    samples = round(seconds * mel.SAMPLE_RATE)
    if form == "waveform":
        return torch.zeros(1, samples)
    return torch.zeros(1, 1 + samples // frontend["hop"], frontend["n_mels"])
