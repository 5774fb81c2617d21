"""Exporters `onnx` and `onnx-int8`: one ONNX file from waveform to outputs, float32 or with large weights in 8 bits."""

from sertool import Exporter, hookimpl


def write(source, path, metadata, **options):
    from .export import export

    export(source, path, metadata, **options)


def write_int8(source, path, metadata, **options):
    from .int8 import export

    export(source, path, metadata, **options)


@hookimpl
def register_exporters(register):
    register(Exporter("onnx", "ONNX, float32, waveform [1, time] -> outputs, LogMel inside", write))
    register(Exporter("onnx-int8", "the same with large weights in 8 bits", write_int8, "int8", 0.05))
