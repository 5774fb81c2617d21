"""Reduce the size of a graph: compute constants on loading, remove duplicates, shorten names."""

import hashlib
import re
from itertools import count
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from sertool._types import Array
from sertool.nn import LogMel, Positions
from sertool.nn.positions import sinusoids

from .constants import Computed

#: Approximate bytes of the nodes that scatter non-zeros.
SCATTER = 150

#: Suffix of a parameter's name if the file stores it in another form.
FORM = re.compile(r"\.(int\d|half)$")

#: Attributes that a node may omit if all their values are these.
USUAL = {"dilations": 1, "strides": 1, "pads": 0}


def learned(graph: onnx.GraphProto, module: torch.nn.Module, basis: bool = False) -> dict[str, str]:
    """Map initialisers to the parameters of ``module`` they hold, maybe transposed; LogMel's only with ``basis``."""
    fixed = set() if basis else {f"{place}{name}" for place, part in _logmels(module) for name in part.state_dict()}
    fixed |= {f"{name}.weight" for name, part in module.named_modules() if isinstance(part, Positions)}
    parameters = {name: value for name, value in module.named_parameters(remove_duplicate=False) if name not in fixed}
    turned = {_digest(value.detach().T.numpy()): name for name, value in parameters.items() if value.ndim == 2}
    result: dict[str, str] = {}
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            name = tensor.name if tensor.name in parameters else turned.get(_digest(numpy_helper.to_array(tensor)))
            result |= {tensor.name: name} if name else {}
    return result


def fold_pool_biases(graph: onnx.GraphProto) -> None:
    """Remove biases around a softmax over tokens, such as those of sertool.nn.SoftmaxPool, from a traced graph.

    A bias of the softmax's input has no effect. A bias of the values that it weights reaches the output unchanged,
    because the weights sum to 1, and is added to the bias of the next layer: exact except for float32 rounding.
    """
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.value_info}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}

    def user(name: str, operator: str) -> Any:
        """Return the only node that uses ``name`` if its operator is this one, else None; None for an output."""
        users = [node for node in graph.node if name in node.input]
        alone = len(users) == 1 and all(name != end.name for end in graph.output)
        return users[0] if alone and users[0].op_type == operator else None

    def skip_bias(node: onnx.NodeProto, place: int) -> Array | None:
        """Remove the node that adds a vector to an input of ``node``, and return the vector; None if there is none."""
        adding = makers.get(node.input[place])
        if adding is None or adding.op_type != "Add":
            return None
        vector = tensors.get(adding.input[1])
        if vector is None or len(vector.dims) != 1 or not user(adding.output[0], node.op_type):
            return None
        node.input[place] = adding.input[0]
        graph.node.remove(adding)
        return numpy_helper.to_array(vector)

    for softmax in [node for node in graph.node if node.op_type == "Softmax"]:
        if helper.get_node_attr_value(softmax, "axis") != 1 or ranks.get(softmax.input[0]) != 3:
            continue
        skip_bias(softmax, 0)
        product = user(softmax.output[0], "Mul")
        total = product and user(product.output[0], "ReduceSum")
        head = total and user(total.output[0], "Gemm")
        over = head and tensors.get(total.input[1])
        if not over or numpy_helper.to_array(over).tolist() != [1] or not {*head.input[1:]} <= {*tensors}:
            continue
        bias = skip_bias(product, 1 - list(product.input).index(softmax.output[0]))
        if bias is not None:
            weight, offset = (numpy_helper.to_array(tensors[name]).astype(np.float64) for name in head.input[1:])
            moved = offset + (weight @ bias if helper.get_node_attr_value(head, "transB") else bias @ weight)
            tensors[head.input[2]].CopyFrom(numpy_helper.from_array(moved.astype(np.float32), head.input[2]))
    _drop_unused(graph)


def shrink(model: onnx.ModelProto, module: torch.nn.Module) -> None:
    """Reduce the size of a graph without changing its values.

    LogMel's Fourier basis and sinusoidal positions become nodes in double precision, and matrices that are mostly zero,
    such as LogMel's filters, become their non-zeros: onnxruntime computes all of these once, when it loads the file.
    """
    graph = model.graph
    for place, part in _logmels(module):
        _compute_basis(graph, place, part.geometry.n_fft)
    for name, part in module.named_modules():
        if isinstance(part, Positions):
            _compute_positions(graph, f"{name}.weight".lstrip("."), *part.weight.shape)
    _scatter(graph)
    for node in graph.node:
        _drop_defaults(node)
    _merge(graph)
    _shorten(graph, {*module.state_dict()})


def _logmels(module: torch.nn.Module) -> list[tuple[str, LogMel]]:
    """Return (prefix of its parameter names, LogMel) for each LogMel of a module."""
    return [(f"{name}.".lstrip("."), part) for name, part in module.named_modules() if isinstance(part, LogMel)]


