"""Shared by `calibrate`, `adapt` and `tune`: hear recordings, write the new bundle."""

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from sertool import audio, bundle
from sertool._about import __version__
from sertool._machine import cores
from sertool._types import Samples
from sertool.bundle import Bundle, Manifest
from sertool.bundle.names import is_plain
from sertool.cli.interrupt import interruptible
from sertool.cli.terminal import bar, libraries_silenced, on_terminal, visible
from sertool.corpora.rows import Row
from sertool.errors import SertoolError, UsageError
from sertool.labelling import Labeller
from sertool.tuning.collect import Heard, hear
from sertool.tuning.tail import Tail

#: Recordings on which the new files are compared with the old ones.
_COMPARED = 10


def require_libraries() -> None:
    """Raise UsageError if the extra "tune" is not installed."""
    try:
        import onnx  # noqa: F401
        import safetensors  # noqa: F401
        import scipy  # noqa: F401
        import threadpoolctl  # noqa: F401
    except ImportError as error:
        raise UsageError(f"this needs {error.name}: pip install 'sertool[tune]'") from None


def check_output(output: Path, overwrite: bool) -> None:
    """Raise UsageError if ``output`` is neither new, nor an empty folder, nor a bundle that may be replaced."""
    if output.exists() and not (
        (output / bundle.MANIFEST).is_file() or (output.is_dir() and not any(output.iterdir()))
    ):
        raise UsageError(f"{output} is neither a bundle nor an empty folder: choose another -o")
    if (output / bundle.MANIFEST).is_file() and not overwrite:
        raise UsageError(f"{output} already exists: choose another -o, or add --overwrite")


def made(clips: int) -> dict[str, Any]:
    """Return a manifest's "made" for a bundle fitted to recordings: its files are compared with the first of them."""
    nothing = {"on": "nothing", "clips": 0}
    fitted = {"on": "own recordings", "clips": clips}
    return {"sertool": __version__, "reference": "first", "calibrated": fitted, "checked": nothing}


def plain(path: Path) -> str:
    """Return a folder's name as that of a bundle, without characters that some systems do not have in names."""
    name = re.sub(r"[^\w.-]+", "_", path.resolve().name).strip("._-")
    return name if name and is_plain(name) else "own"


def heard(labeller: Labeller, rows: Sequence[Row], jobs: int | None, doing: str) -> Heard:
    """Run the model over rows with a progress bar; print what failed. Ctrl-C raises KeyboardInterrupt."""
    stop = threading.Event()
    with (
        interruptible(stop),
        libraries_silenced(),
        bar(len(rows), "files", doing, shown=on_terminal() and len(rows) > 1, transient=True) as shown,
    ):
        result = hear(labeller, rows, jobs or cores(), lambda done, total: shown.update(done, doing, total), stop)
    for name, reason in result.failed[:10]:
        click.echo(f"{visible(name)}: {visible(reason)}", err=True)
    if len(result.failed) > 10:
        click.echo(f"and {len(result.failed) - 10} more", err=True)
    return result


def source_of(model: str) -> tuple[Labeller, Bundle]:
    """Load a model for outputs and embeddings, and its bundle. Raise UsageError for a single file."""
    labeller = Labeller(model, vectors="both", regardless=True)
    if not labeller.bundle.path.is_dir():
        raise UsageError(f"{model}: a single file; give a model's name or the folder of a bundle")
    return labeller, labeller.bundle


def write(source: Bundle, output: Path, manifest: Manifest, tail: Tail | None, rows: Sequence[Row], card: str) -> None:
    """Write the new bundle, checked on some of the recordings; print what is not in it."""
    from sertool.tuning.rewrite import rewrite

    written = rewrite(source, output, manifest, tail, _clips(rows, source.manifest), card)
    for name, reason in written.dropped.items():
        click.echo(f"without {name}: {reason}", err=True)
    click.echo(f"wrote {output}; use it with: sertool label -m {output} FOLDER", err=True)


def _clips(rows: Sequence[Row], manifest: Manifest) -> list[Samples]:
    """Read some of the recordings, at most a window of each."""
    clips = []
    for row in [rows[i] for i in np.linspace(0, len(rows) - 1, min(_COMPARED, len(rows))).astype(int)]:
        try:
            samples = audio.read(row.file)
        except SertoolError:
            continue
        start = int((row.start or 0) * audio.SAMPLE_RATE)
        samples = samples[start : start + int(manifest.window_s * audio.SAMPLE_RATE)]
        if len(samples) >= manifest.shortest_samples and np.abs(samples).max() > 0:
            clips.append(samples)
    return clips
