"""Utterance normalisation as part of the network."""

import torch
from torch import Tensor, nn


class UtteranceNorm(nn.Module):
    """Normalise each clip to zero mean and unit variance: x -= mean, x /= sqrt(mean(x * x) + 1e-7) (docs/numerics.md).

    Input and output [batch, samples]. Removes the recording level; silence stays silent.
    """

    def forward(self, waveform: Tensor) -> Tensor:
        centred = waveform - waveform.mean(dim=-1, keepdim=True)
        return centred / torch.sqrt((centred * centred).mean(dim=-1, keepdim=True) + 1e-7)
