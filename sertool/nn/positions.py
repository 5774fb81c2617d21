"""Position embeddings of Whisper's encoder."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn


class Positions(nn.Module):
    """Add the first rows of a frozen table to tokens [batch, tokens, width]; at most ``longest`` tokens."""

    def __init__(self, longest: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(sinusoids(longest, width)), requires_grad=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.weight[: tokens.shape[1]]


def sinusoids(longest: int, width: int) -> npt.NDArray[np.float32]:
    """Return float32 [longest, width]: half sines, half cosines, wavelengths 2 pi to 20,000 pi, rounded to 16 bits.

    Bit-identical to the table of the published Whisper models (arXiv 2212.04356; Vaswani et al. 2017, section 3.5).
    """
    rates = np.exp(-np.log(10_000) / (width // 2 - 1) * np.arange(width // 2))
    angles = np.arange(longest)[:, None] * rates
    return (
        np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        .astype(np.float32)
        .astype(np.float16)
        .astype(np.float32)
    )
