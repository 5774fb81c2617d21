"""The Wav2Small network (Kounadis-Bastian et al., arXiv 2408.13920)."""

from torch import Tensor, nn

from sertool.errors import UsageError
from sertool.frontend import filters
from sertool.nn import LogMel, SoftmaxPool, UtteranceNorm

CHANNELS = 13


class Wav2Small(nn.Module):
    """Waveform [batch, samples], 16 kHz, at least 33 samples -> [batch, outputs].

    72,659 parameters, of which 67,577 are trained; the rest is the frozen LogMel basis. ``centre`` subtracts each mel
    filter's mean over the recording, which takes away microphone and room. ``n_fft``, ``hop`` and ``n_mels`` are those
    of the LogMel, for ablations: another window takes n_fft // 2 + 1 samples, and runs in onnxruntime alone. UsageError
    for numbers that are no LogMel.
    """

    def __init__(
        self,
        outputs: int = 3,
        centre: bool = False,
        n_fft: int = 64,
        hop: int | None = None,
        n_mels: int | None = None,
    ):
        super().__init__()
        self.centre = centre
        self.normalise = UtteranceNorm()
        try:
            self.logmel = LogMel(filters.chosen(n_fft, hop, n_mels))
        except ValueError as error:
            raise UsageError(f"wav2small: {error}") from None
        self.shortest = self.logmel.geometry.shortest
        self.fine = nn.Sequential(convolve(1), convolve(), convolve())
        self.shrink = nn.MaxPool2d(3, stride=2, padding=1)
        self.coarse = nn.Sequential(convolve(), convolve(), convolve(), convolve())
        self.mix = nn.Conv2d(CHANNELS, CHANNELS, kernel_size=1)
        self.width = CHANNELS * ((self.logmel.geometry.n_mels - 1) // 2 + 1)  # 13 channels x 13 mel rows = 169
        self.pool = SoftmaxPool(self.width)
        self.head = nn.Linear(self.width, outputs)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.head(self.pool(self.tokens(waveform)))

    def tokens(self, waveform: Tensor) -> Tensor:
        """What is pooled, [batch, tokens, 169]: 250 tokens a second."""
        x = self.logmel(self.normalise(waveform))[:, None]  # [batch, 1, frames, 26]
        if self.centre:
            x = x - x.mean(dim=2, keepdim=True)
        x = self.mix(self.coarse(self.shrink(self.fine(x))))  # [batch, 13, tokens, 13]
        # As it lies in memory, without a transpose: a row holds 13 neighbouring tokens of one channel.
        return x.reshape(x.shape[0], x.shape[2], self.width)


def convolve(channels: int = CHANNELS) -> nn.Sequential:
    """3x3 convolution without bias, BatchNorm, ReLU; 13 channels out, same size."""
    return nn.Sequential(
        nn.Conv2d(channels, CHANNELS, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(CHANNELS), nn.ReLU()
    )
