"""A trained network to a bundle: exported, measured, with samples and a model card."""

import csv
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from .. import audio, bundle
from ..corpora.rows import Row
from ..errors import BundleError, UsageError
from ..evaluation import robustness
from ..evaluation.run import REPORTS
from ..frontend import steps
from ..frontend.filters import SAMPLE_RATE
from ..nn import frontend
from ..plugins import load_plugins
from ..registry import Exporter, Model, Source
from ..runtime import Runtime
from . import supervised
from .buckets import origins
from .card import PLACES, card
from .loop import best_network
from .recipe import DistilRecipe, ModelSection, Recipe, substituted
from .targets import targets_of
from .teacher import build_teacher

#: Lengths in samples at which they are compared, beside real clips and the model's shortest: around one FFT, a minute.
LENGTHS = (33, 34, 63, 64, 65, 100, 16_000, 80_001, 960_000)


def check(recipe: Recipe) -> None:
    """UsageError, before a long run rather than after it, for whatever would keep its end from being a bundle."""
    load_plugins().get("exporters", recipe.bundle.exporter)
    _sample_clips(recipe)
    _rows_to_measure_on(recipe)
    if recipe.bundle.notes and not (recipe.folder / recipe.bundle.notes).is_file():
        raise UsageError(f"bundle.notes: {recipe.folder / recipe.bundle.notes}: no such file")
    options = substituted(recipe, recipe.bundle.robustness)
    if unknown := options.keys() - {"clips", "noise", "rooms"}:
        raise UsageError(f"bundle.robustness: no {unknown.pop()!r} (there are: clips, noise, rooms)")
    if options:
        robustness.checks([], **{key: Path(options[key]) for key in ("noise", "rooms") if key in options})


def release(recipe: Recipe, run: Path, progress=lambda stage, done, total: None) -> bundle.Bundle:
    """Write RUN/NAME from the best weights of a run, as ``write`` does."""
    return write(recipe, run / recipe.bundle.name, *best_network(recipe, run), progress)


def release_teacher(recipe: DistilRecipe, run: Path, progress=lambda stage, done, total: None) -> bundle.Bundle:
    """Write RUN/teacher: the recipe's teacher as a bundle, to label and to compare its students with."""
    student = load_plugins().get("models", recipe.model.name)
    model = load_plugins().get("models", recipe.teacher.name)
    network = build_teacher(recipe, student)
    model = replace(model, shortest=max(model.shortest, getattr(network, "shortest", 0)))
    title = f"The teacher of {recipe.bundle.title or recipe.bundle.name}"
    recipe = replace(
        recipe,
        model=ModelSection(recipe.teacher.name, recipe.teacher.options),
        bundle=replace(recipe.bundle, name="teacher", title=title, notes=""),
    )
    return write(recipe, run / "teacher", model, network, 0, progress)


def write(
    recipe: Recipe, folder: Path, model: Model, network, step: int, progress=lambda stage, done, total: None
) -> bundle.Bundle:
    """Write a network (in eval mode, of ``step``) as a bundle. Raises BundleError if its export differs from torch.

    Metrics, measured on the exported file clip by clip as `label` runs it: on ``val`` and on ``ood``, which nothing was
    chosen by, what the task's report has, and robustness on clips of ``val``.
    """
    if model.task == "categorical":
        network = torch.nn.Sequential(network, torch.nn.Softmax(dim=1))
    val_rows, ood_rows = _rows_to_measure_on(recipe)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    file = folder / "model.onnx"

    exporter = load_plugins().get("exporters", recipe.bundle.exporter)
    manifest = _manifest(recipe, model, network, step, exporter.variant)
    variant = manifest["variants"][0]
    source = Source(network, frontend.example(manifest["frontend"], "waveform"))
    exporter.export(source, file, {bundle.METADATA_KEY: bundle.embedded(manifest, variant)})
    runtime = Runtime(str(file))
    variant["difference"] = _difference(network, runtime, val_rows, exporter)
    manifest["metrics"] = _rounded(_metrics(recipe, model, runtime, val_rows, ood_rows, progress))
    _samples(recipe, Runtime(str(file)), folder / bundle.SAMPLES)
    return bundle.write(
        folder, manifest, card(recipe, manifest, rated=any(row.arousal is not None for row in val_rows))
    )


def _rows_to_measure_on(recipe: Recipe) -> tuple[list[Row], list[Row]]:
    """(validation, out-of-domain) rows; none where a distillation names no labelled data."""
    if isinstance(recipe, DistilRecipe) and not recipe.data.root:
        return [], []
    return supervised.splits(recipe)[1:]


def _training(recipe: Recipe, model: Model, step: int) -> dict:
    resolved = recipe.as_dict()
    resolved["data"]["root"] = ""  # where the data lay is nobody's business and changes the bundle's bytes
    resolved["data"]["also"] = [{**source, "root": ""} for source in resolved["data"]["also"]]
    if isinstance(recipe, DistilRecipe):
        heard, targets = origins(substituted(recipe, recipe.excerpts.sources)), "outputs of a teacher"
    else:
        rows = supervised.splits(recipe)[0]
        heard = {(row.corpus, row.licence) for row in rows}
        rated = any(row.arousal is not None for row in rows)
        targets = "class labels" if model.task == "categorical" else "ratings of the clips" if rated else PLACES
        if recipe.teacher.name:
            targets += f"; {recipe.teacher.share:.0%} of each is what {recipe.teacher.name} answers instead"
    return {
        "data": [{"corpus": corpus, "licence": licence} for corpus, licence in sorted(heard)] + recipe.bundle.data,
        "targets": targets,
        "best_step": step,
        "recipe": resolved,
    }


