"""Nodes that compute a constant; onnxruntime runs them once, when it loads the file."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper


class Computed:
    """Nodes and tensors of one or more constants. Calling it adds a node and returns the name of its output.

    Inputs are arrays, numbers or names; arrays keep their type. ``name`` is the prefix of all added names.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def __call__(self, operator: str, *inputs: Any, output: str | None = None, **attributes: Any) -> str:
        names = [value if isinstance(value, str) else self.tensor(value) for value in inputs]
        output = output or f"{self.name}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [output], **attributes))
        return output

    def tensor(self, value: npt.ArrayLike, name: str | None = None) -> str:
        """Add a tensor and return its name."""
        name = name or f"{self.name}:{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def into(self, graph: onnx.GraphProto) -> None:
        """Insert the nodes before those of ``graph``; they replace the initialisers with the names of their outputs."""
        computed = {node.output[0] for node in self.nodes}
        remaining = [tensor for tensor in graph.initializer if tensor.name not in computed]
        nodes = [*self.nodes, *graph.node]
        del graph.initializer[:], graph.node[:]
        graph.initializer.extend([*remaining, *self.tensors])
        graph.node.extend(nodes)
