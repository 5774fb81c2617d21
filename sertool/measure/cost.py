"""Measure the cost of a model: weights and multiplications from its ONNX graph, time and memory by running it.

Weights and multiplications of native files are counted in native.py.
"""

import gc
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sertool import bundle
from sertool.errors import SertoolError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

#: Operator -> input slots that hold scales or zero points per channel or per block.
_SCALES = {
    "QLinearConv": (4, 5),
    "QLinearMatMul": (4, 5),
    "QGemm": (4, 5),
    "ConvInteger": (3,),
    "MatMulInteger": (3,),
    "MatMulNBits": (2, 3),
    "DynamicQuantizeMatMul": (2, 3),
    "MatMulIntegerToFloat": (3, 5),
}
#: Operator -> input slot that may hold an int32 bias.
_BIASES = {"QLinearConv": 8, "QGemm": 6}

#: Operator -> input slot of the kernel [outputs, inputs of a group, *taps].
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
#: Operators that multiply matrices; the first input is [..., m, k].
_PRODUCTS = ("MatMul", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeMatMul", "MatMulIntegerToFloat")

#: Number of values above which shape inference does not need a tensor's content.
_SHAPELIKE = 64


@dataclass(frozen=True)
class Cost:
    """Time and memory of one model in its own process, excluding imports.

    ``seconds``: wall-clock time of each run on ``audio_s`` seconds of audio; ``load_s``: time to load the model;
    ``peak_bytes``: peak resident memory of the process, of which ``added_bytes`` were added after the runtime import.
    """

    load_s: float
    seconds: list[float]
    peak_bytes: int
    added_bytes: int
    threads: int
    audio_s: float


def fresh(
    model: str, variant: str | None = None, seconds: float = 5.0, repeats: int = 21, threads: int = 1, warmup: int = 3
) -> Cost:
    """Run a model (a name, a bundle folder or a model file) in its own process, as `sertool label` runs it.

    The audio is noise of constant level. Raises SertoolError if the model cannot be loaded or run, or if the process
    crashes.
    """
    job: dict[str, Any] = {
        "variant": variant,
        "seconds": seconds,
        "repeats": repeats,
        "warmup": warmup,
        "threads": threads,
    }
    return Cost(**process("measure", model, model=model, **job), threads=threads, audio_s=seconds)


def alternating(
    calls: Mapping[str, Callable[[], object]], repeats: int = 21, warmup: int = 3
) -> dict[str, list[float]]:
    """Measure the wall-clock seconds of each call, ``repeats`` times after ``warmup`` runs that are not measured.

    The calls alternate, every other round in reverse order, so that throttling and cache effects hit all of them
    equally.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(warmup + repeats):
            for name in calls if turn % 2 else reversed(list(calls)):
                start = time.perf_counter()
                calls[name]()
                if turn >= warmup:
                    times[name].append(time.perf_counter() - start)
    finally:
        if collecting:
            gc.enable()
    return times


def process(task: str, what: str, *, module: str = "sertool.measure.process", **job: Any) -> Any:
    """Run a task of ``module`` in a new Python process and return its result.

    Raises SertoolError, which names ``what``, if there is no result.
    """
    # The same module path as this process, without modules in the working directory.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-P", "-m", module, task, json.dumps(job)]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        answer = {"error": _death(done)}
    if "error" in answer:
        raise SertoolError(answer["error"] if what in answer["error"] else f"{what}: {answer['error']}")
    return answer["result"]


def _death(done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode == -9:
        return "its process was killed; most likely memory ran out: close other programs or use a larger machine"
    if done.returncode < 0:
        return f"its process crashed with {signal.Signals(-done.returncode).name}"
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    return f"its process failed: {last[0]}"


def parameters(path: Path | str) -> int:
    """Count the weights in an ONNX file.

    Counts the elements of every constant that is an operator's input together with a value that depends on the audio,
    once however often it is used, and after unpacking and scaling by nodes that depend on nothing else: packed 4-bit
    values count individually, scales do not count. The count is limited to what the file stores as float, 8-bit or
    4-bit values or as int32 biases, so a Fourier basis that nodes compute does not count. Zero points, shapes and other
    integers, and single values (constants of a formula) do not count either. Untrained tables count if they are stored;
    of a batch norm that is folded into a convolution only the bias counts.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    graph, stored = model.graph, dict(_stored(model.graph))
    sources = _constants(graph)
    uses: dict[str, tuple[NodeProto, int]] = {}
    # MatMulInteger's result is scaled by the product of both inputs' scales.
    input_scales = {node.output[1] for node in graph.node if node.op_type == "DynamicQuantizeLinear"}
    for node in graph.node:
        if node.output[0] not in sources and not (node.op_type == "Mul" and input_scales.intersection(node.input)):
            for slot, name in enumerate(node.input):
                if name in sources and slot not in _SCALES.get(node.op_type, ()):
                    uses.setdefault(name, (node, slot))
    shapes, types = _shapes(model, 80_000)
    count = 0
    for name, (node, slot) in uses.items():
        bias = types.get(name) in _float_types() or _BIASES.get(node.op_type) == slot
        available = sum(_values(stored.pop(source), bias) for source in sources[name] if source in stored)
        number = math.prod(shapes.get(name, [available]))
        if node.op_type == "MatMulNBits":  # stored as bytes [n, blocks, bytes per block]
            number = _attributes(node)["K"] * _attributes(node)["N"]
        if number > 1:
            count += min(number, available)
    return count


def _constants(graph: "GraphProto") -> dict[str, set[str]]:
    """Return value -> stored tensors it is computed from, for values that depend on nothing else."""
    sources: dict[str, set[str]] = {name: {name} for name, _ in _stored(graph)}
    for node in graph.node:
        names = [name for name in node.input if name]
        if names and all(name in sources for name in names):
            sources |= dict.fromkeys(node.output, set().union(*(sources[name] for name in names)))
    return sources


def _values(tensor: "TensorProto", bias: bool) -> int:
    """Return the largest number of weights that a stored tensor can hold."""
    import onnx

    number: int = math.prod(tensor.dims)
    kind = onnx.TensorProto.DataType.Name(tensor.data_type)
    if number == 1:
        return 0
    if kind in ("INT8", "UINT8"):
        return 2 * number  # it may be packed 4-bit values
    return number if tensor.data_type in _float_types() or kind.endswith("INT4") or (bias and kind == "INT32") else 0


def macs(path: Path | str, samples: int) -> int:
    """Count the multiply-accumulates of an ONNX file for ``samples`` samples at 16 kHz.

    Counts convolutions, matrix products, including those of attention, and recurrent layers, also quantised ones;
    products with padding count. Element-wise operations and a LogMel computed by the C front end do not count. Shapes
    come from onnx.shape_inference for this length. Raises SertoolError if a shape cannot be inferred.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    shapes, _ = _shapes(model, samples)
    try:
        return sum(_node_macs(node, shapes) for node in model.graph.node)
    except KeyError as error:
        raise SertoolError(f"{path}: the shape of {error} is unknown: multiplications cannot be counted") from None


def stored_bytes(path: Path | str) -> int:
    """Return the size of an ONNX file including its external data files."""
    import onnx

    external: set[str] = set()
    for _, tensor in _stored(onnx.load(path, load_external_data=False).graph):
        external |= {entry.value for entry in tensor.external_data if entry.key == "location"}
    return sum(
        file.stat().st_size
        for file in [Path(path), *(bundle.place(Path(path).parent, name) for name in sorted(external))]
    )


def cut(path: Path | str, parts: dict[str, str], folder: Path | str) -> dict[str, str]:
    """Split an ONNX file into one file per part, name -> file in ``folder``; inputs are outputs of earlier parts.

    ``parts`` are name -> module whose weights end that part, in order; the last part gets all remaining nodes. Raises
    SertoolError if the graph has no such weights.
    """
    import onnx

    model = onnx.load(path)
    files: dict[str, str] = {}
    _, types = _shapes(onnx.load(path, load_external_data=False), 80_000)
    left, constants = list(model.graph.node), _constants(model.graph)
    for number, (name, module) in enumerate(parts.items(), start=1):
        nodes = left if number == len(parts) else _until(left, module, constants)
        if not nodes:
            raise SertoolError(f"{path}: no weights of {module!r} in it: its {name} cannot be measured separately")
        chosen = {id(node) for node in nodes}
        left = [node for node in left if id(node) not in chosen]
        files[name] = str(Path(folder, f"part{number}.onnx"))
        onnx.save(_subgraph(model, nodes, left, types), files[name])
    return files


def _until(nodes: "Sequence[NodeProto]", module: str, constants: dict[str, set[str]]) -> "list[NodeProto]":
    """Return the nodes that use a module's weights, unpacked or not, and all nodes that these depend on."""
    weights = {name for name, sources in constants.items() if any(f".{module}." in f".{source}" for source in sources)}
    needed: set[str] = set()
    result = []
    for node in reversed(nodes):
        if needed.intersection(node.output) or (weights.intersection(node.input) and node.output[0] not in constants):
            result.append(node)
            needed.update(node.input)
    return result[::-1]


def _subgraph(
    model: "ModelProto", nodes: "Sequence[NodeProto]", later: "Sequence[NodeProto]", types: dict[str, int]
) -> "ModelProto":
    """Return a model of ``nodes`` whose outputs are the values that ``later`` nodes use, or the model's outputs."""
    import onnx

    graph, outputs = model.graph, {name for node in nodes for name in node.output}
    inputs = {name for node in nodes for name in node.input if name} - outputs
    used = {name for node in later for name in node.input} | {value.name for value in graph.output}
    stored = [tensor for tensor in graph.initializer if tensor.name in inputs]
    values = {value.name: value for value in [*graph.input, *graph.output]}

    def value(name: str) -> Any:
        return values.get(name) or onnx.helper.make_tensor_value_info(name, types[name], None)

    names = sorted(inputs - {tensor.name for tensor in stored})
    part = onnx.helper.make_graph(
        nodes, graph.name, list(map(value, names)), [value(n) for n in sorted(outputs & used)], stored
    )
    return onnx.helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)


