"""Exporters `native`, `native-int8` and `c`: Wav2Small's weights for sertool's own engine in C, or with it."""

from sertool import Exporter, hookimpl


def write(source, path, metadata):
    from .export import export

    export(source, path, metadata)


def write_int8(source, path, metadata):
    from .int8 import export

    export(source, path, metadata)


def write_c(source, path, metadata, **options):
    from .c import export

    export(source, path, metadata, **options)


@hookimpl
def register_exporters(register):
    own = {"runtime": "native"}
    register(Exporter("native", "Wav2Small for the engine in C, float32", write, "native", 1e-3, **own))
    register(
        Exporter(
            "native-int8", "Wav2Small for the engine in C, 8 bits, calibrated", write_int8, "native-int8", 0.05, **own
        )
    )
    register(Exporter("c", "Wav2Small as C files that need nothing else: bits (8, 32)", write_c, "c", 0.05, **own))
