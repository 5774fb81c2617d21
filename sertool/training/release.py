"""A trained network to a bundle: exported, measured, with samples and a model card."""

import csv
import shutil
import string
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from .. import audio, bundle
from ..corpora.rows import Row
from ..errors import BundleError, UsageError
from ..evaluation.dimensional import class_pairs, concordance
from ..frontend.filters import SAMPLE_RATE
from ..plugins import load_plugins
from ..registry import Model
from ..runtime import Runtime
from . import supervised
from .buckets import origins
from .data import target
from .loop import best_network
from .recipe import DistilRecipe, Recipe, substituted

#: Largest difference between the exported file and the torch module that is still called an export.
LARGEST_DIFFERENCE = 1e-4

#: Lengths in samples at which they are compared, beside real clips and the model's shortest: around one FFT, a minute.
LENGTHS = (33, 34, 63, 64, 65, 100, 16_000, 80_001, 960_000)


def release(recipe: Recipe, run: Path, progress=lambda stage, done, total: None) -> bundle.Bundle:
    """Write RUN/NAME from the best weights of a run, as ``write`` does."""
    return write(recipe, run / recipe.bundle.name, *best_network(recipe, run), progress)


def write(
    recipe: Recipe, folder: Path, model: Model, network, step: int, progress=lambda stage, done, total: None
) -> bundle.Bundle:
    """Write a network (in eval mode, of ``step``) as a bundle. Raises BundleError if its export differs from torch.

    Metrics: CCC per output on ``val``; on ``ood``, which nothing was chosen by, AUC of class pairs by corpus. They are
    measured on the exported file, clip by clip, as `label` runs it.
    """
    plugins = load_plugins()
    val_rows, ood_rows = labelled(recipe)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    file = folder / "model.onnx"

    # A first export to measure with; the second carries what was measured.
    manifest = _manifest(recipe, model, step)
    export = plugins.get("exporters", recipe.bundle.exporter).export
    export(network, file, {bundle.METADATA_KEY: bundle.embedded(manifest)})
    runtime = Runtime(str(file))
    manifest["variants"][0]["difference"] = _difference(network, runtime, val_rows)
    manifest["metrics"] = _metrics(recipe, runtime, val_rows, ood_rows, progress)
    export(network, file, {bundle.METADATA_KEY: bundle.embedded(manifest)})
    _samples(recipe, Runtime(str(file)), folder / bundle.SAMPLES)
    return bundle.write(folder, manifest, _card(recipe, manifest))


def labelled(recipe: Recipe) -> tuple[list[Row], list[Row]]:
    """(validation, out-of-domain) rows to measure on; none where a distillation names no labelled data."""
    if isinstance(recipe, DistilRecipe) and not recipe.data.root:
        return [], []
    return supervised.splits(recipe)[1:]


def _training(recipe: Recipe, step: int) -> dict:
    resolved = recipe.as_dict()
    resolved["data"]["root"] = ""  # where the data lay is nobody's business and changes the bundle's bytes
    if isinstance(recipe, DistilRecipe):
        heard, targets = origins(substituted(recipe, recipe.excerpts.sources)), "outputs of a teacher"
    else:
        heard = {(row.corpus, row.licence) for row in supervised.splits(recipe)[0]}
        targets = "Russell and Mehrabian (1977) coordinates of category labels; not ratings of the clips"
    return {
        "data": [{"corpus": corpus, "licence": licence} for corpus, licence in sorted(heard)] + recipe.bundle.data,
        "targets": targets,
        "best_step": step,
        "recipe": resolved,
    }


def _manifest(recipe: Recipe, model, step: int) -> dict:
    return {
        "schema": bundle.SCHEMA,
        "name": recipe.bundle.name,
        "version": recipe.bundle.version,
        "title": recipe.bundle.title or recipe.bundle.name,
        "student": model.name,
        "task": "dimensional",
        "outputs": [{"name": name, "range": [0, 1]} for name in model.outputs],
        "sample_rate": SAMPLE_RATE,
        "input": {"name": "waveform", "shape": [1, "time"], "dtype": "float32", "channels": 1},
        "frontend": {"name": "logmel", "inside": True},
        "preprocessing": [],
        "window_s": 8.0,
        "shortest_samples": model.shortest,
        "variants": [{"name": "fp32", "file": "model.onnx", "difference": {}}],
        "licence": recipe.bundle.licence,
        "training": _training(recipe, step),
        "metrics": {},
    }


