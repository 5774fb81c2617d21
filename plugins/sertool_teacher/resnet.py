"""A residual network on a fine LogMel: the member of the shipped teacher, an ensemble."""

import torch
from torch import Tensor, nn

from sertool.features.mel import Geometry
from sertool.nn import LogMel, SoftmaxPool, UtteranceNorm


class ResNet(nn.Module):
    """Waveform [batch, samples], 16 kHz -> [batch, outputs].

    A ResNet (He et al. 2016) with one basic block with squeeze-and-excitation per stage; each stage has half the
    resolution and twice the channels of the previous one; then the mean over mel and softmax pooling over time.
    ``centre`` subtracts the mean of each mel filter over the recording, which removes microphone and room and leaves
    only changes over time.
    """

    def __init__(
        self,
        outputs: int = 3,
        width: int = 24,
        stages: int = 4,
        n_fft: int = 512,
        hop: int = 160,
        n_mels: int = 64,
        centre: bool = False,
        dropout: float = 0.2,
        masks: int = 2,
    ) -> None:
        super().__init__()
        self.normalise = UtteranceNorm()
        self.logmel = LogMel(Geometry(n_fft, hop, n_mels))
        self.centre, self.masks = centre, masks
        self.scale = nn.BatchNorm2d(1)
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        widths = [width * 2**stage for stage in range(stages)]
        inputs = [width, *widths[:-1]]
        self.stages = nn.Sequential(
            *(Block(i, o, stride=1 if n == 0 else 2) for n, (i, o) in enumerate(zip(inputs, widths, strict=True)))
        )
        self.dropout = nn.Dropout(dropout)
        self.pool = SoftmaxPool(widths[-1])
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, waveform: Tensor) -> Tensor:
        x = self.logmel(self.normalise(waveform))[:, None]  # [batch, 1, frames, mels]
        if self.centre:
            x = x - x.mean(dim=2, keepdim=True)
        x = self.scale(x)
        if self.training:
            x = mask(x, self.masks)
        tokens = self.stages(self.stem(x)).mean(dim=3).transpose(1, 2)  # [batch, tokens, width]
        outputs: Tensor = self.head(self.dropout(self.pool(self.dropout(tokens))))
        return outputs


class Block(nn.Module):
    """Two 3x3 convolutions with a shortcut; channels are weighted by the mean of the whole map."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.excite = nn.Sequential(
            nn.Linear(outputs, outputs // 8), nn.ReLU(), nn.Linear(outputs // 8, outputs), nn.Sigmoid()
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        y = y * self.excite(y.mean(dim=(2, 3)))[:, :, None, None]
        return torch.relu(y + self.shortcut(x))


def mask(x: Tensor, count: int) -> Tensor:
    """Apply SpecAugment (Park et al. 2019): set ``count`` bands of mel filters and of frames per clip to the mean, 0.

    ``x`` [batch, 1, frames, mels], normalised; a band covers up to a fifth of the filters or a tenth of the frames.
    """
    for dim, share in ((3, 0.2), (2, 0.1)):
        places = torch.arange(x.shape[dim], device=x.device)
        for _ in range(count):
            width = torch.rand(len(x), 1, device=x.device) * share * len(places)
            start = torch.rand(len(x), 1, device=x.device) * (len(places) - width)
            hidden = (places >= start) & (places < start + width)  # [batch, places]
            x = x.masked_fill(hidden[:, None, None] if dim == 3 else hidden[:, None, :, None], 0)
    return x
