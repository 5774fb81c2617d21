"""Wav2Small to the engine's file, 8 bits."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from sertool import Source
from sertool.bundle import METADATA_KEY
from sertool.errors import UsageError
from sertool.kernel.wav2small import Engine
from sertool.nn.calibration import second_moments
from sertool.nn.rounding import rounded

from . import container
from .export import outputs_last
from .network import INT8, SOFTMAX, Folded, fold

#: What activations end at: of a ReLU unsigned, of the mixing layer signed.
RELU, SIGNED = 255, 127

#: So many times the largest activation on the clips is the last level. On speech it costs 6 % more error than 1 does;
#: on what calibration never saw, as tones, errors are two thirds. To cut off a ten-thousandth cost seven times as much.
HEADROOM = 1.15


def export(source: Source, path, metadata: dict[str, str]) -> None:
    """As exporter `native`, but with weights and activations in 8 bits, LogMel, first and last layer in float32.

    Activations have a scale a channel behind a ReLU and one for all that the pool reads, by the largest values on
    ``source.clips``. These scales are in the weights that make and read an activation; weights have one scale an output
    and are rounded so that outputs change least on the clips (sertool.nn.rounding). What is left of the mean error of
    the network's outputs goes into the last bias. UsageError as `native`, and without clips.
    """
    network = fold(source, "native-int8")
    if not source.clips:
        raise UsageError("native-int8: needs recordings to calibrate with (--calibrate DIR)")
    scales = [HEADROOM * largest / RELU for largest in _largest(source, network)]
    pooled = scales.pop().max(keepdims=True) * RELU / SIGNED
    moments = second_moments(source.module, source.clips)
    tensors = network.tensors(INT8)
    weight, bias = network.convolutions[0]
    tensors |= {"conv1.weight": outputs_last(weight) / scales[0], "conv1.bias": bias / scales[0]}
    layers = [(f"conv{i}", *layer) for i, layer in enumerate(network.convolutions[1:], start=2)]
    layers += [("mix", *network.mix), ("sof", network.sof, None), ("lin", network.lin, None)]
    one = np.ones(1)
    read, made = [*scales, pooled, pooled], [*scales[1:], pooled, one, one]
    names = {id(part): name for name, part in source.module.named_modules()}
    for (name, weight, bias), part, into, out in zip(layers, network.readers, read, made, strict=True):
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
    Path(path).write_bytes(container.packed(tensors, metadata.get(METADATA_KEY, "")))


@torch.no_grad()
def _shift(source: Source, network: Folded, tensors: dict[str, np.ndarray]) -> np.ndarray:
    """Torch's outputs less the engine's [outputs], before a softmax, on average over the clips."""
    module = source.module[0] if network.flags & SOFTMAX else source.module
    logits = replace(network, flags=network.flags & ~SOFTMAX).tensors(INT8)
    engine = Engine(container.packed(tensors | logits))
    differences = [module(clip)[0].numpy() - engine.run(clip[0].numpy()) for clip in source.clips]
    return np.mean(differences, axis=0, dtype=np.float64).round(4)  # further digits are the processor's


@torch.no_grad()
def _largest(source: Source, network: Folded) -> list[np.ndarray]:
    """Of each ReLU and of the mixing layer, the largest magnitude [13] of each channel on the clips, in float64."""
    parts = [*network.relus, network.readers[6]]
    found = [np.full(13, 1e-6) for _ in parts]  # of a channel that is never anything but 0 any scale will do

    def look(largest, part, inputs, output):
        np.maximum(largest, output.abs().amax(dim=(0, 2, 3)).double().numpy(), out=largest)

    hooks = [part.register_forward_hook(partial(look, largest)) for part, largest in zip(parts, found, strict=True)]
    try:
        for clip in source.clips:
            source.module(clip)
    finally:
        for hook in hooks:
            hook.remove()
    return found
