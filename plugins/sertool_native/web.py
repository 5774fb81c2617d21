"""Export a Wav2Small for the browser: WebAssembly with the weights inside, its JavaScript, and a page."""

from pathlib import Path

from sertool import Source, web
from sertool.errors import UsageError

from . import export as float32
from . import int8

_EXPORTS = {8: int8.export, 32: float32.export}


def export(source: Source, path: str | Path, metadata: dict[str, str], bits: int = 8) -> None:
    """Export like `native-int8`, or `native` for 32 ``bits``, and write the files of `sertool.web` to the same folder.

    In the browser, the outputs with 8 bits are bit-identical to the engine's, those with 32 bits differ by about 1e-6.
    Raises UsageError as `native`, and for other bits.
    """
    if bits not in _EXPORTS:
        raise UsageError(f"web: bits must be 8 or 32, not {bits!r}")
    path = Path(path)
    _EXPORTS[bits](source, path, metadata)
    for name, data in web.files(path.read_bytes()).items():
        path.with_name(name).write_bytes(data)
