"""MobileNet students (Kounadis-Bastian et al., arXiv 2408.13920): LogMel, timm's trunk, Wav2Small's pooling.

A token is one time step of the trunk's last map, averaged over its mel rows (one row, in V4-L two). V4's tokens have
960 channels: they are taken before timm's 1280-wide head, which is left out. V3's are taken behind its head, 1024
channels.

Parameters in millions, against the paper's Table I:

    student  table   trained   with the frozen LogMel
    V4-S      3.12     3.110     3.115
    V4-M     10.38    10.410    10.415
    V4-L     31.87    31.927    31.952
    V3-S      3.14     3.119     3.124

V4-M and V4-L exceed the table, most likely because of BatchNorm: folded into the convolutions, as in an ONNX file
(which the paper's footnote on Wav2Small's count points to), they have 10.379 and 31.879 with LogMel, the table within
0.01. V4-S falls short by 0.005 as it is and by 0.017 folded: no one rule gives all three. The authors' lift may be
larger.

V3-S: which of timm's models it is, is not known here. The pooling of 1024 channels takes 2.10 of 3.14 and leaves 1.04
for trunk and head: mobilenetv3_small_075 has 1.017 (so has tf_mobilenetv3_small_minimal_100, 1.020, whose padding
depends on the length). mobilenetv3_small_100 comes to 3.62, or, pooled before its head (576 channels), to 1.59.
"""

import torch
from torch import Tensor, nn

from sertool.errors import UsageError
from sertool.nn import LogMel, SoftmaxPool, UtteranceNorm
from sertool.nn.weights import fill, read_weights

CLASSIFIER = ("classifier.weight", "classifier.bias")
V4_HEAD = ("conv_head.weight",) + tuple(
    f"norm_head.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
)


class MobileNet(nn.Module):
    """Waveform [batch, samples], 16 kHz, at least ``shortest`` samples -> [batch, outputs].

    ``trunk``: a MobileNetV3 or V4 of timm by name; ``weights``: a file of its state dict as published (.safetensors,
    .pth or .bin), nothing is downloaded; ``dropout`` of tokens and of pooled channels; ``drop_path`` of residual
    blocks. Raises UsageError if timm does not load or the weights do not fit, ValueError for fewer samples.
    """

    def __init__(
        self,
        trunk: str,
        n_fft: int,
        shortest: int,
        outputs: int = 3,
        weights: str | None = None,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.normalise = UtteranceNorm()
        self.logmel = LogMel(n_fft)
        self.shortest, self.frames = shortest, self.logmel.geometry.frames(shortest)
        self.lift = nn.Conv2d(1, 3, kernel_size=3, padding=1)
        self.trunk = _timm().create_model(trunk, pretrained=False, num_classes=0, drop_path_rate=drop_path)
        before_head = trunk.startswith("mobilenetv4")
        if before_head:  # not part of forward_features, and not to be trained in vain
            self.trunk.conv_head = self.trunk.norm_head = self.trunk.act2 = nn.Identity()
        if weights is not None:
            dropped = CLASSIFIER + V4_HEAD if before_head else CLASSIFIER
            found = {key: value for key, value in read_weights(weights).items() if key not in dropped}
            fill(self.trunk, found, weights, f"give the weights of timm's {trunk}")
        self.width = self.trunk.num_features if before_head else self.trunk.head_hidden_size
        self.dropout = nn.Dropout(dropout)
        self.pool = SoftmaxPool(self.width)
        self.head = nn.Linear(self.width, outputs)

    def forward(self, waveform: Tensor) -> Tensor:
        frames = self.logmel(self.normalise(waveform))
        # Skipped while tracing, as in LogMel: there the shape is symbolic.
        if not torch.compiler.is_compiling() and frames.shape[1] < self.frames:
            raise ValueError(f"MobileNet needs at least {self.shortest} samples: {self.frames} frames of LogMel")
        x = self.trunk.forward_features(self.lift(frames[:, None]))  # from [batch, 3, frames, mels]
        x = self.trunk.act2(self.trunk.norm_head(self.trunk.conv_head(x)))  # [batch, width, tokens, mels / 32]
        tokens = x.mean(dim=3).transpose(1, 2)
        return self.head(self.dropout(self.pool(self.dropout(tokens))))


def _timm():
    try:
        import timm
    except ImportError:
        raise UsageError("MobileNets are built on timm: pip install 'sertool[mobilenet]'") from None
    except RuntimeError as error:  # torchvision built for another torch
        reason = str(error).splitlines()[0]
        raise UsageError(f"timm does not load ({reason}); install the torchvision that fits this torch") from None
    return timm
