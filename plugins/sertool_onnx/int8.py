"""Export a torch module to ONNX with its learned weights in few bits."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sertool import Source
from sertool._types import Array, Floats
from sertool.errors import UsageError
from sertool.nn.calibration import second_moments
from sertool.nn.rounding import rounded

from . import static
from .constants import Computed
from .export import plain, save, trace
from .small import fold_pool_biases, learned, shrink

#: How each operator treats its weights: as a product in 8 bits, or stored in few bits.
RECIPES: dict[str, dict[str, str]] = {
    "mixed": {"MatMul": "product", "Conv": "stored", "Gemm": "stored"},
    "matmul": {"MatMul": "product", "Gemm": "product"},
    "weights": {"MatMul": "stored", "Conv": "stored", "Gemm": "stored"},
    "static": {},
}

#: Weights with fewer values than LEAST stay float32; matrices with fewer than LARGE are neither stored in less than 8
#: bits nor computed in 8: most of them are the last layer, which is small and the most sensitive.
LEAST, LARGE = 128, 16_384

#: Recipe "mixed" restores convolutions with at least HUGE values at each run; in 4 bits they have a scale per BLOCK
#: inputs of an output and tap, which needs an ONNX opset with 4-bit types.
HUGE, BLOCK, OPSET = 1 << 20, 16, 21


def export(
    source: Source,
    path: str | Path,
    metadata: dict[str, str],
    recipe: str = "mixed",
    bits: int = 8,
    conv: int = 8,
    product: int = 8,
    basis: bool = False,
    apart: str = "",
) -> None:
    """Export like exporter `onnx`, with learned weights in few bits, a scale per output, and the rest in float32.

    ``recipe``: "mixed" computes matrix products over frames in 8 bits and stores the other weights in 8 bits,
    convolutions with a million values in ``conv`` bits if that is 4; "matmul" computes these products and linear layers
    on pooled features in 8 bits and changes nothing else; "weights" stores all weights in few bits, matrices in
    ``bits`` and convolutions in ``conv``, and computes in float32; "static" computes matrix products and convolutions
    in 8 bits, with ranges measured on ``source.clips`` (see static.py). Products in 8 bits quantise their input at run
    time (onnxruntime's dynamic quantisation). Their weights are unsigned 8-bit integers, which are exact on every
    processor; signed ones would overflow on processors without VNNI, so ``product`` = 7 uses 7 bits and a sign, which
    is faster there. Convolutions are not computed in this way, because they would be several times slower
    (ConvInteger). onnxruntime restores stored weights when it loads the file, which is then as fast as float32.
    ``apart`` names a part of the network whose weights go to a separate file (see export.put_apart).

    With ``source.clips``, weights are rounded so that the outputs of their layers on these clips change least. Buffers
    are never quantised, and LogMel's constants only with ``basis``. Raises UsageError for unknown values, and
    SertoolError as `onnx`.
    """
    if recipe not in RECIPES:
        raise UsageError(f"onnx-int8: recipe must be one of {', '.join(RECIPES)}, not {recipe!r}")
    for key, value in (("bits", bits), ("conv", conv)):
        if value not in (8, 4, 2):
            raise UsageError(f"onnx-int8: {key} must be 8, 4 or 2, not {value!r}")
        if value != 8 and recipe != "weights" and (recipe, key, value) != ("mixed", "conv", 4):
            raise UsageError(f"onnx-int8: {key}={value} is for recipe=weights, not {recipe}")
    if product not in (8, 7):
        raise UsageError(f"onnx-int8: product must be 8 or 7, not {product!r}")
    if not isinstance(basis, bool):
        raise UsageError(f"onnx-int8: basis must be true or false, not {basis!r}")
    source = plain(source)
    model = trace(source, OPSET) if recipe == "mixed" and conv == 4 else trace(source)
    fold_pool_biases(model.graph)
    weights = learned(model.graph, source.module, basis)
    if recipe == "static":
        model = static.quantise(model, source, weights)
    else:
        few = {"MatMul": bits, "Gemm": bits, "Conv": conv, "product": product}
        _quantise(model.graph, recipe, few, weights, second_moments(source.module, source.clips))
    shrink(model, source.module)
    save(model, path, metadata, apart)


def _quantise(
    graph: onnx.GraphProto, recipe: str, bits: dict[str, int], weights: dict[str, str], moments: dict[str, Floats]
) -> None:
    """Quantise ``weights`` (initialiser -> parameter) with ``bits`` by operator and ``moments`` by parameter."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name in weights}
    nodes, add = [], Computed("weights")
    for node in graph.node:
        name, how = node.input[1] if len(node.input) > 1 else "", RECIPES[recipe].get(node.op_type)
        weight = values.get(name, np.empty(0))
        if how == "product" and weight.size >= LARGE and weight.ndim == 2:
            nodes += _product(node, weight, weights[name], moments.get(weights[name]), bits["product"], add)
            continue
        nodes.append(node)
        if how == "stored" and weight.size >= LEAST:
            huge = recipe == "mixed" and node.op_type == "Conv" and weight.size >= HUGE
            if huge and bits["Conv"] == 4 and weight.shape[1] % BLOCK == 0:
                _store_blocks(name, weight, weights[name], add)
            elif huge:
                values_, scales = rounded(weight.reshape(len(weight), -1), -127, 127, moments.get(weights[name]))
                stored = add.tensor(values_.reshape(weight.shape), f"{weights[name]}.int8")
                add("DequantizeLinear", stored, scales, axis=0, output=name)
            else:
                small = node.op_type != "Conv" and weight.size < LARGE
                few = 8 if small or recipe == "mixed" else bits[node.op_type]
                _store(name, weight, _rows(node, weight.ndim), few, weights[name], moments.get(weights[name]), add)
            del values[name]  # weights shared by several nodes are stored once
    del graph.node[:]
    graph.node.extend(_first(nodes))
    add.into(graph)


def _rows(node: onnx.NodeProto, rank: int) -> int:
    """Return the output axis of a node's weights."""
    first = node.op_type == "Conv" or any(field.name == "transB" and field.i for field in node.attribute)
    return 0 if first else rank - 1


def _product(
    node: onnx.NodeProto, weight: Array, parameter: str, moments: Floats | None, bits: int, add: Computed
) -> list[onnx.NodeProto]:
    """Return MatMul or Gemm as nodes that onnxruntime fuses: MatMulInteger, multiplied by the scales of both inputs."""
    (x, _, *bias), (y,) = node.input, node.output
    most = 127 if bits == 8 else 63
    values, scales = rounded(weight if _rows(node, 2) == 0 else weight.T, -most, most, moments)
    if bits == 8:
        values = (values.astype(np.int16) + 128).astype(np.uint8)
    stored, scale = add.tensor(np.ascontiguousarray(values.T), f"{parameter}.int8"), add.tensor(scales)
    zero = [add.tensor(np.uint8(128))] if bits == 8 else []
    quantised, product = [f"{x}.uint8", f"{x}.scale", f"{x}.zero"], f"{y}.product" if bias else y
    return [
        helper.make_node("DynamicQuantizeLinear", [x], quantised),
        helper.make_node("MatMulInteger", [quantised[0], stored, quantised[2], *zero], [f"{y}.int32"]),
        helper.make_node("Cast", [f"{y}.int32"], [f"{y}.float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [quantised[1], scale], [f"{y}.scale"]),
        helper.make_node("Mul", [f"{y}.float", f"{y}.scale"], [product]),
        *([helper.make_node("Add", [product, *bias], [y])] if bias else []),
    ]


def _store(
    name: str, weight: Array, rows: int, bits: int, parameter: str, moments: Floats | None, add: Computed
) -> None:
    """Restore weights from integers and a scale per output; ``rows`` is the output axis.

    DequantizeLinear is not used: onnxruntime would fuse it with a product to MatMulNBits, which is slower and quantises
    its input to 8 bits, and before a convolution it would run each time and prevent the fastest form of that.
    """
    turned = np.moveaxis(weight, rows, 0)
    values, scales = rounded(turned.reshape(len(turned), -1), *_range(bits), moments)
    values = np.moveaxis(values.reshape(turned.shape), 0, rows)
    scales = np.expand_dims(scales, [axis for axis in range(weight.ndim) if axis != rows])
    add("Mul", _integers(values, bits, parameter, add), scales, output=name)


def _store_blocks(name: str, weight: Array, parameter: str, add: Computed) -> None:
    """Restore a convolution's weights at each run from 4 bits and a scale per BLOCK inputs of an output and tap.

    Restoring that many weights on loading would cost DistilHuBERT 80 MB more memory and double its loading time.
    """
    outputs, inputs, *taps = weight.shape
    blocks = np.moveaxis(weight.reshape(outputs, inputs // BLOCK, BLOCK, *taps), 2, -1)
    values, scales = rounded(blocks.reshape(-1, BLOCK), *_range(4))
    values = np.moveaxis(values.reshape(blocks.shape), -1, 2).ravel()
    packed = ((values[::2] & 15) | (values[1::2] << 4)).astype(np.uint8).tobytes()
    stored = helper.make_tensor(f"{parameter}.int4", TensorProto.INT4, weight.shape, packed, raw=True)
    add.tensors.append(stored)
    add("DequantizeLinear", stored.name, scales.reshape(blocks.shape[:-1]), axis=1, block_size=BLOCK, output=name)


def _range(bits: int) -> tuple[int, int]:
    return (-127, 127) if bits == 8 else (-(1 << bits - 1), (1 << bits - 1) - 1)


def _integers(values: Array, bits: int, parameter: str, add: Computed) -> str:
    """Return the name of the integers as float32. Below 8 bits, several share a byte, the first in its lowest bits."""
    if bits == 8:
        return add("Cast", add.tensor(values, f"{parameter}.int8"), to=TensorProto.FLOAT)
    base, low = 1 << bits, _range(bits)[0]
    places = (base ** np.arange(8 // bits)).astype(np.uint8)
    digits = np.pad(values.ravel() - low, (0, -values.size % len(places))).astype(np.uint8)
    bytes_ = (digits.reshape(-1, len(places)) * places).sum(axis=1, dtype=np.uint8)[:, None]
    # Subtract the remainder first, because runtimes round integer divisions differently (OpenVINO rounds to nearest).
    row, places = (
        add("Cast", add.tensor(bytes_, f"{parameter}.int{bits}"), to=TensorProto.INT32),
        places.astype(np.int32),
    )
    row = add("Div", add("Sub", row, add("Mod", row, places)), places)
    row = add("Mod", row, np.int32(base))
    row = add("Slice", add("Reshape", row, [-1]), [0], [values.size])
    return add("Sub", add("Cast", add("Reshape", row, values.shape), to=TensorProto.FLOAT), np.float32(-low))


def _first(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Remove nodes whose outputs an earlier node computes: several products may share an input or a weight."""
    seen: set[str] = set()
    result = []
    for node in nodes:
        if not seen.issuperset(node.output):
            result.append(node)
        seen.update(node.output)
    return result
