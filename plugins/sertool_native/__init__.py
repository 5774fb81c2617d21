"""Exporters `native`, `native-int8`, `c` and `web`: Wav2Small's weights for sertool's C engine, or together with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sertool import Exporter, Source, hookimpl


def write(source: Source, path: Path, metadata: dict[str, str]) -> None:
    from .export import export

    export(source, path, metadata)


def write_int8(source: Source, path: Path, metadata: dict[str, str]) -> None:
    from .int8 import export

    export(source, path, metadata)


def write_c(source: Source, path: Path, metadata: dict[str, str], **options: Any) -> None:
    from .c import export

    export(source, path, metadata, **options)


def write_web(source: Source, path: Path, metadata: dict[str, str], **options: Any) -> None:
    from .web import export

    export(source, path, metadata, **options)


@hookimpl
def register_exporters(register: Callable[[Exporter], None]) -> None:
    register(Exporter("native", "Wav2Small for the C engine, float32", write, "native", 1e-3, "native"))
    register(
        Exporter(
            "native-int8", "Wav2Small for the C engine, 8 bits, calibrated", write_int8, "native-int8", 0.05, "native"
        )
    )
    register(Exporter("c", "Wav2Small as self-contained C files: bits (8, 32)", write_c, "c", 0.05, "native"))
    register(Exporter("web", "Wav2Small for the browser, with a page: bits (8, 32)", write_web, "web", 0.05, "native"))
