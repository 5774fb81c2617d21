"""`sertool export`: write an existing network as a bundle."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sertool import bundle
from sertool._types import Progress
from sertool.errors import SertoolError, UsageError
from sertool.evaluation import run as evaluation
from sertool.exporting import release, variants
from sertool.exporting.origin import find_origin
from sertool.exporting.variants import Check, Limits, Material, Written
from sertool.plugins import load_plugins
from sertool.recordings.scan import scan
from sertool.registry import Source
from sertool.training.targets import targets_of


@dataclass(frozen=True)
class Checked:
    """Labelled recordings for checks: a folder, or None, its layout, and the splits and corpora to use."""

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
    embedding: bool = False,
    progress: Progress = lambda stage, done, total: None,
) -> Written:
    """Export ``source`` (see origin.find_origin) to the bundle ``output``; write nothing if no variant passes."""
    parsed = [variants.parse(text, form, embedding) for text in formats]
    variants.entries(parsed)
    clips = _recordings(calibrate) if calibrate else []
    origin = find_origin(source)
    manifest = replace(origin.manifest, name=name or origin.manifest.name)
    checks: list[Check] = []
    files: list[Path] = []
    if checked.root:
        _, rows = evaluation.read(checked.root, checked.layout, checked.splits, checked.corpora)
        targets = targets_of(origin.model, origin.recipe)
        labelled = [row for row in map(targets.labelled, rows) if row]
        if not labelled:
            raise UsageError(f"{checked.root}: {targets.missing}")
        parts = "+".join(checked.splits) or "+".join(sorted({row.corpus for row in labelled}))
        label = f"{checked.root.resolve().name} {parts}"
        checks, files = [Check(label, labelled, targets)], [row.file for row in labelled]
    material = Material(
        variants.some_clips(origin.samples, release.COMPARED) + variants.some_clips(files, release.COMPARED),
        variants.some_clips(clips, origin.recipe.bundle.calibrate),
        checks,
        runs,
    )
    calibrated = calibrate.resolve().name if calibrate else "nothing"
    manifest.made = release.made(material, calibrated, checks[0].name if checks else "nothing")
    with bundle.replacing(output) as fresh:
        written = variants.write(fresh, manifest, origin.network, parsed, material, limits, progress)
        if not written.default:
            return written
        if weights or origin.weights:
            release.save_weights(fresh, origin.network)
        release.finish(fresh, manifest, origin.network, origin.samples, origin.card(manifest))
    return written


#: Maximum difference of an ONNX file of tokens from torch.
TOKENS_TOLERANCE = 1e-4


def export_tokens(source: str, path: Path) -> tuple[int, float]:
    """Export ``source`` (see origin.find_origin) without its pooling to ONNX; return (width, difference from torch).

    The file maps "waveform" [1, time] to [1, tokens, width]: a front end for other networks, as proposed in arXiv
    2408.13920. Raises UsageError for a network without tokens, SertoolError if the file differs from torch.
    """
    import onnxruntime

    network = find_origin(source).network
    network = network[0] if isinstance(network, torch.nn.Sequential) else network  # without the softmax of classes
    if not hasattr(network, "tokens"):
        raise UsageError(f"--tokens: {type(network).__name__} has no tokens; Wav2Small and the MobileNets do")
    module, example = _Tokens(network).eval(), torch.zeros(1, 80_000)
    load_plugins().get("exporters", "onnx").export(Source(module, example), path, {"sertool.tokens": source})
    session, difference = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]), 0.0
    for samples in (4_000, 16_001, 80_000):
        waveform = 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(samples))
        with torch.inference_mode():
            expected = module(waveform).numpy()
        (tokens,) = session.run(None, {"waveform": waveform.numpy()})
        difference = max(difference, float(np.abs(tokens - expected).max()))
    if not difference <= TOKENS_TOLERANCE * max(1.0, float(np.abs(expected).max())):
        path.unlink()
        raise SertoolError(f"{path}: its tokens differ from torch's by {difference:.1e}")
    return expected.shape[2], difference


class _Tokens(torch.nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.network.tokens(waveform)
        return tokens


def _recordings(folder: Path) -> list[Path]:
    """Return the audio files below a folder; raise UsageError if there are none."""
    files = [recording.path for recording in scan([str(folder)])]
    if not files:
        raise UsageError(f"--calibrate: no audio files in {folder}")
    return files
