"""Learnable pooling over time."""

import torch
from torch import Tensor, nn


class SoftmaxPool(nn.Module):
    """Sum over tokens of softmax(sof(x)) * lin(x); the softmax is over tokens, per channel.

    Input [batch, tokens, width], any number of tokens; output [batch, width]. From Wav2Small (arXiv 2408.13920).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sof = nn.Linear(width, width)
        self.lin = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        weighted: Tensor = torch.softmax(self.sof(tokens), dim=1) * self.lin(tokens)
        return weighted.sum(dim=1)
