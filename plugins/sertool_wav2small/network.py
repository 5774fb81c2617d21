"""The Wav2Small network (Kounadis-Bastian et al., arXiv 2408.13920)."""

from torch import Tensor, nn

from sertool.nn import LogMel, SoftmaxPool, UtteranceNorm

CHANNELS = 13


class Wav2Small(nn.Module):
    """Waveform [batch, samples], 16 kHz, at least 33 samples -> [batch, outputs].

    72,659 parameters, of which 67,577 are trained; the rest is the frozen LogMel basis. ``centre`` subtracts each mel
    filter's mean over the recording, which takes away microphone and room.
    """

    def __init__(self, outputs: int = 3, centre: bool = False):
        super().__init__()
        self.centre = centre
        self.normalise = UtteranceNorm()
        self.logmel = LogMel(n_fft=64)
        self.fine = nn.Sequential(convolve(1), convolve(), convolve())
        self.shrink = nn.MaxPool2d(3, stride=2, padding=1)
        self.coarse = nn.Sequential(convolve(), convolve(), convolve(), convolve())
        self.mix = nn.Conv2d(CHANNELS, CHANNELS, kernel_size=1)
        self.width = CHANNELS * ((self.logmel.geometry.n_mels - 1) // 2 + 1)  # 13 channels x 13 mel rows = 169
        self.pool = SoftmaxPool(self.width)
        self.head = nn.Linear(self.width, outputs)

    def forward(self, waveform: Tensor) -> Tensor:
        x = self.logmel(self.normalise(waveform))[:, None]  # [batch, 1, frames, 26]
        if self.centre:
            x = x - x.mean(dim=2, keepdim=True)
        x = self.mix(self.coarse(self.shrink(self.fine(x))))  # [batch, 13, tokens, 13]
        # As it lies in memory, without a transpose: a row holds 13 neighbouring tokens of one channel.
        return self.head(self.pool(x.reshape(x.shape[0], x.shape[2], self.width)))


def convolve(channels: int = CHANNELS) -> nn.Sequential:
    """3x3 convolution without bias, BatchNorm, ReLU; 13 channels out, same size."""
    return nn.Sequential(
        nn.Conv2d(channels, CHANNELS, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(CHANNELS), nn.ReLU()
    )
