"""Export Wav2Small to the C engine's format, 8 bits."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sertool import Source
from sertool._types import Array, Floats
from sertool.bundle import METADATA_KEY, container
from sertool.errors import UsageError
from sertool.kernel.wav2small import Engine
from sertool.nn.calibration import second_moments
from sertool.nn.rounding import rounded

from .export import outputs_last
from .network import INT8, SOFTMAX, Folded, fold

#: Largest activation levels: unsigned after a ReLU, signed after the mixing layer.
RELU, SIGNED = 255, 127

#: The last level is this multiple of the largest activation on the clips. Compared with 1, the error on speech grows by
#: 6 %, and errors on signals unlike the calibration clips, such as tones, shrink to two thirds. Clipping the largest
#: 0.01 % instead cost seven times as much.
HEADROOM = 1.15


def export(source: Source, path: str | Path, metadata: dict[str, str]) -> None:
    """Export like exporter `native`, with weights and activations in 8 bits; LogMel, first and last layer in float32.

    Activations have a scale per channel after a ReLU and a single scale at the pool's input, from the largest values on
    ``source.clips``. These scales are folded into the weights before and after an activation; weights have one scale
    per output and are rounded so that outputs on the clips change least (sertool.nn.rounding). The remaining mean error
    of the network's outputs is corrected in the last bias. Raises UsageError as `native`, and without clips.
    """
    network = fold(source, "native-int8")
    if not source.clips:
        raise UsageError("native-int8: needs recordings to calibrate with (--calibrate DIR)")
    scales = [HEADROOM * largest / RELU for largest in _largest(source, network)]
    pooled = scales.pop().max(keepdims=True) * RELU / SIGNED
    moments = second_moments(source.module, source.clips)
    tensors = network.tensors(INT8)
    weight, offset = network.convolutions[0]
    tensors |= {"conv1.weight": outputs_last(weight) / scales[0], "conv1.bias": offset / scales[0]}
    layers: list[tuple[str, Floats, Floats | None]]
    layers = [(f"conv{i}", *layer) for i, layer in enumerate(network.convolutions[1:], start=2)]
    layers += [("mix", *network.mix), ("sof", network.sof, None), ("lin", network.lin, None)]
    one = np.ones(1)
    inputs, outputs = [*scales, pooled, pooled], [*scales[1:], pooled, one, one]
    names = {id(part): name for name, part in source.module.named_modules()}
    for (name, weight, bias), part, into, out in zip(layers, network.readers, inputs, outputs, strict=True):
        into, out = np.resize(into, weight.shape[1]), np.resize(out, len(weight))
        taps = np.repeat(into, weight[0, 0].size)
        matrix = weight.reshape(len(weight), -1) * taps / out[:, None]
        spread = moments[f"{names[id(part)]}.weight"] / np.outer(taps, taps)
        values, scale = rounded(matrix, -SIGNED, SIGNED, spread)
        values = values.reshape(weight.shape)
        if values.ndim == 4:
            values = values.transpose(0, 2, 3, 1)
        tensors |= {f"{name}.weight": values, f"{name}.scale": scale}
        tensors |= {} if bias is None else {f"{name}.bias": bias / out}
    tensors |= {"head.weight": network.head[0], "head.bias": network.head[1]}
    tensors["head.bias"] = network.head[1] + _shift(source, network, tensors)
    tensors |= network.embedding(source)
    Path(path).write_bytes(container.packed(tensors, metadata.get(METADATA_KEY, "")))


@torch.no_grad()
def _shift(source: Source, network: Folded, tensors: dict[str, Array]) -> Floats:
    """Return the mean over the clips of torch's outputs minus the engine's, [outputs], before a softmax."""
    module = source.module[0] if network.flags & SOFTMAX else source.module
    logits = replace(network, flags=network.flags & ~SOFTMAX).tensors(INT8)
    engine = Engine(container.packed(tensors | logits))
    differences = [module(clip)[0].numpy() - engine.run(clip[0].numpy()) for clip in source.clips]
    return np.asarray(np.mean(differences, axis=0, dtype=np.float64)).round(4)  # further digits depend on the processor


@torch.no_grad()
def _largest(source: Source, network: Folded) -> list[Floats]:
    """Return the largest magnitude per channel on the clips, float64 [13], for each ReLU and the mixing layer."""
    parts = [*network.relus, network.readers[6]]
    maxima = [np.full(13, 1e-6) for _ in parts]  # for channels that are always 0, any scale works

    def look(largest: Floats, part: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        np.maximum(largest, output.abs().amax(dim=(0, 2, 3)).double().numpy(), out=largest)

    hooks = [part.register_forward_hook(partial(look, largest)) for part, largest in zip(parts, maxima, strict=True)]
    try:
        for clip in source.clips:
            source.module(clip)
    finally:
        for hook in hooks:
            hook.remove()
    return maxima
