"""The Wav2Small network (Kounadis-Bastian et al., arXiv 2408.13920)."""

from typing import Any

import torch
from torch import Tensor, nn

from sertool.errors import UsageError
from sertool.features import mel
from sertool.nn import LogMel, Positions, SoftmaxPool, TransformerLayer, UtteranceNorm

CHANNELS = 13


class Tokens(nn.Module):
    """Waveform [batch, samples], 16 kHz, at least 33 samples -> [batch, tokens, width]: 250 per second, 169 wide.

    ``centre`` subtracts the mean of each mel filter over the recording, which removes microphone and room. ``n_fft``,
    ``hop`` and ``n_mels`` are options of the LogMel, for ablations: other windows need n_fft // 2 + 1 samples and only
    run in onnxruntime. Raises UsageError for invalid LogMel options.
    """

    def __init__(
        self,
        centre: bool = False,
        n_fft: int = 64,
        hop: int | None = None,
        n_mels: int | None = None,
    ) -> None:
        super().__init__()
        self.centre = centre
        self.normalise = UtteranceNorm()
        try:
            self.logmel = LogMel(mel.chosen(n_fft, hop, n_mels))
        except ValueError as error:
            raise UsageError(f"wav2small: {error}") from None
        self.shortest = self.logmel.geometry.shortest
        self.fine = nn.Sequential(convolve(1), convolve(), convolve())
        self.shrink = nn.MaxPool2d(3, stride=2, padding=1)
        self.coarse = nn.Sequential(convolve(), convolve(), convolve(), convolve())
        self.mix = nn.Conv2d(CHANNELS, CHANNELS, kernel_size=1)
        self.width = CHANNELS * ((self.logmel.geometry.n_mels - 1) // 2 + 1)  # 13 channels x 13 mel rows = 169

    def forward(self, waveform: Tensor) -> Tensor:
        return self.tokens(waveform)

    def tokens(self, waveform: Tensor) -> Tensor:
        """Return [batch, tokens, width]."""
        x = self.logmel(self.normalise(waveform))[:, None]  # [batch, 1, frames, 26]
        if self.centre:
            x = x - x.mean(dim=2, keepdim=True)
        x = self.mix(self.coarse(self.shrink(self.fine(x))))  # [batch, 13, tokens, 13]
        # Reshaped without a transpose: a row holds 13 neighbouring tokens of one channel.
        tokens: Tensor = x.reshape(x.shape[0], x.shape[2], self.width)
        return tokens


class Wav2Small(Tokens):
    """Waveform [batch, samples], 16 kHz, at least 33 samples -> [batch, outputs].

    72,659 parameters, of which 67,577 are trained; the rest is the frozen LogMel basis. ``options`` as for Tokens.
    """

    def __init__(self, outputs: int = 3, **options: Any) -> None:
        super().__init__(**options)
        self.pool = SoftmaxPool(self.width)
        self.head = nn.Linear(self.width, outputs)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.answer(self.embedding(waveform))

    def embedding(self, waveform: Tensor) -> Tensor:
        """Return the pooled tokens, [batch, width]."""
        return self.embedding_and_tokens(waveform)[0]

    def embedding_and_tokens(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pooled tokens [batch, width] and the tokens [batch, tokens, width]."""
        tokens = self.tokens(waveform)
        return self.pool(tokens), tokens

    def answer(self, embedding: Tensor) -> Tensor:
        """Return [batch, outputs] for [batch, width]."""
        outputs: Tensor = self.head(embedding)
        return outputs


class Transformer(nn.Module):
    """Waveform [batch, samples], 16 kHz, 33 samples to 30 s -> [batch, outputs]: layers on Wav2Small's tokens.

    The future work of arXiv 2408.13920: Wav2Small's convolutions replace Wav2Vec2's, which take as long as six layers.
    Each ``stride`` neighbouring tokens are averaged: 5 give 50 tokens per second, as in Wav2Vec2, 1 keeps all 250.
    ``extractor`` holds options of Tokens. ``forward`` raises ValueError for longer clips.
    """

    longest = 30 * mel.SAMPLE_RATE

    def __init__(
        self,
        outputs: int = 3,
        layers: int = 4,
        width: int = 192,
        heads: int = 4,
        stride: int = 5,
        extractor: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("layers", layers), ("width", width), ("heads", heads), ("stride", stride)):
            if type(value) is not int or value < 1:
                raise UsageError(f"wav2small-transformer: {name} must be a whole number above 0, not {value!r}")
        if width % (2 * heads):
            raise UsageError(f"wav2small-transformer: width {width} must be a multiple of twice the heads, 2 * {heads}")
        self.extractor = Tokens(**(extractor or {}))
        self.shortest = self.extractor.shortest
        self.stride = nn.AvgPool1d(stride, ceil_mode=True)
        self.project = nn.Sequential(nn.Linear(self.extractor.width, width), nn.LayerNorm(width))
        most = -(-(self.longest // (2 * self.extractor.logmel.geometry.hop) + 1) // stride)
        self.positions = Positions(most, width)
        self.layers = nn.Sequential(*(TransformerLayer(width, heads, 4 * width) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.pool = SoftmaxPool(width)
        self.head = nn.Linear(width, outputs)

    def forward(self, waveform: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() and waveform.shape[1] > self.longest:
            raise ValueError(f"Transformer takes at most {self.longest} samples, not {waveform.shape[1]}")
        outputs: Tensor = self.head(self.pool(self.norm(self.layers(self.tokens(waveform)))))
        return outputs

    def tokens(self, waveform: Tensor) -> Tensor:
        """Return the input of the layers, [batch, tokens, width]."""
        x = self.stride(self.extractor(waveform).transpose(1, 2)).transpose(1, 2)
        tokens: Tensor = self.positions(self.project(x))
        return tokens


def convolve(channels: int = CHANNELS) -> nn.Sequential:
    """Return a 3x3 convolution without bias, BatchNorm and ReLU; 13 output channels, same size."""
    return nn.Sequential(
        nn.Conv2d(channels, CHANNELS, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(CHANNELS), nn.ReLU()
    )
