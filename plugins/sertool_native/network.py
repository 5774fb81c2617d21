"""Wav2Small in the form that the C engine computes: recognised by its structure, batch norm folded."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from sertool import Source
from sertool._types import Array, Floats
from sertool.errors import UsageError
from sertool.features.mel import GEOMETRIES
from sertool.nn import LogMel, SoftmaxPool, UtteranceNorm

#: Values in "network", the first tensor: the network, and flags.
WAV2SMALL, CENTRE, SOFTMAX, INT8 = 1, 1, 2, 4

MOST_OUTPUTS = 16


class _Wav2Small(Protocol):
    """The attributes of a Wav2Small; ``_fold`` checks their types."""

    normalise: nn.Module
    logmel: LogMel
    centre: bool
    fine: nn.Sequential
    shrink: nn.MaxPool2d
    coarse: nn.Sequential
    mix: nn.Conv2d
    pool: SoftmaxPool
    head: nn.Linear


@dataclass(frozen=True)
class Folded:
    """The network's layers in float64.

    ``convolutions`` are seven (weight [13, inputs, 3 time, 3 mel], bias [13]), each followed by a ReLU in ``relus``;
    ``mix``, ``head`` (weight, bias); ``sof`` and ``lin`` have no bias: sof's has no effect in the softmax, lin's
    (``lin_bias``) is folded into the head. ``readers`` are the modules of convolutions 2 to 7, mix, sof and lin.
    """

    convolutions: list[tuple[Floats, Floats]]
    mix: tuple[Floats, Floats]
    sof: Floats
    lin: Floats
    head: tuple[Floats, Floats]
    lin_bias: Floats
    flags: int
    relus: list[nn.Module]
    readers: list[nn.Module]

    def tensors(self, flags: int = 0) -> dict[str, Array]:
        """Return the engine's tensor "network", int32 [4]."""
        return {"network": np.array([WAV2SMALL, len(self.head[1]), self.flags | flags, 0], np.int32)}

    def embedding(self, source: Source) -> dict[str, Array]:
        """Return the tensor that the engine adds to the pooled tokens, [169], if ``source`` asks for the embedding."""
        return {"lin.bias": self.lin_bias} if source.embedding else {}


def fold(source: Source, exporter: str) -> Folded:
    """Return the layers of a Source.

    Raises UsageError, which starts with ``exporter``, if the engine does not support the network or input.
    """
    if source.input != "waveform":
        raise UsageError(
            f"{exporter}: the input is the waveform, the engine computes LogMel; omit input={source.input}"
        )
    module: Any = source.module
    softmax = False
    if isinstance(module, nn.Sequential) and len(module) == 2 and isinstance(module[1], nn.Softmax):
        softmax = module[1].dim in (1, -1)
        module = module[0] if softmax else module
    try:
        return _fold(module, softmax)
    except (AttributeError, TypeError, IndexError, ValueError):
        raise UsageError(
            f"{exporter}: only Wav2Small runs on the C engine, not {type(module).__name__}; use another format"
        ) from None


def _fold(module: _Wav2Small, softmax: bool) -> Folded:
    mels = module.logmel.geometry.n_mels
    width = 13 * ((mels - 1) // 2 + 1)
    _require(isinstance(module.normalise, UtteranceNorm) and isinstance(module.logmel, LogMel))
    _require(module.logmel.geometry == GEOMETRIES[64] and type(module.centre) is bool)
    shrink, mix, pool, head = module.shrink, module.mix, module.pool, module.head
    _require(isinstance(shrink, nn.MaxPool2d) and isinstance(pool, SoftmaxPool))
    _require((shrink.kernel_size, shrink.stride, shrink.padding, shrink.dilation) == (3, 2, 1, 1))
    _require(not shrink.ceil_mode and len(module.fine) == 3 and len(module.coarse) == 4)
    blocks = [*module.fine, *module.coarse]
    convolutions = [_normalised(block, 13 if number else 1) for number, block in enumerate(blocks)]
    _require(_is_convolution(mix, 13, 1) and mix.weight.shape[0] == 13)
    _require(pool.sof.weight.shape == pool.lin.weight.shape == (width, width))
    _require(head.weight.shape[1] == width and 1 <= head.weight.shape[0] <= MOST_OUTPUTS)
    weight, lin = _array(head.weight), pool.lin
    return Folded(
        convolutions,
        (_array(mix.weight)[:, :, 0, 0], _bias(mix)),
        _array(pool.sof.weight),
        _array(lin.weight),
        (weight, _bias(head) + weight @ _bias(lin)),
        _bias(lin),
        (CENTRE if module.centre else 0) | (SOFTMAX if softmax else 0),
        [block[2] for block in blocks],
        [*(block[0] for block in blocks[1:]), mix, pool.sof, lin],
    )


def _normalised(block: Any, inputs: int) -> tuple[Floats, Floats]:
    """Return (weight, bias) of one convolution equivalent to convolution and batch norm before a ReLU."""
    convolution, norm, relu = block
    _require(_is_convolution(convolution, inputs, 3) and isinstance(norm, nn.BatchNorm2d) and isinstance(relu, nn.ReLU))
    gain = 1 / np.sqrt(_array(norm.running_var) + norm.eps)
    gain, offset = (gain * _array(norm.weight), _array(norm.bias)) if norm.affine else (gain, np.zeros_like(gain))
    weight = _array(convolution.weight) * gain[:, None, None, None]
    _require(len(weight) == 13)
    return weight, (_bias(convolution) - _array(norm.running_mean)) * gain + offset


def _is_convolution(layer: nn.Conv2d, inputs: int, taps: int) -> bool:
    """Return whether a layer is a plain Conv2d with ``taps`` x ``taps`` weights that keeps the size."""
    shape = (layer.in_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
    plain = shape == (inputs, (taps, taps), (1, 1), (taps // 2, taps // 2), (1, 1), 1)
    return isinstance(layer, nn.Conv2d) and plain and layer.padding_mode == "zeros"


def _bias(layer: nn.Conv2d | nn.Linear) -> Floats:
    return np.zeros(len(layer.weight)) if layer.bias is None else _array(layer.bias)


def _array(tensor: torch.Tensor) -> Floats:
    values: Floats = tensor.detach().cpu().double().numpy()
    return values


def _require(right: bool) -> None:
    if not right:
        raise ValueError
