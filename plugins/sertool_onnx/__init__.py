"""Exporters `onnx`, `onnx-fp16`, `onnx-int8` and `audonnx`: one ONNX file from waveform or LogMel to outputs."""

from sertool import Exporter, hookimpl


def write(source, path, metadata, **options):
    from .export import export

    export(source, path, metadata, **options)


def write_fp16(source, path, metadata, **options):
    from .half import export

    export(source, path, metadata, **options)


def write_int8(source, path, metadata, **options):
    from .int8 import export

    export(source, path, metadata, **options)


def write_audonnx(source, path, metadata, **options):
    from .audonnx import export

    export(source, path, metadata, **options)


@hookimpl
def register_exporters(register):
    register(Exporter("onnx", "ONNX, float32, LogMel inside", write))
    register(Exporter("onnx-fp16", "weights stored in 16 bits, computed in float32", write_fp16, "fp16", 0.01))
    register(
        Exporter(
            "onnx-int8",
            "weights in few bits: recipe (mixed, matmul, static, weights), bits, conv (8, 4, 2), basis, apart",
            write_int8,
            "int8",
            0.05,
        )
    )
    register(Exporter("audonnx", "as onnx, with the model.yaml that audonnx.load reads beside it", write_audonnx))
