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

V3-S is a stand-in: the paper's is of EfficientAT (Schmid et al., arXiv 2211.04772), pre-trained on AudioSet, with 960
channels and 0.4 G operations; ours is timm's, for ImageNet's weights, with 1024 and 0.28. Which of EfficientAT's models
it is, the paper does not say, and by width alone none fits: their trunks are MobileNetV3-Large times a width, and 960
channels are those of width 1, of 2.97 M parameters without a head. The pooling of 1024 channels takes 2.10 of 3.14 and
leaves 1.04 for trunk and head: mobilenetv3_small_075 has 1.017 (so has tf_mobilenetv3_small_minimal_100, 1.020, whose
padding depends on the length). mobilenetv3_small_100 comes to 3.62, or, pooled before its head (576 channels), to 1.59.
"""

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

    ``trunk``: a MobileNetV3 or V4 of timm by name; ``weights``: a file of its state dict as published (.safetensors,
    .pth or .bin), nothing is downloaded; ``dropout`` of tokens and of pooled channels; ``drop_path`` of residual
    blocks; ``n_fft``, ``hop`` and ``n_mels`` of the LogMel. Raises UsageError if timm does not load, the weights do not
    fit or the LogMel is none, ValueError for fewer samples.
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
    ):
        super().__init__()
        self.normalise = UtteranceNorm()
        try:
            geometry = mel.chosen(n_fft, hop, n_mels)
        except ValueError as error:
            raise UsageError(f"{trunk}: {error}") from None
        self.logmel = LogMel(geometry)
        # The four anti-aliasing poolings of V4-L have no padding, and halve 31 frames at least.
        self.frames = 31 if "_aa_" in trunk else geometry.frames(geometry.shortest)
        self.shortest = max(geometry.shortest, (self.frames - 1) * geometry.hop)
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
        return self.head(self.dropout(self.pool(self.dropout(self.tokens(waveform)))))

    def tokens(self, waveform: Tensor) -> Tensor:
        """What is pooled, [batch, tokens, width]."""
        frames = self.logmel(self.normalise(waveform))
        # Skipped while tracing, as in LogMel: there the shape is symbolic.
        if not torch.compiler.is_compiling() and frames.shape[1] < self.frames:
            raise ValueError(f"MobileNet needs at least {self.shortest} samples: {self.frames} frames of LogMel")
        x = self.trunk.forward_features(self.lift(frames[:, None]))  # from [batch, 3, frames, mels]
        x = self.trunk.act2(self.trunk.norm_head(self.trunk.conv_head(x)))  # [batch, width, tokens, mels / 32]
        return x.mean(dim=3).transpose(1, 2)


def _timm():
    declare_operators()
    try:
        import timm
    except ImportError:
        raise UsageError("MobileNets are built on timm: pip install 'sertool[mobilenet]'") from None
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"timm does not load ({reason}); install the torchvision that fits this torch") from None
    return timm
