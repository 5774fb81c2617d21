"""Export Wav2Small to the C engine's format, float32."""

from pathlib import Path

from sertool import Source
from sertool._types import Floats
from sertool.bundle import METADATA_KEY, container

from .network import fold


def export(source: Source, path: str | Path, metadata: dict[str, str]) -> None:
    """Write ``source``, a Wav2Small, optionally followed by a softmax, to ``path``; raise UsageError for other modules.

    Batch norm is folded in float64. With ``source.embedding``, the engine returns the same embedding as torch. The
    bundle's manifest in ``metadata`` is stored in the file.
    """
    network = fold(source, "native")
    tensors = network.tensors()
    for number, (weight, bias) in enumerate(network.convolutions, start=1):
        tensors |= {f"conv{number}.weight": outputs_last(weight), f"conv{number}.bias": bias}
    tensors |= {"mix.weight": network.mix[0].T, "mix.bias": network.mix[1]}
    tensors |= {"sof.weight": network.sof.T, "lin.weight": network.lin.T}
    tensors |= {"head.weight": network.head[0], "head.bias": network.head[1]} | network.embedding(source)
    Path(path).write_bytes(container.packed(tensors, metadata.get(METADATA_KEY, "")))


def outputs_last(weight: Floats) -> Floats:
    """Transpose a weight [outputs, inputs, time, mel] to [time, mel, inputs, outputs], without axis 2 for one input."""
    weight = weight.transpose(2, 3, 1, 0)
    return weight[:, :, 0] if weight.shape[2] == 1 else weight
