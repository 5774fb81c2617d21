"""A torch module as ONNX."""

import contextlib
import copy
import hashlib
import io
import logging
import warnings
from dataclasses import replace
from pathlib import Path

import onnx
import onnx.version_converter
import torch
from onnx import TensorProto
from torch.nn.utils import parametrize

from sertool import Source
from sertool.errors import ExportWarning, SertoolError, UsageError

OPSET = 18

#: Bytes of a tensor that may lie apart, and what their places in that file are multiples of.
SMALLEST_APART, ALIGNED = 1024, 64


def export(source: Source, path, metadata: dict[str, str]) -> None:
    """Write ``source`` to ``path`` with ``metadata`` as the file's metadata_props.

    The time axis is dynamic. The batch is fixed at one, so that audonnx can call the file as it is. Without the
    tracer's notes, so that the same weights give the same bytes wherever the code lies. Raises SertoolError for a
    module that cannot be traced, as one that holds another runtime.
    """
    save(trace(plain(source)), path, metadata)


def trace(source: Source, opset: int = OPSET) -> onnx.ModelProto:
    """What ``plain`` made as a graph, parameters under their names in the module where none was transposed for it."""
    module = source.module
    # torch's new exporter fails on a GRU whose input has any length, and takes minutes on an LSTM.
    recurrent = any(isinstance(part, torch.nn.RNNBase) for part in module.modules())
    try:
        with quiet():
            model = _by_tracing(source) if recurrent else _by_dynamo(source, opset)
    except Exception as error:  # torch has a class for each stage that may fail, none of them public
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise SertoolError(f"{type(module).__name__} cannot be exported to ONNX: {reason}") from error
    model.graph.name = type(module).__name__
    if recurrent:
        warnings.warn(
            f"{model.graph.name} has recurrent layers: it is exported by torch's older exporter, which freezes what "
            "depends on the length of the input other than by shapes",
            ExportWarning,
            stacklevel=2,
        )
    return model


def _by_dynamo(source: Source, opset: int) -> onnx.ModelProto:
    return torch.onnx.export(
        source.module,
        (source.example,),
        input_names=[source.input],
        output_names=["outputs"],
        dynamic_shapes=({1: torch.export.Dim("time", min=2)},),
        opset_version=opset,
        dynamo=True,
    ).model_proto


def _by_tracing(source: Source) -> onnx.ModelProto:
    """By torch's older exporter: what depends on the length of the input other than by shapes is frozen as it was."""
    written = io.BytesIO()
    with torch.no_grad():
        torch.onnx.export(
            source.module,
            (source.example,),
            written,
            input_names=[source.input],
            output_names=["outputs"],
            dynamic_axes={source.input: {1: "time"}},
            opset_version=17,
            dynamo=False,
        )
    return onnx.version_converter.convert_version(onnx.load_from_string(written.getvalue()), OPSET)


def save(model: onnx.ModelProto, path, metadata: dict[str, str], apart: str = "") -> None:
    """Check and write a graph, with ``metadata`` and no other note; weights of the part ``apart`` in their own file."""
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
    """Move the weights of the module's ``part`` into a file PART-DIGEST.bin beside the graph (ONNX's external data).

    Models that share a frozen part then share that file: its name is made from its bytes, these from the weights alone.
    UsageError if the graph has no such weights.
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
def quiet():
    """torch.onnx reports its steps on standard output and logs what it does not need (torchvision)."""
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
    """The source in eval mode; with a copy of its module where weights are parametrised, as by weight norm."""
    module = source.module.eval()
    if not any(map(parametrize.is_parametrized, module.modules())):
        return source
    module = copy.deepcopy(module)
    for part in list(filter(parametrize.is_parametrized, module.modules())):
        # remove_parametrizations would change the class, which copies share.
        weights = {name: getattr(part, name).detach() for name in part.parametrizations}
        part.__class__ = parametrize.type_before_parametrizations(part)
        del part.parametrizations
        for name, value in weights.items():
            part.register_parameter(name, torch.nn.Parameter(value))
    return replace(source, module=module)
