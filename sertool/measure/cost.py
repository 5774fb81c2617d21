"""What a model costs: weights and multiplications by its ONNX graph, time and memory by running it.

Weights and multiplications of native weights are counted in cost_native.py.
"""

import gc
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sertool import bundle
from sertool.errors import SertoolError

#: Operator -> slots of its inputs that hold a scale or a zero point a channel, or a block, beside the audio's values.
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
#: Operator -> slot of its input that may hold an int32 bias.
_BIASES = {"QLinearConv": 8, "QGemm": 6}

#: Operator -> slot of the kernel [outputs, inputs of a group, *taps].
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
#: Operators that multiply matrices [..., m, k] of their first input.
_PRODUCTS = ("MatMul", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeMatMul", "MatMulIntegerToFloat")

#: Values beyond which shape inference has no use for a tensor's content.
_SHAPELIKE = 64


@dataclass(frozen=True)
class Cost:
    """What one model took in a process of its own, imports excluded.

    ``seconds``: wall-clock time of each run on ``audio_s`` of audio, ``load_s`` of opening the model; ``peak_bytes``:
    the largest resident memory of the process, of which ``added_bytes`` came after the runtime was imported.
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
    """Run a model (a name, a bundle folder or a model file) in a process of its own, as `sertool label` runs it.

    The audio is noise of even level. SertoolError if the model cannot be loaded or run, or if the process dies.
    """
    job = {"variant": variant, "seconds": seconds, "repeats": repeats, "warmup": warmup, "threads": threads}
    return Cost(**process("measure", model, model=model, **job), threads=threads, audio_s=seconds)


def alternating(calls: dict[str, Callable[[], object]], repeats: int = 21, warmup: int = 3) -> dict[str, list[float]]:
    """Wall-clock seconds of each call, ``repeats`` of each after ``warmup`` that do not count.

    The calls take turns, every other round in reverse order, so that the machine's moods and what a call leaves in the
    caches meet all of them.
    """
    times = {name: [] for name in calls}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(warmup + repeats):
            for name in calls if turn % 2 else reversed(calls):
                start = time.perf_counter()
                calls[name]()
                if turn >= warmup:
                    times[name].append(time.perf_counter() - start)
    finally:
        if collecting:
            gc.enable()
    return times


def process(task: str, what: str, *, module: str = "sertool.measure.process", **job):
    """Run a task of ``module`` in a new Python process and return its result.

    Raises SertoolError, which says why there is none for ``what``.
    """
    # The same modules as here, and none of those that happen to lie in the working directory.
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


def _death(done: subprocess.CompletedProcess) -> str:
    if done.returncode == -9:
        return "its process was killed; most likely memory ran out: close other programs or take a larger machine"
    if done.returncode < 0:
        return f"its process died of {signal.Signals(-done.returncode).name}"
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    return f"its process failed: {last[0]}"


def parameters(path: Path | str) -> int:
    """How many weights an ONNX file holds.

    Counted are the elements of every constant that an operator takes along with what depends on the audio, once
    however often it is used, and as it is when nodes that depend on nothing else have unpacked and scaled it: 4-bit
    values in bytes count as many as they are, scales do not count. But no more than the file stores, as float, 8-bit or
    4-bit values or as int32 biases: a Fourier basis that nodes compute is none. Nor are zero points, shapes and other
    integers, or single values (constants of a formula). So tables that were never trained count where they are stored;
    a batch norm that was folded into a convolution is but its bias.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    graph, stored = model.graph, dict(_stored(model.graph))
    sources, taken = _constants(graph), {}
    # MatMulInteger's result is scaled by the product of both sides' scales.
    own = {node.output[1] for node in graph.node if node.op_type == "DynamicQuantizeLinear"}
    for node in graph.node:
        if node.output[0] not in sources and not (node.op_type == "Mul" and own.intersection(node.input)):
            for slot, name in enumerate(node.input):
                if name in sources and slot not in _SCALES.get(node.op_type, ()):
                    taken.setdefault(name, (node, slot))
    shapes, types = _shapes(model, 80_000)
    count = 0
    for name, (node, slot) in taken.items():
        bias = types.get(name) in _float_types() or _BIASES.get(node.op_type) == slot
        held = sum(_values(stored.pop(source), bias) for source in sources[name] if source in stored)
        number = math.prod(shapes.get(name, [held]))
        if node.op_type == "MatMulNBits":  # of bytes [n, blocks, bytes of a block]
            number = _attributes(node)["K"] * _attributes(node)["N"]
        if number > 1:
            count += min(number, held)
    return count


def _constants(graph) -> dict[str, set[str]]:
    """Value -> names of what it is computed of, where that is stored and nothing else."""
    sources = {name: {name} for name, _ in _stored(graph)}
    for node in graph.node:
        names = [name for name in node.input if name]
        if names and all(name in sources for name in names):
            sources |= dict.fromkeys(node.output, set().union(*(sources[name] for name in names)))
    return sources


def _values(tensor, bias: bool) -> int:
    """The most weights that a stored tensor can be."""
    import onnx

    number, kind = math.prod(tensor.dims), onnx.TensorProto.DataType.Name(tensor.data_type)
    if number == 1:
        return 0
    if kind in ("INT8", "UINT8"):
        return 2 * number  # 4 bits each, perhaps
    return number if tensor.data_type in _float_types() or kind.endswith("INT4") or (bias and kind == "INT32") else 0


def macs(path: Path | str, samples: int) -> int:
    """Multiply-accumulates of an ONNX file on so many samples at 16 kHz.

    Counted are convolutions, matrix products, those of attention among them, and recurrent layers, whatever they are
    quantised to; a product with padding counts as any. Not counted is what works element by element, nor a LogMel that
    the C front-end computes. Shapes are those that onnx.shape_inference finds for this length. SertoolError where it
    finds none.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    shapes, _ = _shapes(model, samples)
    try:
        return sum(_node_macs(node, shapes) for node in model.graph.node)
    except KeyError as error:
        raise SertoolError(
            f"{path}: the shape of {error} is not known: its multiplications cannot be counted"
        ) from None


def stored_bytes(path: Path | str) -> int:
    """Size of an ONNX file with the files that hold its external data."""
    import onnx

    beside = set()
    for _, tensor in _stored(onnx.load(path, load_external_data=False).graph):
        beside |= {entry.value for entry in tensor.external_data if entry.key == "location"}
    return sum(
        file.stat().st_size
        for file in [Path(path), *(bundle.place(Path(path).parent, name) for name in sorted(beside))]
    )


def cut(path: Path | str, parts: dict[str, str], folder: Path | str) -> dict[str, str]:
    """Cut an ONNX file into one for each part, name -> file in ``folder``; a file takes what those before it give.

    ``parts`` are name -> module of the network whose weights end that part, in order; the last takes all that is left.
    SertoolError if the graph has no such weights.
    """
    import onnx

    model, files = onnx.load(path), {}
    _, types = _shapes(onnx.load(path, load_external_data=False), 80_000)
    left, constants = list(model.graph.node), _constants(model.graph)
    for number, (name, module) in enumerate(parts.items(), start=1):
        taken = left if number == len(parts) else _until(left, module, constants)
        if not taken:
            raise SertoolError(f"{path}: no weights of {module!r} in it: its {name} cannot be told from the rest")
        chosen = {id(node) for node in taken}
        left = [node for node in left if id(node) not in chosen]
        files[name] = str(Path(folder, f"part{number}.onnx"))
        onnx.save(_subgraph(model, taken, left, types), files[name])
    return files


def _until(nodes: list, module: str, constants: dict[str, set[str]]) -> list:
    """The nodes that take weights of a module, unpacked or not, and all those that these depend on."""
    own = {name for name, sources in constants.items() if any(f".{module}." in f".{source}" for source in sources)}
    needed, taken = set(), []
    for node in reversed(nodes):
        if needed.intersection(node.output) or (own.intersection(node.input) and node.output[0] not in constants):
            taken.append(node)
            needed.update(node.input)
    return taken[::-1]


def _subgraph(model, nodes: list, later: list, types: dict[str, int]):
    """A model of these nodes, giving what later ones take of it, or the model's own outputs."""
    import onnx

    graph, made = model.graph, {name for node in nodes for name in node.output}
    taken = {name for node in nodes for name in node.input if name} - made
    given = {name for node in later for name in node.input} | {value.name for value in graph.output}
    stored = [tensor for tensor in graph.initializer if tensor.name in taken]
    values = {value.name: value for value in [*graph.input, *graph.output]}

    def value(name):
        return values.get(name) or onnx.helper.make_tensor_value_info(name, types[name], None)

    names = sorted(taken - {tensor.name for tensor in stored})
    part = onnx.helper.make_graph(
        nodes, graph.name, list(map(value, names)), [value(n) for n in sorted(made & given)], stored
    )
    return onnx.helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)


