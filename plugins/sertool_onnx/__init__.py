"""Exporter `onnx`: one float32 ONNX file from waveform to outputs."""

from sertool import Exporter, hookimpl


def export(module, path, metadata):
    from .export import export

    export(module, path, metadata)


@hookimpl
def register_exporters(register):
    register(Exporter("onnx", "ONNX, float32, waveform [1, time] -> outputs, LogMel inside", export))
