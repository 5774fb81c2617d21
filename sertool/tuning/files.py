"""Write a Tail and a manifest into copies of a bundle's model files: ONNX, native weights, torch weights."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from safetensors.numpy import load_file, save

from sertool._types import Array, Floats
from sertool.bundle import METADATA_KEY, container
from sertool.errors import BundleError
from sertool.tuning.tail import Tail

#: Outputs and embedding of a model file in ONNX.
_OUTPUTS, _EMBEDDING = "outputs", "embedding"
#: Flag and largest number of outputs of native weights (csrc/sertool.h).
_SOFTMAX, MOST_NATIVE = 2, 16


def write_onnx(source: Path, target: Path, tail: Tail | None, manifest: str) -> None:
    """Copy an ONNX file with another manifest and, with ``tail``, nodes after its outputs.

    Tensors in other files stay there. Raises BundleError for a file without the outputs of sertool's exporters.
    """
    model = onnx.load(source, load_external_data=False)
    if tail:
        _append(model.graph, tail, source)
    entries = {entry.key: entry.value for entry in model.metadata_props} | {METADATA_KEY: manifest}
    del model.metadata_props[:]
    for key, value in entries.items():
        model.metadata_props.add(key=key, value=value)
    target.write_bytes(model.SerializeToString())


def _append(graph: Any, tail: Tail, source: Path) -> None:
    ends = {end.name: end for end in graph.output}
    makers = {node.output[0]: node for node in graph.node}
    if _OUTPUTS not in ends or _OUTPUTS not in makers:
        raise BundleError(f"{source}: has no output {_OUTPUTS!r}: not written by sertool's exporters")
    if tail.linear.weights is not None and _EMBEDDING not in ends:
        raise BundleError(f"{source}: has no embedding")
    prefix = next(name for name in _names("own") if not any(name in t.name for t in graph.initializer))
    last, before = makers[_OUTPUTS], f"{prefix}.before"
    if tail.had_classes and last.op_type == "Softmax":  # its input, up to a constant, is the logarithm of its output
        before = last.input[0]
        graph.node.remove(last)
    else:
        last.output[0] = before
        if tail.had_classes:
            graph.node.append(helper.make_node("Log", [before], [f"{prefix}.log"]))
            before = f"{prefix}.log"
    weights = tail.from_logits
    if np.array_equal(tail.linear.outputs, np.eye(len(weights))) and tail.linear.weights is None:
        graph.initializer.append(_tensor(f"{prefix}.bias", tail.linear.bias[None]))
        nodes = [helper.make_node("Add", [before, f"{prefix}.bias"], [f"{prefix}.sum"])]
    else:
        graph.initializer.append(_tensor(f"{prefix}.outputs", weights))
        graph.initializer.append(_tensor(f"{prefix}.bias", tail.linear.bias))
        total = f"{prefix}.sum" if tail.linear.weights is None else f"{prefix}.answer"
        nodes = [helper.make_node("Gemm", [before, f"{prefix}.outputs", f"{prefix}.bias"], [total], transB=1)]
        if tail.linear.weights is not None:
            graph.initializer.append(_tensor(f"{prefix}.embedding", tail.linear.weights))
            inputs = [_EMBEDDING, f"{prefix}.embedding", total]
            nodes.append(helper.make_node("Gemm", inputs, [f"{prefix}.sum"], transB=1))
    if tail.classes:
        nodes.append(helper.make_node("Softmax", [f"{prefix}.sum"], [_OUTPUTS], axis=1))
    else:
        nodes[-1].output[0] = _OUTPUTS
    graph.node.extend(nodes)
    ends[_OUTPUTS].type.tensor_type.shape.dim[1].dim_value = len(tail.linear.bias)


def _names(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem}{number}"
        number += 1


def _tensor(name: str, values: Floats) -> Any:
    return numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name)


def write_native(source: Path, target: Path, tail: Tail | None, manifest: str) -> None:
    """Copy native weights with another manifest and, with ``tail``, another last layer. Raise BundleError."""
    tensors, _ = container.unpacked(container.read(source).data)
    if tail:
        if tail.linear.weights is not None and "lin.bias" not in tensors:
            raise BundleError(f"{source}: has no embedding")
        weight, bias = last_layer(tail, tensors["head.weight"], tensors["head.bias"])
        if tail.linear.weights is not None:
            # The engine adds lin.bias to the embedding only: the head's bias has its part of it already.
            bias = bias + tail.linear.weights @ tensors["lin.bias"].astype(np.float64)
        one, _, flags, zero = tensors["network"].tolist()
        flags = flags & ~_SOFTMAX | (_SOFTMAX if tail.classes else 0)
        tensors["network"] = np.array([one, len(bias), flags, zero], np.int32)
        tensors["head.weight"], tensors["head.bias"] = weight, bias
    target.write_bytes(container.packed(tensors, manifest))


def last_layer(tail: Tail, weight: Array, bias: Array) -> tuple[Floats, Floats]:
    """Return (weight [new, width], bias [new]) of a linear last layer [k, width], [k] followed by ``tail``."""
    outputs, own = tail.from_logits, tail.linear.weights
    folded = outputs @ weight.astype(np.float64)
    return folded if own is None else folded + own, outputs @ bias.astype(np.float64) + tail.linear.bias


def write_torch(source: Path, target: Path, tail: Tail | None, embeddings: Array, outputs: Array) -> bool:
    """Copy torch weights, with ``tail`` folded into a linear last layer "head".

    ``embeddings`` [n, width] and ``outputs`` [n, k] of the old model are examples that show whether the network has
    such a layer. Return False, without a file, if it has not.
    """
    if tail is None:
        shutil.copyfile(source, target)
        return True
    tensors = load_file(source)
    names = [name.removesuffix(".weight") for name in tensors if f".{name}".endswith(".head.weight")]
    if len(names) != 1 or not embeddings.size:
        return False
    weight, bias = tensors[f"{names[0]}.weight"], tensors.get(f"{names[0]}.bias")
    if bias is None or weight.shape != (outputs.shape[1], embeddings.shape[1]):
        return False
    computed = embeddings @ weight.T.astype(np.float64) + bias
    expected = outputs
    if tail.had_classes:
        computed, expected = computed - computed.mean(axis=1, keepdims=True), np.log(np.maximum(outputs, 1e-30))
        expected = expected - expected.mean(axis=1, keepdims=True)
    if not np.allclose(computed, expected, atol=0.02):
        return False
    new, offset = last_layer(tail, weight, bias)
    tensors[f"{names[0]}.weight"], tensors[f"{names[0]}.bias"] = new.astype(np.float32), offset.astype(np.float32)
    # A bundle's network of classes is a sequence of the network, number 0, and a softmax.
    bare = {name.removeprefix("0.") if tail.had_classes else name: values for name, values in tensors.items()}
    target.write_bytes(save({f"0.{name}" if tail.classes else name: values for name, values in bare.items()}))
    return True