def _manifest(recipe: Recipe, model, network, step: int, variant: str) -> dict:
    return {
        "schema": bundle.SCHEMA,
        "name": recipe.bundle.name,
        "version": recipe.bundle.version,
        "title": recipe.bundle.title or recipe.bundle.name,
        "student": model.name,
        "task": model.task,
        "outputs": [{"name": name, "range": [0, 1]} for name in model.outputs],
        "sample_rate": SAMPLE_RATE,
        "input": {"name": "waveform", "shape": [1, "time"], "dtype": "float32", "channels": 1},
        "frontend": frontend.describe(network),
        "preprocessing": recipe.input.steps,
        "window_s": 8.0,
        "shortest_samples": model.shortest,
        "variants": [{"name": variant, "file": "model.onnx", "input": "waveform"}],
        "default": variant,
        "licence": recipe.bundle.licence,
        "training": _training(recipe, model, step),
        "metrics": {},
    }


def _difference(network, runtime: Runtime, rows: list[Row], exporter: Exporter) -> dict:
    """Largest and mean |exported - torch| over some 50 real clips and odd lengths of noise."""
    noise = np.random.default_rng(0).standard_normal(max(LENGTHS)).astype(np.float32)
    lengths = sorted({runtime.shortest, *(n for n in LENGTHS if n > runtime.shortest)})
    clips = [audio.read(row.file) for row in rows[:: max(1, len(rows) // 50)]] + [0.1 * noise[:n] for n in lengths]
    prepare = steps.build(runtime.bundle.manifest["preprocessing"])
    with torch.inference_mode():
        wanted = [network(torch.from_numpy(prepare(clip))[None])[0].numpy() for clip in clips]
    differences = [np.abs(runtime.run(clip) - outputs) for clip, outputs in zip(clips, wanted, strict=True)]
    largest = float(max(d.max() for d in differences))
    if not largest <= exporter.tolerance:
        raise BundleError(f"the exported model differs from torch by {largest:.1e}, more than {exporter.tolerance:g}")
    return {"max": largest, "mean": float(np.mean([d.mean() for d in differences])), "clips": len(clips)}


def _metrics(recipe: Recipe, model: Model, runtime: Runtime, val_rows, ood_rows, progress) -> dict:
    """Split -> figures as the task's report has them, overall and by corpus; and "robustness"."""
    metrics = {}
    targets = targets_of(model, recipe)
    labelled = [targets.labelled(row) for row in val_rows]
    for split, rows in ((recipe.data.val, [row for row in labelled if row]), (recipe.data.ood, ood_rows)):
        if rows:
            full = REPORTS[model.task].report(rows, _outputs(runtime, rows, split, progress), runtime.bundle.outputs)
            metrics[split] = {"overall": full["overall"], "corpus": full["groups"]["corpus"]}
    if recipe.bundle.robustness and val_rows:
        metrics["robustness"] = _robustness(recipe, model, runtime, val_rows, progress)
    return metrics


def _rounded(value):
    """The figures that a bundle carries, to the digits that mean something: each file of it holds them too."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value


def _robustness(recipe: Recipe, model: Model, runtime: Runtime, rows: list[Row], progress) -> list[dict]:
    options = substituted(recipe, recipe.bundle.robustness)
    count = options.get("clips", 100)
    clips = [audio.read(row.file) for row in rows[:: max(1, len(rows) // count)][:count]]
    folders = {key: Path(options[key]) for key in ("noise", "rooms") if key in options}

    def meter(done, total):
        progress("robustness", done, total)

    how = {"task": model.task, "progress": meter, **folders}
    return [asdict(result) for result in robustness.evaluate(runtime.run, clips, runtime.bundle.outputs, **how)]


def _outputs(runtime: Runtime, rows: list[Row], stage: str, progress) -> np.ndarray:
    outputs = []
    for row in rows:
        outputs.append(runtime.run(audio.read(row.file)))
        progress(stage, len(outputs), len(rows))
    return np.stack(outputs)


def _samples(recipe: Recipe, runtime: Runtime, folder: Path) -> None:
    clips = _sample_clips(recipe)
    folder.mkdir()
    with open(folder / bundle.EXPECTED, "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["file", *runtime.bundle.outputs])
        for clip in clips:
            shutil.copyfile(clip, folder / clip.name)
            table.writerow([clip.name, *(f"{value:.6f}" for value in runtime.run(audio.read(clip)))])


def _sample_clips(recipe: Recipe) -> list[Path]:
    source = recipe.folder / recipe.bundle.samples
    clips = sorted(source.glob("*.wav"))
    if not clips:
        raise UsageError(f"bundle.samples: {source}: no .wav for the bundle's self-test")
    return clips
