"""Wav2Small as the engine in C computes it: found by its structure, batch norm folded."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sertool import Source
from sertool.errors import UsageError
from sertool.features.mel import GEOMETRIES
from sertool.nn import LogMel, SoftmaxPool, UtteranceNorm

#: Of "network", the first tensor: which network it is, and flags.
WAV2SMALL, CENTRE, SOFTMAX, INT8 = 1, 1, 2, 4

MOST_OUTPUTS = 16


@dataclass(frozen=True)
class Folded:
    """The network's layers in float64.

    ``convolutions`` are seven (weight [13, inputs, 3 time, 3 mel], bias [13]), each with a ReLU behind it in ``relus``;
    ``mix``, ``head`` (weight, bias); ``sof`` and ``lin`` have no bias: sof's does nothing in the softmax, lin's is in
    the head. ``readers`` are the modules of convolutions 2 to 7, mix, sof and lin.
    """

    convolutions: list[tuple[np.ndarray, np.ndarray]]
    mix: tuple[np.ndarray, np.ndarray]
    sof: np.ndarray
    lin: np.ndarray
    head: tuple[np.ndarray, np.ndarray]
    flags: int
    relus: list[nn.Module]
    readers: list[nn.Module]

    def tensors(self, flags: int = 0) -> dict[str, np.ndarray]:
        """The engine's "network", int32 [4]."""
        return {"network": np.array([WAV2SMALL, len(self.head[1]), self.flags | flags, 0], np.int32)}


def fold(source: Source, exporter: str) -> Folded:
    """A Source's layers; UsageError, which begins with ``exporter``, for another network or input than the engine's."""
    if source.input != "waveform":
        raise UsageError(f"{exporter}: takes the waveform, LogMel is in the engine; leave out input={source.input}")
    module, softmax = source.module, False
    if isinstance(module, nn.Sequential) and len(module) == 2 and isinstance(module[1], nn.Softmax):
        softmax = module[1].dim in (1, -1)
        module = module[0] if softmax else module
    try:
        return _fold(module, softmax)
    except (AttributeError, TypeError, IndexError, ValueError):
        raise UsageError(
            f"{exporter}: only Wav2Small runs on the engine in C, not {type(module).__name__}; use another format"
        ) from None


def _fold(module: nn.Module, softmax: bool) -> Folded:
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
        (CENTRE if module.centre else 0) | (SOFTMAX if softmax else 0),
        [block[2] for block in blocks],
        [*(block[0] for block in blocks[1:]), mix, pool.sof, lin],
    )


def _normalised(block: nn.Module, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """(weight, bias) of convolution, batch norm and ReLU as the former alone."""
    convolution, norm, relu = block
    _require(_is_convolution(convolution, inputs, 3) and isinstance(norm, nn.BatchNorm2d) and isinstance(relu, nn.ReLU))
    gain = 1 / np.sqrt(_array(norm.running_var) + norm.eps)
    gain, offset = (gain * _array(norm.weight), _array(norm.bias)) if norm.affine else (gain, np.zeros_like(gain))
    weight = _array(convolution.weight) * gain[:, None, None, None]
    _require(len(weight) == 13)
    return weight, (_bias(convolution) - _array(norm.running_mean)) * gain + offset


def _is_convolution(layer: nn.Module, inputs: int, taps: int) -> bool:
    """Whether a layer is a Conv2d of a size that leaves the picture's, and has nothing special about it."""
    shape = (layer.in_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
    plain = shape == (inputs, (taps, taps), (1, 1), (taps // 2, taps // 2), (1, 1), 1)
    return isinstance(layer, nn.Conv2d) and plain and layer.padding_mode == "zeros"


def _bias(layer: nn.Module) -> np.ndarray:
    return np.zeros(len(layer.weight)) if layer.bias is None else _array(layer.bias)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _require(right: bool) -> None:
    if not right:
        raise ValueError
