"""Whisper's frozen encoder under heads that are trained: a mix of its layers, attentive pooling, a small network."""

import torch
from torch import Tensor, nn

from sertool.errors import UsageError

from . import encoder as encoders

#: Below this a probability's logarithm says no more.
SMALLEST = 1e-7


class Whisper(nn.Module):
    """Waveform [batch, samples], 16 kHz -> [batch, outputs]: numbers, or logits of classes."""

    def __init__(self, encoder: encoders.Encoder, head: nn.Module):
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, waveform: Tensor) -> Tensor:
        return self.head(self.encoder(waveform))


class Head(nn.Module):
    """Hidden states [batch, tokens, kept, width] -> [batch, outputs]: the mean of ``members``, which begin apart.

    Members see the same clips and answer together in training as well, each with a dropout of its own.
    """

    def __init__(self, width: int, kept: int, outputs: int, members: int, **options):
        super().__init__()
        # Channel by channel, as a few of Whisper's are hundreds of times as large as the rest.
        self.norm = nn.BatchNorm1d(kept * width, affine=False)
        self.members = nn.ModuleList(Member(width, kept, outputs, **options) for _ in range(members))

    def forward(self, states: Tensor) -> Tensor:
        states = self.norm(states.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, states.shape[2:])
        return torch.stack([member(states) for member in self.members]).mean(dim=0)


class Member(nn.Module):
    """Hidden states, normalised, -> [batch, outputs].

    A learnt mix of the kept layers; attentive statistics pooling (Okabe et al. 2018, arXiv 1803.10963), each of
    ``heads`` weighting the tokens for its share of the channels; the mean and deviation through one hidden layer.
    """

    def __init__(
        self,
        width: int,
        kept: int,
        outputs: int,
        heads: int = 4,
        hidden: int = 128,
        attention: int = 64,
        dropout: float = 0.3,
    ):
        super().__init__()
        self.heads = heads
        self.mix = nn.Parameter(torch.zeros(kept))
        self.attend = nn.Sequential(nn.Linear(width, attention), nn.Tanh(), nn.Linear(attention, heads))
        self.norm = nn.BatchNorm1d(2 * width, affine=False)
        self.output = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(2 * width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, outputs),
        )

    def forward(self, states: Tensor) -> Tensor:
        return self.output(self.pooled(states))

    def pooled(self, states: Tensor) -> Tensor:
        """[batch, 2 width]: weighted mean and deviation over the tokens."""
        x = torch.einsum("btkw,k->btw", states, torch.softmax(self.mix, dim=0))
        shares = torch.softmax(self.attend(x), dim=1).transpose(1, 2)[:, :, None]  # [batch, heads, 1, tokens]
        x = x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # [batch, heads, tokens, width / heads]
        mean, power = shares @ x, shares @ x.square()  # [batch, heads, 1, width / heads]
        deviation = (power - mean.square()).clamp(min=0) + 1e-5
        return self.norm(torch.cat([mean.flatten(1), deviation.sqrt().flatten(1)], dim=1))


def build(
    weights: str | None = None,
    size: str = "base",
    layers: int = 4,
    mix: int = 3,
    outputs: int = 3,
    members: int = 1,
    config: dict | None = None,
    **options,
) -> Whisper:
    """The network; with ``weights``, the Hugging Face folder of a published Whisper, its encoder is that one.

    ``size``: tiny, base or small. Of the encoder the first ``layers`` are kept, and the head mixes the outputs of the
    last ``mix`` of them. ``members`` heads are averaged. ``config`` overrides the encoder's sizes, for miniatures;
    ``heads``, ``hidden``, ``attention`` and ``dropout`` are of each member. Raises UsageError as encoder.build, and for
    numbers that do not fit.
    """
    for name, value in (("layers", layers), ("mix", mix), ("outputs", outputs), ("members", members)):
        if type(value) is not int or value < 1:
            raise UsageError(f"whisper: {name} must be a whole number above 0, not {value!r}")
    if mix > layers + 1:
        raise UsageError(f"whisper: mix is at most layers + 1, as the convolutions' output counts, not {mix}")
    encoder = encoders.build(size, list(range(layers - mix + 1, layers + 1)), weights, config)
    if encoder.width % options.get("heads", 4):
        raise UsageError(f"whisper: heads must divide the encoder's width, {encoder.width}")
    return Whisper(encoder, Head(encoder.width, mix, outputs, members, **options))
