"""Matrices and convolutions in 8 bits, with ranges that were seen on recordings."""

import contextlib
import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from sertool import Source
from sertool.errors import UsageError

#: Operators that compute in 8 bits, and those that pass on what is in 8 bits.
COMPUTING, PASSING = ("Conv", "MatMul", "Gemm"), ("Relu", "MaxPool", "Reshape", "Transpose")


def quantise(model: onnx.ModelProto, source: Source, weights: dict[str, str]) -> onnx.ModelProto:
    """The model by onnxruntime's quantize_static: the nodes that take one of ``weights``, and what lies between.

    QuantizeLinear and DequantizeLinear around each, a scale a channel, ranges from the least to the largest value on
    ``source.clips``. Weights have 7 bits, because with 8 processors without VNNI overflow. UsageError without clips.
    """
    if not source.clips:
        raise UsageError("onnx-int8: recipe=static needs recordings to calibrate with (--calibrate DIR)")
    computing = [node for node in model.graph.node if node.op_type in COMPUTING]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        quantize_static(
            model,
            Path(folder, "quantised.onnx"),
            _Clips(source),
            op_types_to_quantize=[*COMPUTING, *PASSING],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[node.name for node in computing if not {*node.input} & {*weights}],
        )
        return onnx.load(Path(folder, "quantised.onnx"))


class _Clips(CalibrationDataReader):
    def __init__(self, source: Source):
        self.feeds = iter([{source.input: np.asarray(clip)} for clip in source.clips])

    def get_next(self):
        return next(self.feeds, None)


@contextlib.contextmanager
def _quiet():
    """onnxruntime.quantization advises, through the root logger, to run its own pre-processing first."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
