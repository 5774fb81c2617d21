"""Export a torch module to ONNX."""

import contextlib
import copy
import hashlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import onnx.version_converter
import torch
from onnx import TensorProto
from torch.nn.utils import parametrize

from sertool import Source
from sertool.errors import ExportWarning, SertoolError, UsageError
from sertool.nn.embedding import WithEmbedding

OPSET = 18

#: Minimum bytes of a tensor in a separate file, and the alignment of tensors in that file.
SMALLEST_APART, ALIGNED = 1024, 64


def export(source: Source, path: str | Path, metadata: dict[str, str]) -> None:
    """Write ``source`` to ``path`` with ``metadata`` as the file's metadata_props.

    The time axis is dynamic. The batch size is fixed at one, so that audonnx can call the file directly. Notes of the
    tracer are removed, so that the same weights give the same bytes wherever the code is installed. Raises SertoolError
    if the module cannot be traced, for example because it wraps another runtime.
    """
    save(trace(plain(source)), path, metadata)


def trace(source: Source, opset: int = OPSET) -> onnx.ModelProto:
    """Return the graph of a ``plain`` source; parameters keep their names in the module unless they are transposed."""
    module = source.module
    # torch's new exporter fails for a GRU with input of dynamic length, and takes minutes for an LSTM.
    recurrent = any(isinstance(part, torch.nn.RNNBase) for part in module.modules())
    try:
        with quiet():
            model = _by_tracing(source) if recurrent else _by_dynamo(source, opset)
    except UsageError:
        raise
    except Exception as error:  # torch has a private error class for each stage
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise SertoolError(f"{type(module).__name__} cannot be exported to ONNX: {reason}") from error
    model.graph.name = type(module).__name__
    if source.embedding:
        _unwrap(model.graph)
    if recurrent:
        warnings.warn(
            f"{model.graph.name} has recurrent layers and is exported with torch's older exporter, which freezes "
            "values that depend on the input length other than through shapes",
            ExportWarning,
            stacklevel=2,
        )
    return model


def _by_dynamo(source: Source, opset: int) -> onnx.ModelProto:
    program = torch.onnx.export(
        _traced(source),
        (source.example,),
        input_names=[source.input],
        output_names=_outputs(source),
        dynamic_shapes=({1: torch.export.Dim("time", min=2)},),
        opset_version=opset,
        dynamo=True,
    )
    assert program is not None  # it is only None for dynamo=False
    return program.model_proto


def _by_tracing(source: Source) -> onnx.ModelProto:
    """Export with torch's older exporter, which freezes values that depend on the length other than through shapes."""
    written, axes = io.BytesIO(), {source.input: {1: "time"}, "tokens": {1: "tokens"}}
    with torch.no_grad():
        torch.onnx.export(
            _traced(source),
            (source.example,),
            written,  # type: ignore[arg-type]  # torch accepts file objects here
            input_names=[source.input],
            output_names=_outputs(source),
            dynamic_axes={name: axes for name, axes in axes.items() if name in (source.input, *_outputs(source))},
            opset_version=17,
            dynamo=False,
        )
    return onnx.version_converter.convert_version(onnx.load_from_string(written.getvalue()), OPSET)


def _traced(source: Source) -> torch.nn.Module:
    module: torch.nn.Module = source.module
    return WithEmbedding(module).eval() if source.embedding else module


def _outputs(source: Source) -> list[str]:
    return WithEmbedding(source.module).names if source.embedding else ["outputs"]


def _unwrap(graph: onnx.GraphProto) -> None:
    """Give parameters their names in the network, not in the WithEmbedding around it."""
    for tensor in graph.initializer:
        tensor.name = tensor.name.removeprefix("module.")
    for node in graph.node:
        node.input[:] = [name.removeprefix("module.") for name in node.input]


def save(model: onnx.ModelProto, path: str | Path, metadata: dict[str, str], apart: str = "") -> None:
    """Check and write a graph with ``metadata`` and no other notes; weights of part ``apart`` go to a separate file."""
    for thing in [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        thing.ClearField("metadata_props")
        thing.ClearField("doc_string")
    model.graph.ClearField("value_info")
    model.graph.ClearField("metadata_props")
    model.ClearField("metadata_props")
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    if apart:
        put_apart(model, apart, Path(path).parent)
    onnx.save(model, path)


def put_apart(model: onnx.ModelProto, part: str, folder: Path) -> None:
    """Move the weights of the module's ``part`` to a file PART-DIGEST.bin in ``folder`` (ONNX's external data).

    Models that share a frozen part then share that file: its name is a hash of its bytes, which depend only on the
    weights. Raises UsageError if the graph has no such weights.
    """
    tensors = [t for t in model.graph.initializer if f".{part}." in f".{t.name}" and len(t.raw_data) >= SMALLEST_APART]
    if not tensors:
        raise UsageError(f"apart: the network has no weights of a part {part!r}")
    tensors.sort(key=lambda tensor: tensor.name)
    data = b"".join(tensor.raw_data + bytes(-len(tensor.raw_data) % ALIGNED) for tensor in tensors)
    name, place = f"{part}-{hashlib.sha256(data).hexdigest()[:16]}.bin", 0
    (folder / name).write_bytes(data)
    for tensor in tensors:
        length = len(tensor.raw_data)
        for key, value in (("location", name), ("offset", place), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        place += length + -length % ALIGNED


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress torch.onnx's progress reports on standard output and its log messages about optional torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def plain(source: Source) -> Source:
    """Return the source in eval mode; if weights are parametrised, as by weight norm, with a copy of its module."""
    module: torch.nn.Module = source.module.eval()
    if not any(map(parametrize.is_parametrized, module.modules())):
        return source
    module = copy.deepcopy(module)
    for part in list(filter(parametrize.is_parametrized, module.modules())):
        # remove_parametrizations would change the class, which is shared with the original.
        assert isinstance(part.parametrizations, torch.nn.ModuleDict)
        weights = {name: getattr(part, name).detach() for name in part.parametrizations}
        part.__class__ = parametrize.type_before_parametrizations(part)
        del part.parametrizations
        for name, value in weights.items():
            part.register_parameter(name, torch.nn.Parameter(value))
    return replace(source, module=module)
