"""A torch module as ONNX."""

import contextlib
import copy
import io
import logging
import warnings
from dataclasses import replace

import onnx
import torch
from torch.nn.utils import parametrize

from sertool import Source
from sertool.errors import SertoolError

OPSET = 18


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
    try:
        with quiet():
            program = torch.onnx.export(
                module,
                (source.example,),
                input_names=[source.input],
                output_names=["outputs"],
                dynamic_shapes=({1: torch.export.Dim("time", min=2)},),
                opset_version=opset,
                dynamo=True,
            )
    except Exception as error:  # torch has a class for each stage that may fail, none of them public
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise SertoolError(f"{type(module).__name__} cannot be exported to ONNX: {reason}") from error
    program.model_proto.graph.name = type(module).__name__
    return program.model_proto


def save(model: onnx.ModelProto, path, metadata: dict[str, str]) -> None:
    """Check and write a graph, with ``metadata`` and without any other note."""
    for thing in [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer]:
        thing.ClearField("metadata_props")
        thing.ClearField("doc_string")
    model.graph.ClearField("value_info")
    model.graph.ClearField("metadata_props")
    model.ClearField("metadata_props")
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    onnx.save(model, path)


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
