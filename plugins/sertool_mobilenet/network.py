"""MobileNet students (Kounadis-Bastian et al., arXiv 2408.13920): LogMel, a trunk from timm, Wav2Small's pooling.

A token is one time step of the trunk's last feature map, averaged over its mel rows (one row, two in V4-L). V4's tokens
have 960 channels: they are taken before timm's 1280-wide head, which is dropped. V3's tokens are taken after its head
and have 1024 channels.

Parameters in millions, compared with the paper's Table I:

    student  table   trained   with the frozen LogMel
    V4-S      3.12     3.110     3.115
    V4-M     10.38    10.410    10.415
    V4-L     31.87    31.927    31.952
    V3-S      3.14     3.119     3.124

V4-M and V4-L exceed the table, most likely because of BatchNorm: with BatchNorm folded into the convolutions, as in an
ONNX file (the paper's footnote on Wav2Small's count suggests this), they have 10.379 and 31.879 with LogMel, less than
0.01 from the table. V4-S is 0.005 below the table, and 0.017 below it when folded: no single rule explains all three.
The authors' lift may be larger.

V3-S is a substitute: the paper's network is from EfficientAT (Schmid et al., arXiv 2211.04772), pre-trained on
AudioSet, with 960 channels and 0.4 G operations; ours is timm's, for ImageNet weights, with 1024 channels and 0.28 G.
The paper does not say which EfficientAT model it uses, and none fits by width alone: their trunks are MobileNetV3-Large
with a width multiplier; 960 channels correspond to width 1, which has 2.97 M parameters without a head. The pooling of
1024 channels takes 2.10 of 3.14 and leaves 1.04 for trunk and head: mobilenetv3_small_075 has 1.017
(tf_mobilenetv3_small_minimal_100 has 1.020, but its padding depends on the length). mobilenetv3_small_100 would give
3.62 in total, or 1.59 with pooling before its head (576 channels).
"""

from types import ModuleType

import torch
from torch import Tensor, nn

from sertool.errors import UsageError
from sertool.features import mel
from sertool.nn import LogMel, SoftmaxPool, UtteranceNorm
from sertool.nn.torchvision import declare_operators
from sertool.nn.weights import fill, read_weights

CLASSIFIER = ("classifier.weight", "classifier.bias")
V4_HEAD = ("conv_head.weight",) + tuple(
    f"norm_head.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
)


class MobileNet(nn.Module):
    """Waveform [batch, samples], 16 kHz, at least ``shortest`` samples -> [batch, outputs].

    ``trunk``: name of a MobileNetV3 or V4 in timm; ``weights``: a file with its published state dict (.safetensors,
    .pth or .bin), nothing is downloaded; ``dropout`` of tokens and of pooled channels; ``drop_path`` of residual
    blocks; ``n_fft``, ``hop`` and ``n_mels`` of the LogMel. Raises UsageError if timm cannot be imported, the weights
    do not fit or the LogMel options are invalid. ``forward`` raises ValueError if there are too few samples.
    """

    def __init__(
        self,
        trunk: str,
        n_fft: int = 64,
        outputs: int = 3,
        weights: str | None = None,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        hop: int | None = None,
        n_mels: int | None = None,
    ) -> None:
        super().__init__()
        self.normalise = UtteranceNorm()
        try:
            geometry = mel.chosen(n_fft, hop, n_mels)
        except ValueError as error:
            raise UsageError(f"{trunk}: {error}") from None
        self.logmel = LogMel(geometry)
        # The four anti-aliasing poolings of V4-L halve the frames without padding and need at least 31 of them.
        self.frames = 31 if "_aa_" in trunk else geometry.frames(geometry.shortest)
        self.shortest = max(geometry.shortest, (self.frames - 1) * geometry.hop)
        self.lift = nn.Conv2d(1, 3, kernel_size=3, padding=1)
        self.trunk = _timm().create_model(trunk, pretrained=False, num_classes=0, drop_path_rate=drop_path)
        before_head = trunk.startswith("mobilenetv4")
        if before_head:  # not part of forward_features, and their training would have no effect
            self.trunk.conv_head = self.trunk.norm_head = self.trunk.act2 = nn.Identity()
        if weights is not None:
            dropped = CLASSIFIER + V4_HEAD if before_head else CLASSIFIER
            trunk_weights = {key: value for key, value in read_weights(weights).items() if key not in dropped}
            fill(self.trunk, trunk_weights, weights, f"give the weights of timm's {trunk}")
        self.width = self.trunk.num_features if before_head else self.trunk.head_hidden_size
        self.dropout = nn.Dropout(dropout)
        self.pool = SoftmaxPool(self.width)
        self.head = nn.Linear(self.width, outputs)

    def forward(self, waveform: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.dropout(self.pool(self.dropout(self.tokens(waveform)))))
        return outputs

    def tokens(self, waveform: Tensor) -> Tensor:
        """Return the input of the pooling, [batch, tokens, width]."""
        frames = self.logmel(self.normalise(waveform))
        # Skipped while tracing, as in LogMel, because the shape is symbolic then.
        if not torch.compiler.is_compiling() and frames.shape[1] < self.frames:
            raise ValueError(f"MobileNet needs at least {self.shortest} samples: {self.frames} frames of LogMel")
        x = self.trunk.forward_features(self.lift(frames[:, None]))  # from [batch, 3, frames, mels]
        x = self.trunk.act2(self.trunk.norm_head(self.trunk.conv_head(x)))  # [batch, width, tokens, mels / 32]
        tokens: Tensor = x.mean(dim=3).transpose(1, 2)
        return tokens


def _timm() -> ModuleType:
    declare_operators()
    try:
        import timm
    except ImportError:
        raise UsageError("MobileNets need timm: pip install 'sertool[mobilenet]'") from None
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"timm cannot be imported ({reason}); install the torchvision that fits this torch") from None
    return timm
