"""The Wav2Small network (Kounadis-Bastian et al., arXiv 2408.13920)."""

import torch
from torch import Tensor, nn

from sertool.errors import UsageError
from sertool.features import mel
from sertool.nn import LogMel, Positions, SoftmaxPool, TransformerLayer, UtteranceNorm

CHANNELS = 13


class Tokens(nn.Module):
    """Waveform [batch, samples], 16 kHz, at least 33 samples -> [batch, tokens, width]: 250 a second, of 169 values.

    ``centre`` subtracts each mel filter's mean over the recording, which takes away microphone and room. ``n_fft``,
    ``hop`` and ``n_mels`` are those of the LogMel, for ablations: another window takes n_fft // 2 + 1 samples, and runs
    in onnxruntime alone. UsageError for numbers that are no LogMel.
    """

    def __init__(
        self,
        centre: bool = False,
        n_fft: int = 64,
        hop: int | None = None,
        n_mels: int | None = None,
    ):
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
        """[batch, tokens, width]."""
        x = self.logmel(self.normalise(waveform))[:, None]  # [batch, 1, frames, 26]
        if self.centre:
            x = x - x.mean(dim=2, keepdim=True)
        x = self.mix(self.coarse(self.shrink(self.fine(x))))  # [batch, 13, tokens, 13]
        # As it lies in memory, without a transpose: a row holds 13 neighbouring tokens of one channel.
        return x.reshape(x.shape[0], x.shape[2], self.width)


class Wav2Small(Tokens):
    """Waveform [batch, samples], 16 kHz, at least 33 samples -> [batch, outputs].

    72,659 parameters, of which 67,577 are trained; the rest is the frozen LogMel basis. Options are those of Tokens.
    """

    def __init__(self, outputs: int = 3, **options):
        super().__init__(**options)
        self.pool = SoftmaxPool(self.width)
        self.head = nn.Linear(self.width, outputs)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.head(self.pool(self.tokens(waveform)))


class Transformer(nn.Module):
    """Waveform [batch, samples], 16 kHz, 33 samples to 30 s -> [batch, outputs]: layers on Wav2Small's tokens.

    What arXiv 2408.13920 names as its future purpose: Wav2Small's convolutions in place of Wav2Vec2's, which take as
    long as six layers. Of ``stride`` neighbouring tokens the mean is one: 5 make 50 a second, as many as Wav2Vec2's, 1
    keeps all 250. ``extractor`` are options of Tokens. ValueError for a longer clip.
    """

    longest = 30 * mel.SAMPLE_RATE

    def __init__(
        self,
        outputs: int = 3,
        layers: int = 4,
        width: int = 192,
        heads: int = 4,
        stride: int = 5,
        extractor: dict | None = None,
    ):
        super().__init__()
        for name, value in (("layers", layers), ("width", width), ("heads", heads), ("stride", stride)):
            if type(value) is not int or value < 1:
                raise UsageError(f"wav2small-transformer: {name} must be a whole number above 0, not {value!r}")
        if width % (2 * heads):
            raise UsageError(f"wav2small-transformer: width, {width}, must be a multiple of twice the heads, {heads}")
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
            raise ValueError(f"takes at most {self.longest} samples, not {waveform.shape[1]}")
        return self.head(self.pool(self.norm(self.layers(self.tokens(waveform)))))

    def tokens(self, waveform: Tensor) -> Tensor:
        """What the layers take, [batch, tokens, width]."""
        x = self.stride(self.extractor(waveform).transpose(1, 2)).transpose(1, 2)
        return self.positions(self.project(x))


def convolve(channels: int = CHANNELS) -> nn.Sequential:
    """3x3 convolution without bias, BatchNorm, ReLU; 13 channels out, same size."""
    return nn.Sequential(
        nn.Conv2d(channels, CHANNELS, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(CHANNELS), nn.ReLU()
    )