def _difference(network, runtime: Runtime, rows: list[Row]) -> dict:
    """Largest and mean |exported - torch| over some 50 real clips and odd lengths of noise."""
    noise = np.random.default_rng(0).standard_normal(max(LENGTHS)).astype(np.float32)
    lengths = sorted({runtime.shortest, *(n for n in LENGTHS if n > runtime.shortest)})
    clips = [audio.read(row.file) for row in rows[:: max(1, len(rows) // 50)]] + [0.1 * noise[:n] for n in lengths]
    with torch.inference_mode():
        differences = [np.abs(runtime.run(c) - network(torch.from_numpy(c)[None])[0].numpy()) for c in clips]
    largest = float(max(d.max() for d in differences))
    if not largest <= LARGEST_DIFFERENCE:
        raise BundleError(f"the exported model differs from torch by {largest:.1e}, more than {LARGEST_DIFFERENCE:g}")
    return {"max": largest, "mean": float(np.mean([d.mean() for d in differences])), "clips": len(clips)}


def _metrics(recipe: Recipe, runtime: Runtime, val_rows, ood_rows, progress) -> dict:
    names = runtime.bundle.outputs
    rated = [(row, values) for row in val_rows if (values := target(row, recipe.targets.intensity)) is not None]
    metrics = {}
    if rated:
        outputs = _outputs(runtime, [row for row, _ in rated], "validation", progress)
        targets = np.array([values for _, values in rated])
        metrics["val"] = {"CCC": concordance(outputs, targets, names), "clips": len(rated)}
        pairs = class_pairs(outputs, [row for row, _ in rated], names)
        metrics["val"] |= {f"AUC {corpus}": values for corpus, values in pairs.items()}
    if ood_rows:
        outputs = _outputs(runtime, ood_rows, "out of domain", progress)
        pairs = class_pairs(outputs, ood_rows, names)
        metrics[recipe.data.ood] = {f"AUC {corpus}": values for corpus, values in pairs.items()} | {
            "clips": len(ood_rows)
        }
    return metrics


def _outputs(runtime: Runtime, rows: list[Row], stage: str, progress) -> np.ndarray:
    outputs = []
    for row in rows:
        outputs.append(runtime.run(audio.read(row.file)))
        progress(stage, len(outputs), len(rows))
    return np.stack(outputs)


def _samples(recipe: Recipe, runtime: Runtime, folder: Path) -> None:
    source = recipe.folder / recipe.bundle.samples
    clips = sorted(source.glob("*.wav"))
    if not clips:
        raise UsageError(f"{source}: no .wav samples for the bundle's self-test")
    folder.mkdir()
    with open(folder / bundle.EXPECTED, "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["file", *runtime.bundle.outputs])
        for clip in clips:
            shutil.copyfile(clip, folder / clip.name)
            table.writerow([clip.name, *(f"{value:.6f}" for value in runtime.run(audio.read(clip)))])


def _card(recipe: Recipe, manifest: dict) -> str:
    """The model card: card.md with this bundle's values."""
    variant, strengths = manifest["variants"][0], recipe.targets.intensity
    values = manifest | {
        "output_names": ", ".join(output["name"] for output in manifest["outputs"]),
        "strengths": ", ".join(f"{label} {value:g}" for label, value in strengths.items()) or "none is given",
        "data": "\n".join(f"- {d['corpus']} ({d['licence'] or 'none stated'})" for d in manifest["training"]["data"]),
        "metrics": "\n".join(_metric_rows(manifest["metrics"])),
        "val": recipe.data.val,
        "ood": recipe.data.ood or "(none)",
        "clips": variant["difference"]["clips"],
        "difference": f"{variant['difference']['max']:.1e}",
        "limits": recipe.bundle.limits.strip() or "Not stated.",
    }
    template = resources.files(__package__).joinpath("card.md").read_text(encoding="utf-8")
    return string.Template(template).substitute(values)


def _metric_rows(metrics: dict):
    for split, table in metrics.items():
        for measure, value in table.items():
            shown = ", ".join(f"{k} {v:.3f}" for k, v in value.items()) if isinstance(value, dict) else value
            yield f"| {split} | {measure} | {shown} |"
