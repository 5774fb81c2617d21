"""Wav2Small to the engine's file, float32."""

from pathlib import Path

import numpy as np

from sertool import Source
from sertool.bundle import METADATA_KEY

from . import container
from .network import fold


def export(source: Source, path, metadata: dict[str, str]) -> None:
    """Write ``source``, a Wav2Small, maybe with a softmax behind it, to ``path``; UsageError for anything else.

    Batch norm is folded in float64. Of ``metadata`` the bundle's manifest goes in.
    """
    network = fold(source, "native")
    tensors = network.tensors()
    for number, (weight, bias) in enumerate(network.convolutions, start=1):
        tensors |= {f"conv{number}.weight": outputs_last(weight), f"conv{number}.bias": bias}
    tensors |= {"mix.weight": network.mix[0].T, "mix.bias": network.mix[1]}
    tensors |= {"sof.weight": network.sof.T, "lin.weight": network.lin.T}
    tensors |= {"head.weight": network.head[0], "head.bias": network.head[1]}
    Path(path).write_bytes(container.packed(tensors, metadata.get(METADATA_KEY, "")))


def outputs_last(weight: np.ndarray) -> np.ndarray:
    """A convolution's weight [outputs, inputs, time, mel] as [time, mel, inputs, outputs], of one input without it."""
    weight = weight.transpose(2, 3, 1, 0)
    return weight[:, :, 0] if weight.shape[2] == 1 else weight
