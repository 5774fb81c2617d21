"""Nodes that compute a constant, which onnxruntime does once, as it loads the file."""

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Computed:
    """Nodes and tensors of one or more constants. Calling it adds a node and returns the name of its value.

    Inputs are arrays, numbers, or names; an array's type is its own. ``name`` begins the names of what is added.
    """

    def __init__(self, name: str):
        self.name, self.nodes, self.tensors = name, [], []

    def __call__(self, operator: str, *inputs, output: str | None = None, **attributes) -> str:
        names = [value if isinstance(value, str) else self.tensor(value) for value in inputs]
        output = output or f"{self.name}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [output], **attributes))
        return output

    def tensor(self, value, name: str | None = None) -> str:
        """Add a tensor, and return its name."""
        name = name or f"{self.name}:{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def into(self, graph: onnx.GraphProto) -> None:
        """Put the nodes before those of ``graph``, in place of the initialisers of the same names as their outputs."""
        made = {node.output[0] for node in self.nodes}
        kept = [tensor for tensor in graph.initializer if tensor.name not in made]
        nodes = [*self.nodes, *graph.node]
        del graph.initializer[:], graph.node[:]
        graph.initializer.extend([*kept, *self.tensors])
        graph.node.extend(nodes)