def _node_macs(node, shapes: dict[str, list[int]]) -> int:
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
    if kind == "Attention":  # queries by keys, then weights by values
        keys = shapes[node.input[1]][-2]
        return keys * (math.prod(shapes[node.input[0]]) + math.prod(shapes[node.output[0]]))
    if kind in ("LSTM", "GRU", "RNN"):
        steps, batch, _ = shapes[node.input[0]]
        return steps * batch * (math.prod(shapes[node.input[1]]) + math.prod(shapes[node.input[2]]))
    return 0


def _shapes(model, samples: int) -> tuple[dict[str, list[int]], dict[str, int]]:
    """Value -> shape, of those whose every axis is known, and value -> type. The model's contents are lost."""
    import onnx

    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = _input_length(model, samples)
    for _, tensor in _stored(model.graph):
        if math.prod(tensor.dims) > _SHAPELIKE:  # hundreds of MB would be copied to and fro
            for content in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "external_data"):
                tensor.ClearField(content)
            tensor.ClearField("data_location")
    while True:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        shapes, types = {name: list(tensor.dims) for name, tensor in _stored(graph)}, {}
        for value in [*graph.input, *graph.value_info, *graph.output]:
            tensor = value.type.tensor_type
            types[value.name] = tensor.elem_type
            if tensor.HasField("shape") and all(axis.HasField("dim_value") for axis in tensor.shape.dim):
                shapes[value.name] = [axis.dim_value for axis in tensor.shape.dim]
        lacking = [n for n in graph.node if n.op_type in _NOT_INFERRED and n.output[0] not in shapes]
        known = [n for n in lacking if n.input[0] in shapes]
        if not known:
            return shapes, types
        for node in known:
            shape = _NOT_INFERRED[node.op_type](node, shapes[node.input[0]])
            kind = types[node.input[0]]
            model.graph.value_info.append(onnx.helper.make_tensor_value_info(node.output[0], kind, shape))


#: Operators that onnx 1.23 infers no shape for, and the shape that comes out.
_NOT_INFERRED = {
    "GroupNormalization": lambda node, shape: shape,
    "MatMulNBits": lambda node, shape: [*shape[:-1], _attributes(node)["N"]],
}


def _input_length(model, samples: int) -> int:
    """Axis 1 of the input for so many samples: as many, or LogMel frames."""
    properties = {entry.key: entry.value for entry in model.metadata_props}
    manifest = json.loads(properties.get(bundle.METADATA_KEY, "{}"))
    if manifest and manifest["variants"][0]["input"] == "logmel":
        return 1 + samples // manifest["frontend"]["hop"]
    return samples


def _stored(graph):
    """(name, tensor) of everything that the file holds as numbers."""
    yield from ((tensor.name, tensor) for tensor in graph.initializer)
    for node in graph.node:
        if node.op_type == "Constant":
            yield from ((node.output[0], field.t) for field in node.attribute if field.name == "value")


def _float_types() -> set[int]:
    from onnx import TensorProto

    return {kind for name, kind in TensorProto.DataType.items() if "FLOAT" in name or name == "DOUBLE"}


def _attributes(node) -> dict[str, int]:
    return {field.name: field.i for field in node.attribute}
