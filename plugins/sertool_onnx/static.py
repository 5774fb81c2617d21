"""Quantise matrix products and convolutions to 8 bits, with ranges measured on recordings."""

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from sertool import Source
from sertool._types import Samples
from sertool.errors import UsageError

#: Operators that compute in 8 bits, and operators that pass 8-bit values through.
COMPUTING, PASSING = ("Conv", "MatMul", "Gemm"), ("Relu", "MaxPool", "Reshape", "Transpose")


def quantise(model: onnx.ModelProto, source: Source, weights: dict[str, str]) -> onnx.ModelProto:
    """Quantise the nodes with one of ``weights``, and the nodes between them, by onnxruntime's quantize_static.

    Each gets QuantizeLinear and DequantizeLinear, a scale per channel, and the range from the smallest to the largest
    value on ``source.clips``. Weights have 7 bits, because 8 bits overflow on processors without VNNI. Raises
    UsageError without clips.
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


class _Clips(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no annotations
    def __init__(self, source: Source) -> None:
        self.feeds = iter([{source.input: np.asarray(clip)} for clip in source.clips])

    def get_next(self) -> dict[str, Samples] | None:
        return next(self.feeds, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the advice of onnxruntime.quantization, on the root logger, to run its own pre-processing first."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
