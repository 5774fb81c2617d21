"""Exporters `onnx`, `onnx-fp16`, `onnx-int8` and `audonnx`: one ONNX file from waveform or LogMel to outputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sertool import Exporter, Source, hookimpl


def write(source: Source, path: Path, metadata: dict[str, str], **options: Any) -> None:
    from .export import export

    export(source, path, metadata, **options)


def write_fp16(source: Source, path: Path, metadata: dict[str, str], **options: Any) -> None:
    from .half import export

    export(source, path, metadata, **options)


def write_int8(source: Source, path: Path, metadata: dict[str, str], **options: Any) -> None:
    from .int8 import export

    export(source, path, metadata, **options)


def write_audonnx(source: Source, path: Path, metadata: dict[str, str], **options: Any) -> None:
    from .audonnx import export

    export(source, path, metadata, **options)


@hookimpl
def register_exporters(register: Callable[[Exporter], None]) -> None:
    register(Exporter("onnx", "ONNX, float32, LogMel inside", write))
    register(Exporter("onnx-fp16", "weights stored in 16 bits, computation in float32", write_fp16, "fp16", 0.01))
    register(
        Exporter(
            "onnx-int8",
            "weights in few bits: recipe (mixed, matmul, static, weights), bits, conv (8, 4, 2), basis, apart",
            write_int8,
            "int8",
            0.05,
        )
    )
    register(Exporter("audonnx", "like onnx, plus the model.yaml for audonnx.load", write_audonnx))
