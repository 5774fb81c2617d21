"""Whisper's frozen encoder with trained heads: a mix of its layers, attentive pooling, a small network."""

from typing import Any

import torch
from torch import Tensor, nn

from sertool.errors import UsageError

from . import encoder as encoders

#: Smallest probability whose logarithm is used.
SMALLEST = 1e-7


class Whisper(nn.Module):
    """Waveform [batch, samples], 16 kHz -> [batch, outputs]: values, or logits of classes."""

    def __init__(self, encoder: encoders.Encoder, head: "Head") -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, waveform: Tensor) -> Tensor:
        return self.answer(self.embedding(waveform))

    def embedding(self, waveform: Tensor) -> Tensor:
        """Return the normalised pooled states of all members side by side, [batch, members * 2 * width]."""
        pooled: Tensor = self.head.pooled(self.encoder(waveform))
        return pooled

    def answer(self, embedding: Tensor) -> Tensor:
        """Return [batch, outputs] for an embedding."""
        outputs: Tensor = self.head.answer(embedding)
        return outputs


class Head(nn.Module):
    """Hidden states [batch, tokens, kept, width] -> [batch, outputs]: the mean of ``members``.

    Members differ in their initial weights. In training too, they get the same clips and their outputs are averaged;
    each has its own dropout.
    """

    def __init__(self, width: int, kept: int, outputs: int, members: int, **options: Any) -> None:
        super().__init__()
        # Normalise each channel: a few of Whisper's channels are hundreds of times as large as the others.
        self.norm = nn.BatchNorm1d(kept * width, affine=False)
        self.members = nn.ModuleList(Member(width, kept, outputs, **options) for _ in range(members))

    def forward(self, states: Tensor) -> Tensor:
        return self.answer(self.pooled(states))

    def pooled(self, states: Tensor) -> Tensor:
        """Return the pooled states of each member side by side, [batch, members * 2 * width]."""
        states = self.norm(states.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, states.shape[2:])
        pooled = [member.pooled(states) for member in self._members]
        return torch.cat(pooled, dim=1)

    def answer(self, pooled: Tensor) -> Tensor:
        """Return the mean of the members' outputs, [batch, outputs]."""
        parts = pooled.chunk(len(self.members), dim=1)
        return torch.stack([member(part) for member, part in zip(self._members, parts, strict=True)]).mean(dim=0)

    @property
    def _members(self) -> list["Member"]:
        return [member for member in self.members if isinstance(member, Member)]


class Member(nn.Module):
    """Normalised hidden states -> [batch, outputs].

    A learned mix of the kept layers; attentive statistics pooling (Okabe et al. 2018, arXiv 1803.10963), where each of
    ``heads`` weights the tokens for its share of the channels; one hidden layer on mean and deviation.
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
    ) -> None:
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

    def forward(self, pooled: Tensor) -> Tensor:
        outputs: Tensor = self.output(pooled)
        return outputs

    def pooled(self, states: Tensor) -> Tensor:
        """Return [batch, 2 * width]: weighted mean and deviation over the tokens."""
        x = torch.einsum("btkw,k->btw", states, torch.softmax(self.mix, dim=0))
        shares = torch.softmax(self.attend(x), dim=1).transpose(1, 2)[:, :, None]  # [batch, heads, 1, tokens]
        # [batch, heads, tokens, width / heads]
        x = x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]  # not annotated in torch
        mean, power = shares @ x, shares @ x.square()  # [batch, heads, 1, width / heads]
        deviation = (power - mean.square()).clamp(min=0) + 1e-5
        pooled: Tensor = self.norm(torch.cat([mean.flatten(1), deviation.sqrt().flatten(1)], dim=1))
        return pooled


def build(
    weights: str | None = None,
    size: str = "base",
    layers: int = 4,
    mix: int = 3,
    outputs: int = 3,
    members: int = 1,
    config: dict[str, Any] | None = None,
    **options: Any,
) -> Whisper:
    """Build the network; ``weights`` is the Hugging Face folder of a published Whisper, whose encoder is used.

    ``size``: tiny, base or small. The first ``layers`` of the encoder are kept, and the head mixes the outputs of the
    last ``mix`` of them. ``members`` heads are averaged. ``config`` overrides the encoder's sizes, for small test
    networks; ``heads``, ``hidden``, ``attention`` and ``dropout`` are options of each member. Raises UsageError for the
    same reasons as encoder.build, and for invalid numbers.
    """
    for name, value in (("layers", layers), ("mix", mix), ("outputs", outputs), ("members", members)):
        if type(value) is not int or value < 1:
            raise UsageError(f"whisper: {name} must be a whole number above 0, not {value!r}")
    if mix > layers + 1:
        raise UsageError(f"whisper: mix must be at most layers + 1 (layers and the convolutions' output), not {mix}")
    encoder = encoders.build(size, list(range(layers - mix + 1, layers + 1)), weights, config)
    if encoder.width % options.get("heads", 4):
        raise UsageError(f"whisper: heads must divide the encoder's width, {encoder.width}")
    return Whisper(encoder, Head(encoder.width, mix, outputs, members, **options))