def _compute_basis(graph: onnx.GraphProto, place: str, n_fft: int) -> None:
    """Compute sertool.features.mel.fourier_basis with the same operations."""
    if not {f"{place}real", f"{place}imaginary"} <= {tensor.name for tensor in graph.initializer}:
        return  # quantised or removed
    add = Computed(f"{place}basis")
    bins, samples = add.tensor(np.arange(n_fft // 2 + 1)[:, None, None]), add.tensor(np.arange(n_fft))
    turn, half = add.tensor(-2 * np.pi / n_fft), add.tensor(0.5)
    phase = add("Mod", add("Mul", bins, samples), n_fft)
    angle = add("Mul", add("Cast", phase, to=TensorProto.DOUBLE), turn)
    cosine = add("Cos", add("Mul", add("Cast", samples, to=TensorProto.DOUBLE), turn))
    window = add("Sub", half, add("Mul", cosine, half))
    for wave, name in (("Cos", "real"), ("Sin", "imaginary")):
        add("Cast", add("Mul", add(wave, angle), window), to=TensorProto.FLOAT, output=f"{place}{name}")
    add.into(graph)


def _compute_positions(graph: onnx.GraphProto, name: str, longest: int, width: int) -> None:
    """Compute sertool.nn.positions.sinusoids with the same operations if the table is identical to it."""
    table = next((numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.name == name), None)
    if table is None or not np.array_equal(table, sinusoids(longest, width)):
        return
    add = Computed(name)
    step = add.tensor(-np.log(10_000) / (width // 2 - 1))
    numbers = [add("Cast", add.tensor(np.arange(n)), to=TensorProto.DOUBLE) for n in (width // 2, longest)]
    rates = add("Exp", add("Mul", numbers[0], step))
    angles = add("Mul", add("Reshape", numbers[1], [-1, 1]), rates)
    both = add("Concat", add("Sin", angles), add("Cos", angles), axis=1)
    half = add("Cast", add("Cast", both, to=TensorProto.FLOAT), to=TensorProto.FLOAT16)
    add("Cast", half, to=TensorProto.FLOAT, output=name)
    add.into(graph)


def _scatter(graph: onnx.GraphProto) -> None:
    """Replace float32 matrices that are mostly zero by their non-zeros and the indices of these, two bytes each."""
    add = Computed("scatter")
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        places = np.flatnonzero(values)
        if tensor.data_type == TensorProto.FLOAT and 6 * len(places) + SCATTER < values.nbytes:
            if not len(places):  # OpenVINO does not accept an empty scatter
                add("ConstantOfShape", values.shape, output=tensor.name)
                continue
            zeros = add("ConstantOfShape", [values.size])
            flat = add("ScatterElements", zeros, places, values.ravel()[places])
            add("Reshape", flat, values.shape, output=tensor.name)
    add.into(graph)


def _drop_defaults(node: onnx.NodeProto) -> None:
    known = onnx.defs.get_schema(node.op_type).attributes
    for attribute in list(node.attribute):
        value, usual = helper.get_attribute_value(attribute), USUAL.get(attribute.name)
        if attribute.SerializeToString() == known[attribute.name].default_value.SerializeToString() or (
            usual is not None and {*value} == {usual}
        ):
            node.attribute.remove(attribute)


def _merge(graph: onnx.GraphProto) -> None:
    """Remove duplicate and unused constants; store integers in the fewest bytes."""
    first: dict[tuple[Any, ...], str] = {}
    same: dict[str, str] = {}
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        same[tensor.name] = first.setdefault((tensor.data_type, *tensor.dims, values.tobytes()), tensor.name)
        if tensor.data_type == TensorProto.INT64 and values.min(initial=0) >= 0:
            tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.INT64, tensor.dims, values.ravel().tolist()))
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
    _drop_unused(graph)


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    remaining = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(remaining)


def _shorten(graph: onnx.GraphProto, weights: set[str]) -> None:
    """Rename values to numbers, except inputs, outputs and the initialisers with the module's weights."""
    names: dict[str, str] = {name: name for name in ["", *(value.name for value in [*graph.input, *graph.output])]}
    names |= {t.name: t.name for t in graph.initializer if FORM.sub("", t.name) in weights}
    fresh = (name for name in map("{:x}".format, count()) if name not in names)

    def short(name: str) -> str:
        if name not in names:
            names[name] = next(fresh)
        return names[name]

    for tensor in graph.initializer:
        tensor.name = short(tensor.name)
    for node in graph.node:
        node.ClearField("name")
        node.input[:], node.output[:] = list(map(short, node.input)), list(map(short, node.output))


def _digest(values: Array) -> bytes:
    return hashlib.sha256(repr(values.shape).encode() + np.ascontiguousarray(values).tobytes()).digest()
