"""Count weights and operations of native files from tensor names and shapes (csrc/sertool.h)."""

import math
from pathlib import Path

from sertool.bundle import container
from sertool.features.mel import GEOMETRIES


def count(path: Path, samples: int) -> dict[str, int]:
    """Count parameters, bytes, and multiply-accumulates for ``samples`` samples at 16 kHz, as cost.py for ONNX files.

    Scales and LogMel, which the C front end computes, do not count. Raises BundleError if the file is damaged.
    """
    weights = container.read(path)
    sizes = {name: math.prod(shape) for name, shape in weights.shapes.items() if name != "network"}
    parameters = sum(size for name, size in sizes.items() if not name.endswith(".scale"))
    geometry = GEOMETRIES[64]
    tokens, mels = (geometry.frames(samples) + 1) // 2, (geometry.n_mels + 1) // 2
    cells = dict.fromkeys(("conv1", "conv2", "conv3"), geometry.frames(samples) * geometry.n_mels)
    cells |= dict.fromkeys(("conv4", "conv5", "conv6", "conv7", "mix"), tokens * mels)
    cells |= {"sof": tokens, "lin": tokens, "head": 1}
    macs = sum(times * sizes.get(f"{layer}.weight", 0) for layer, times in cells.items())
    return {"parameters": parameters, "bytes": len(weights.data), "macs": macs}