def _node_macs(node: "NodeProto", shapes: dict[str, list[int]]) -> int:
    kind = node.op_type
    if kind in _CONVOLUTIONS:
        return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[_CONVOLUTIONS[kind]]][1:])
    if kind == "ConvTranspose":
        return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])
    if kind in _PRODUCTS:
        return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    if kind in ("Gemm", "QGemm"):
        k = shapes[node.input[0]][0 if _attributes(node).get("transA") else 1]
        return math.prod(shapes[node.output[0]]) * k
    if kind == "MatMulNBits":
        return math.prod(shapes[node.input[0]]) * _attributes(node)["N"]
    if kind == "Attention":  # queries times keys, then weights times values
        keys = shapes[node.input[1]][-2]
        return keys * (math.prod(shapes[node.input[0]]) + math.prod(shapes[node.output[0]]))
    if kind in ("LSTM", "GRU", "RNN"):
        steps, batch, _ = shapes[node.input[0]]
        return steps * batch * (math.prod(shapes[node.input[1]]) + math.prod(shapes[node.input[2]]))
    return 0


def _shapes(model: "ModelProto", samples: int) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Return value -> shape, where all axes are known, and value -> type. Clears large tensors of the model."""
    import onnx

    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = _input_length(model, samples)
    for _, tensor in _stored(model.graph):
        if math.prod(tensor.dims) > _SHAPELIKE:  # shape inference would copy hundreds of MB
            for content in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "external_data"):
                tensor.ClearField(content)
            tensor.ClearField("data_location")
    while True:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        shapes = {name: list(tensor.dims) for name, tensor in _stored(graph)}
        types: dict[str, int] = {}
        for value in [*graph.input, *graph.value_info, *graph.output]:
            kind = value.type.tensor_type
            types[value.name] = kind.elem_type
            if kind.HasField("shape") and all(axis.HasField("dim_value") for axis in kind.shape.dim):
                shapes[value.name] = [axis.dim_value for axis in kind.shape.dim]
        lacking = [n for n in graph.node if n.op_type in _NOT_INFERRED and n.output[0] not in shapes]
        known = [n for n in lacking if n.input[0] in shapes]
        if not known:
            return shapes, types
        for node in known:
            shape = _NOT_INFERRED[node.op_type](node, shapes[node.input[0]])
            element = types[node.input[0]]
            model.graph.value_info.append(onnx.helper.make_tensor_value_info(node.output[0], element, shape))


#: Operators that onnx 1.23 cannot infer the output shape of -> function of the node and its input shape.
_NOT_INFERRED: "dict[str, Callable[[NodeProto, list[int]], list[int]]]" = {
    "GroupNormalization": lambda node, shape: shape,
    "MatMulNBits": lambda node, shape: [*shape[:-1], _attributes(node)["N"]],
}


def _input_length(model: "ModelProto", samples: int) -> int:
    """Return the length of axis 1 of the input: samples, or LogMel frames."""
    properties = {entry.key: entry.value for entry in model.metadata_props}
    manifest = json.loads(properties.get(bundle.METADATA_KEY, "{}"))
    if manifest and manifest["variants"][0]["input"] == "logmel":
        hop: int = manifest["frontend"]["hop"]
        return 1 + samples // hop
    return samples


def _stored(graph: "GraphProto") -> "Iterator[tuple[str, TensorProto]]":
    """Yield (name, tensor) of all stored tensors."""
    yield from ((tensor.name, tensor) for tensor in graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant":
            yield from ((node.output[0], field.t) for field in node.attribute if field.name == "value")


def _float_types() -> set[int]:
    from onnx import TensorProto

    return {kind for name, kind in TensorProto.DataType.items() if "FLOAT" in name or name == "DOUBLE"}


def _attributes(node: "NodeProto") -> dict[str, int]:
    return {field.name: field.i for field in node.attribute}
