"""The whole of `sertool export`: a network that is there to a bundle."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..evaluation import run as evaluation
from ..labelling.scan import scan
from . import release, sources, variants
from .targets import targets_of
from .variants import Check, Limits, Material, Written


@dataclass(frozen=True)
class Checked:
    """Labelled recordings: a folder, or None, how it is laid out, and which splits and corpora of it."""

    root: Path | None = None
    layout: str | None = None
    splits: Sequence[str] = ()
    corpora: Sequence[str] = ()


def export(
    source: str,
    output: Path,
    formats: Sequence[str],
    form: str = "waveform",
    checked: Checked = Checked(),
    calibrate: Path | None = None,
    limits: Limits = variants.NO_LIMITS,
    runs: int = variants.RUNS,
    name: str | None = None,
    weights: bool = False,
    progress=lambda stage, done, total: None,
) -> Written:
    """Write ``source`` (see sources.find) as the bundle ``output``; nothing is written if no variant passes."""
    parsed = [variants.parse(text, form) for text in formats]
    variants.entries(parsed)
    clips = _recordings(calibrate) if calibrate else []
    origin = sources.find(source)
    manifest = origin.manifest | ({"name": name} if name else {})
    checks, heard = [], []
    if checked.root:
        _, rows = evaluation.read(checked.root, checked.layout, checked.splits, checked.corpora)
        targets = targets_of(origin.model, origin.recipe)
        rows = [row for row in map(targets.labelled, rows) if row]
        if not rows:
            raise UsageError(f"{checked.root}: {targets.missing}")
        parts = "+".join(checked.splits) or "+".join(sorted({row.corpus for row in rows}))
        label = f"{checked.root.resolve().name} {parts}"
        checks, heard = [Check(label, rows, targets)], [row.file for row in rows]
    material = Material(
        variants.some_clips(origin.samples, release.COMPARED) + variants.some_clips(heard, release.COMPARED),
        variants.some_clips(clips, origin.recipe.bundle.calibrate),
        checks,
        runs,
    )
    calibrated = calibrate.resolve().name if calibrate else "nothing"
    manifest["made"] = release.made(material, calibrated, checks[0].name if checks else "nothing")
    with release.replacing(output) as fresh:
        written = variants.write(fresh, manifest, origin.network, parsed, material, limits, progress)
        if not written.default:
            return written
        if weights or origin.weights:
            release.save_weights(fresh, origin.network)
        release.finish(fresh, manifest, origin.network, origin.samples, origin.card(manifest))
    return written


def _recordings(folder: Path) -> list[Path]:
    """Audio files below a folder; UsageError if there are none."""
    found = [recording.path for recording in scan([str(folder)])]
    if not found:
        raise UsageError(f"--calibrate: no audio files in {folder}")
    return found
