"""A torch module as ONNX with its learned weights in few bits."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sertool import Source
from sertool.errors import UsageError
from sertool.nn.calibration import second_moments
from sertool.nn.rounding import rounded

from . import static
from .constants import Computed
from .export import plain, save, trace
from .small import fold_pool_biases, learned, shrink

#: What becomes of weights by the operator that takes them: a product in 8 bits, or stored in few bits.
RECIPES = {
    "mixed": {"MatMul": "product", "Conv": "stored", "Gemm": "stored"},
    "matmul": {"MatMul": "product", "Gemm": "product"},
    "weights": {"MatMul": "stored", "Conv": "stored", "Gemm": "stored"},
    "static": {},
}

#: Weights of fewer values stay float32; matrices of fewer are neither stored in less than 8 bits nor computed in 8:
#: most are the last layer, few bytes and the most delicate.
LEAST, LARGE = 128, 16_384

#: Recipe "mixed" restores convolutions of as many values at each run; in 4 bits they have a scale for as many inputs
#: of an output and tap, which takes an ONNX that knows 4 bits.
HUGE, BLOCK, OPSET = 1 << 20, 16, 21


def export(
    source: Source,
    path,
    metadata: dict[str, str],
    recipe: str = "mixed",
    bits: int = 8,
    conv: int = 8,
    product: int = 8,
    basis: bool = False,
    apart: str = "",
) -> None:
    """As exporter `onnx`, with learned weights in few bits, a scale for each output, and all else in float32.

    ``recipe``: "mixed" computes matrix products over frames in 8 bits and stores the other weights in 8, convolutions
    of a million values in ``conv`` if that is 4; "matmul" computes those and linear layers on pooled features in 8 bits
    and leaves all else; "weights" stores all weights in few bits, matrices in ``bits`` and convolutions in ``conv``,
    and computes in float32; "static" computes matrices and convolutions in 8 bits, with the ranges that
    ``source.clips`` show (see static.py). Products in 8 bits take their input as it comes (onnxruntime's dynamic
    quantisation). Their weights have 8 bits without a sign, which is exact on every processor; with a sign they would
    overflow on those without VNNI, so ``product`` = 7 gives them 7 bits and a sign, which is faster there. Convolutions
    in 8 bits are so several times slower (ConvInteger). What is stored, onnxruntime restores as it loads the file,
    which so is as fast as float32. ``apart`` names a part of the network whose weights go to a file of their own (see
    export.put_apart).

    With ``source.clips``, weights are rounded so that the outputs of their layers change least on them. Buffers are
    never quantised, nor LogMel's constants unless ``basis`` asks for it. Raises UsageError for what it does not know,
    and SertoolError as `onnx`.
    """
    if recipe not in RECIPES:
        raise UsageError(f"onnx-int8: there is no recipe {recipe!r} (there are: {', '.join(RECIPES)})")
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


def _quantise(graph: onnx.GraphProto, recipe: str, bits: dict, weights: dict[str, str], moments: dict) -> None:
    """``bits`` by operator, ``moments`` by parameter; ``weights``: initialiser that may change -> its parameter."""
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
            del values[name]  # one that several nodes take is stored once
    del graph.node[:]
    graph.node.extend(_first(nodes))
    add.into(graph)


def _rows(node: onnx.NodeProto, rank: int) -> int:
    """The axis of a node's weights that its outputs are counted along."""
    first = node.op_type == "Conv" or any(field.name == "transB" and field.i for field in node.attribute)
    return 0 if first else rank - 1


def _product(node: onnx.NodeProto, weight, parameter: str, moments, bits: int, add: Computed) -> list[onnx.NodeProto]:
    """MatMul or Gemm as nodes that onnxruntime joins again: MatMulInteger, with the scales of both sides put on it."""
    (x, _, *bias), (y,) = node.input, node.output
    most = 127 if bits == 8 else 63
    values, scales = rounded(weight if _rows(node, 2) == 0 else weight.T, -most, most, moments)
    if bits == 8:
        values = (values.astype(np.int16) + 128).astype(np.uint8)
    values, scales = add.tensor(np.ascontiguousarray(values.T), f"{parameter}.int8"), add.tensor(scales)
    zero = [add.tensor(np.uint8(128))] if bits == 8 else []
    quantised, product = [f"{x}.uint8", f"{x}.scale", f"{x}.zero"], f"{y}.product" if bias else y
    return [
        helper.make_node("DynamicQuantizeLinear", [x], quantised),
        helper.make_node("MatMulInteger", [quantised[0], values, quantised[2], *zero], [f"{y}.int32"]),
        helper.make_node("Cast", [f"{y}.int32"], [f"{y}.float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [quantised[1], scales], [f"{y}.scale"]),
        helper.make_node("Mul", [f"{y}.float", f"{y}.scale"], [product]),
        *([helper.make_node("Add", [product, *bias], [y])] if bias else []),
    ]


def _store(name: str, weight, rows: int, bits: int, parameter: str, moments, add: Computed) -> None:
    """Restore weights from integers and a scale for each output, which are counted along axis ``rows``.

    Not by DequantizeLinear: onnxruntime would join it with a product to one (MatMulNBits) that is slower and takes its
    input in 8 bits, and before a convolution run it each time, which keeps that from its fastest form.
    """
    turned = np.moveaxis(weight, rows, 0)
    values, scales = rounded(turned.reshape(len(turned), -1), *_range(bits), moments)
    values = np.moveaxis(values.reshape(turned.shape), 0, rows)
    scales = np.expand_dims(scales, [axis for axis in range(weight.ndim) if axis != rows])
    add("Mul", _integers(values, bits, parameter, add), scales, output=name)


def _store_blocks(name: str, weight, parameter: str, add: Computed) -> None:
    """Restore a convolution's weights at each run from 4 bits and a scale for each BLOCK inputs of an output and tap.

    To restore so many as the file is loaded takes 80 MB more of DistilHuBERT, and as long again.
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


def _integers(values: np.ndarray, bits: int, parameter: str, add: Computed) -> str:
    """The value that holds integers as float32. Those of less than 8 bits share a byte, the first in its lowest."""
    if bits == 8:
        return add("Cast", add.tensor(values, f"{parameter}.int8"), to=TensorProto.FLOAT)
    base, low = 1 << bits, _range(bits)[0]
    places = (base ** np.arange(8 // bits)).astype(np.uint8)
    digits = np.pad(values.ravel() - low, (0, -values.size % len(places))).astype(np.uint8)
    bytes_ = (digits.reshape(-1, len(places)) * places).sum(axis=1, dtype=np.uint8)[:, None]
    # Less its remainder, a byte is divided without rounding, in which runtimes differ (OpenVINO's is to the nearest).
    row, places = (
        add("Cast", add.tensor(bytes_, f"{parameter}.int{bits}"), to=TensorProto.INT32),
        places.astype(np.int32),
    )
    row = add("Div", add("Sub", row, add("Mod", row, places)), places)
    row = add("Mod", row, np.int32(base))
    row = add("Slice", add("Reshape", row, [-1]), [0], [values.size])
    return add("Sub", add("Cast", add("Reshape", row, values.shape), to=TensorProto.FLOAT), np.float32(-low))


def _first(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Without nodes whose outputs an earlier one gives: an input or a weight that several products share."""
    seen, kept = set(), []
    for node in nodes:
        if not seen.issuperset(node.output):
            kept.append(node)
        seen.update(node.output)
    return kept
