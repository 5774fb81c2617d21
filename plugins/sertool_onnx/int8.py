"""A torch module as ONNX with its large weights in 8 bits."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from sertool import Source
from sertool.nn import LogMel

from .export import save, trace

OPSET = 21  # the first with 4 bits

#: Weights of fewer values stay as they are: they are most layers, few bytes and often the most delicate ones.
LARGE = 16_384

#: Convolutions of as many values go to 4 bits, with a scale for as many inputs of one output and tap.
HUGE = 1 << 20
BLOCK = 16


def export(source: Source, path, metadata: dict[str, str]) -> None:
    """As exporter `onnx`, with large weights in 8 bits, one scale an output channel, and all else in float32.

    A matrix product computes in 8 bits, its input quantised as it comes (onnxruntime's dynamic quantisation); its
    weights take 7 bits, because with 8 processors without VNNI overflow. Convolutions store theirs in 8 bits and
    compute in float32, because ConvInteger is several times slower; so do linear layers on pooled features (Gemm).
    Convolutions of a million values or more are stored in 4 bits, with a scale for each 16. Buffers and LogMel's basis
    are never quantised. The same weights give the same bytes. Raises SertoolError as `onnx`.
    """
    model = trace(source, OPSET)
    _quantise(model.graph, _constants(source.module))
    save(model, path, metadata)


def _constants(module: torch.nn.Module) -> set[str]:
    """Names of what was computed, not learned."""
    names = {name for name, _ in module.named_buffers()}
    for place, part in module.named_modules():
        if isinstance(part, LogMel):
            names |= {f"{place}.{name}".removeprefix(".") for name, _ in part.named_parameters()}
    return names


def _quantise(graph: onnx.GraphProto, constants: set[str]) -> None:
    large = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= LARGE and tensor.name not in constants
    }
    nodes, tensors = [], {}
    for node in graph.node:
        name = node.input[1] if node.op_type in ("MatMul", "Conv", "Gemm") else None
        if name not in large:
            nodes.append(node)
        elif node.op_type == "MatMul" and large[name].ndim == 2:
            nodes += _product(node, large[name], tensors)
        else:
            nodes += [*_stored(node, large[name], tensors), node]
    nodes = _first(nodes)
    needed = {name for node in nodes for name in node.input} - {name for node in nodes for name in node.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend([*kept, *tensors.values()])
    graph.node.extend(nodes)


def _product(node: onnx.NodeProto, weights: np.ndarray, tensors: dict) -> list[onnx.NodeProto]:
    """MatMul as nodes that onnxruntime joins again: MatMulInteger, and the scales of both sides on its result."""
    (x, name), (y,) = node.input, node.output
    values, scales = _eight_bits(weights, axis=1, most=63)
    tensors[f"{name}.int8"] = numpy_helper.from_array(values, f"{name}.int8")
    tensors[f"{name}.scale"] = numpy_helper.from_array(scales, f"{name}.scale")
    quantised = [f"{x}.uint8", f"{x}.scale", f"{x}.zero"]
    return [
        helper.make_node("DynamicQuantizeLinear", [x], quantised),
        helper.make_node("MatMulInteger", [quantised[0], f"{name}.int8", quantised[2]], [f"{y}.int32"]),
        helper.make_node("Cast", [f"{y}.int32"], [f"{y}.float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [quantised[1], f"{name}.scale"], [f"{y}.scale"]),
        helper.make_node("Mul", [f"{y}.float", f"{y}.scale"], [y]),
    ]


def _stored(node: onnx.NodeProto, weights: np.ndarray, tensors: dict) -> list[onnx.NodeProto]:
    """The node that restores the weights of Conv, Gemm or a MatMul of many matrices from few bits."""
    name = node.input[1]
    if node.op_type == "Conv" and weights.size >= HUGE and weights.shape[1] % BLOCK == 0:
        values, scales = _four_bits(weights)
        packed = ((values.ravel()[::2] & 15) | (values.ravel()[1::2] << 4)).astype(np.uint8)
        stored = helper.make_tensor(f"{name}.int4", TensorProto.INT4, weights.shape, packed.tobytes(), raw=True)
        where = {"axis": 1, "block_size": BLOCK}
    else:
        rows = node.op_type == "Conv" or any(field.name == "transB" and field.i for field in node.attribute)
        where = {"axis": 0 if rows else weights.ndim - 1}
        values, scales = _eight_bits(weights, where["axis"], most=127)
        stored = numpy_helper.from_array(values, f"{name}.int8")
    tensors[stored.name] = stored
    tensors[f"{name}.scale"] = numpy_helper.from_array(scales, f"{name}.scale")
    return [helper.make_node("DequantizeLinear", [stored.name, f"{name}.scale"], [name], **where)]


def _eight_bits(weights: np.ndarray, axis: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """int8 of the same shape, from -most to most, and float32 scales [weights.shape[axis]]."""
    others = tuple(i for i in range(weights.ndim) if i != axis)
    scales = np.maximum(np.abs(weights).max(others, keepdims=True), np.float32(1e-30)) / np.float32(most)
    return np.round(weights / scales).astype(np.int8), scales.ravel()


def _four_bits(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights [outputs, inputs, *taps] -> int8 -8..7, and float32 scales [outputs, inputs // BLOCK, *taps].

    Of some scales for each block, the one with the smallest squared error: to reach the largest weight is not always
    the best use of 16 levels.
    """
    outputs, inputs, *taps = weights.shape
    blocks = weights.reshape(outputs, inputs // BLOCK, BLOCK, *taps)
    largest = np.maximum(np.abs(blocks).max(axis=2, keepdims=True), np.float32(1e-30)) / np.float32(7)
    least, values, scales = np.full_like(largest, np.inf), np.zeros_like(blocks), largest
    for share in np.linspace(0.75, 1.1, 12, dtype=np.float32):
        scale = largest * share
        rounded = np.clip(np.round(blocks / scale), -8, 7)
        error = ((rounded * scale - blocks) ** 2).sum(axis=2, keepdims=True)
        better = error < least
        least, scales = np.where(better, error, least), np.where(better, scale, scales)
        values = np.where(better, rounded, values)
    return values.reshape(weights.shape).astype(np.int8), scales[:, :, 0]


def _first(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Without nodes whose outputs an earlier one gives: an input or a weight that several products share."""
    seen, kept = set(), []
    for node in nodes:
        if not seen.issuperset(node.output):
            kept.append(node)
        seen.update(node.output)
    return kept
