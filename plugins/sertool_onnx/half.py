"""Export a torch module to ONNX with its weights in 16 bits."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, numpy_helper

from sertool import Source

from .constants import Computed
from .export import plain, save, trace
from .small import fold_pool_biases, learned, shrink

#: Weights with fewer values stay unchanged: the nodes that restore them take as many bytes as they save.
LEAST = 64


def export(source: Source, path: str | Path, metadata: dict[str, str]) -> None:
    """Export like exporter `onnx`, with learned weights in float16, which onnxruntime converts to float32 on loading.

    Computation stays in float32: on the CPU, 16 bits were not faster and less exact (20.0 against 19.5 ms for 5 s), and
    LogMel's 1e-10 is out of range. LogMel's constants are computed when the file is loaded. Weights stay float32 if the
    error of float16 exceeds a thousandth of the largest weight. Raises SertoolError as `onnx`.
    """
    source = plain(source)
    model = trace(source)
    fold_pool_biases(model.graph)
    weights, add = learned(model.graph, source.module), Computed("half")
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.name in weights and values.size >= LEAST:
            with np.errstate(over="ignore"):
                stored = values.astype(np.float16)
            if np.abs(stored - values).max() <= 1e-3 * np.abs(values).max():
                half = add.tensor(stored, f"{weights[tensor.name]}.half")
                add("Cast", half, to=TensorProto.FLOAT, output=tensor.name)
    add.into(model.graph)
    shrink(model, source.module)
    save(model, path, metadata)
