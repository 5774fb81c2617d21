"""Write a trained network as a bundle: exported, measured, with samples and a model card."""

import csv
import shutil
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sertool import audio, bundle, robustness
from sertool._about import __version__
from sertool._types import Progress, Samples
from sertool.corpora.buckets import origins
from sertool.corpora.rows import Row
from sertool.errors import BundleError, UsageError
from sertool.evaluation.run import REPORTS
from sertool.exporting import variants
from sertool.exporting.card import PLACES, card
from sertool.exporting.variants import Check, Limits, Material
from sertool.features import steps
from sertool.features.mel import SAMPLE_RATE
from sertool.nn import frontend
from sertool.plugins import load_plugins
from sertool.registry import Model
from sertool.runtime import Runtime
from sertool.tasks import TASKS
from sertool.training import supervised
from sertool.training.loop import best_network, fresh
from sertool.training.recipe import substituted
from sertool.training.sections import DistilRecipe, ModelSection, Recipe
from sertool.training.targets import answering, targets_of
from sertool.training.teacher import build_teacher

#: Maximum number of recordings to compare outputs on.
COMPARED = 50


def check(recipe: Recipe) -> None:
    """Raise UsageError, before a run, for settings from which no bundle could be written after it."""
    variants.entries(_formats(recipe))
    _samples(recipe)
    _rows_to_measure_on(recipe)
    if recipe.bundle.notes and not (recipe.folder / recipe.bundle.notes).is_file():
        raise UsageError(f"bundle.notes: {recipe.folder / recipe.bundle.notes}: no such file")
    options = substituted(recipe, recipe.bundle.robustness)
    if unknown := options.keys() - {"clips", "noise", "rooms"}:
        raise UsageError(f"bundle.robustness: no {unknown.pop()!r} (there are: clips, noise, rooms)")
    if options:
        robustness.checks([], **{key: Path(options[key]) for key in ("noise", "rooms") if key in options})


#: Number of steps from which a run is long enough to test the export before it starts.
LONG = 1000


def rehearse(recipe: Recipe) -> None:
    """Check, before step 1 of a run, the outputs of random weights and, before a long run, their export.

    Raises UsageError for a network whose outputs do not match its Model, BundleError for an invalid manifest,
    SertoolError for a network that cannot be exported.
    """
    model, network = fresh(recipe)
    network = answering(model, network).eval()
    shortest = model.shortest
    for samples in (shortest, min(model.longest or SAMPLE_RATE, max(SAMPLE_RATE, 2 * shortest + 1))):
        try:
            with torch.no_grad():
                result = network(1e-3 * torch.randn(2, samples))
        except Exception as error:  # whatever a plugin's network raises
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UsageError(f"model {model.name!r}: {samples} samples raised {reason}") from None
        shape = list(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
        if shape != [2, len(model.outputs)]:
            raise UsageError(f"model {model.name!r}: two clips gave {shape}, not [2, {len(model.outputs)}]")
    form, manifest = _formats(recipe)[0], describe(recipe, model, network)
    (entry,) = variants.entries([form])
    bundle.Manifest.parse(manifest.embedded(entry), "the new bundle", embedded=True)
    if recipe.train.steps < LONG or recipe.train.epochs:
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, entry.file)
        variants.export(network, form, path, manifest, entry, variants.some_clips(shipped_samples(), 2))
        Runtime(str(path)).run(np.zeros(max(shortest, 4000), np.float32) + np.float32(1e-3))


def release(
    recipe: Recipe, run: Path, progress: Progress = lambda stage, done, total: None
) -> tuple[bundle.Bundle, tuple[str, ...]]:
    """Write RUN/NAME from the best weights of a run, as ``write`` does."""
    return write(recipe, run / recipe.bundle.name, *best_network(recipe, run), progress)


def release_teacher(
    recipe: DistilRecipe, run: Path, progress: Progress = lambda stage, done, total: None
) -> tuple[bundle.Bundle, tuple[str, ...]]:
    """Write RUN/teacher: the recipe's teacher as a bundle, for labelling and for comparison with its students."""
    student = load_plugins().get("models", recipe.model.name)
    model = load_plugins().get("models", recipe.teacher.name)
    network = build_teacher(recipe, student)
    model = model.of(network)
    title = f"The teacher of {recipe.bundle.title or recipe.bundle.name}"
    recipe = replace(
        recipe,
        model=ModelSection(recipe.teacher.name, recipe.teacher.options),
        bundle=replace(recipe.bundle, name="teacher", title=title, notes=""),
    )
    return write(recipe, run / "teacher", model, network, 0, progress)


def write(
    recipe: Recipe,
    folder: Path,
    model: Model,
    network: torch.nn.Module,
    step: int,
    progress: Progress = lambda stage, done, total: None,
) -> tuple[bundle.Bundle, tuple[str, ...]]:
    """Write a network (in eval mode, of ``step``) as a bundle; return it and the missed gates, one line each.

    Metrics are measured on the plain fp32 file, clip by clip as in `label`: the task's report on ``val`` and on
    ``ood``, which is not used for any choice, and robustness on clips of ``val``. Raises BundleError if no variant
    passed.
    """
    val_rows, ood_rows = _rows_to_measure_on(recipe)
    network, manifest = answering(model, network), describe(recipe, model, network)
    manifest.training = training(recipe, model, step)
    with bundle.replacing(folder) as fresh:
        samples = _samples(recipe)
        targets = targets_of(model, recipe)
        labelled = [targets.labelled(row) for row in val_rows]
        splits = {recipe.data.val: [row for row in labelled if row], recipe.data.ood: ood_rows}
        material = Material(
            variants.some_clips(samples, COMPARED) + variants.some_clips([row.file for row in val_rows], COMPARED),
            _to_calibrate_with(recipe),
            [Check(name, rows, targets, name != recipe.data.ood) for name, rows in splits.items() if rows],
            recipe.bundle.runs,
        )
        manifest.made = made(material, "the training data", "the recipe's corpora")
        gates: dict[str, Any] = recipe.bundle.gates
        limits = Limits(**gates)
        written = variants.write(fresh, manifest, network, _formats(recipe), material, limits, progress)
        if not manifest.variants:
            raise BundleError(f"{folder}: nothing written: {written.missed[0]}")
        for split in material.checks:
            full = REPORTS[model.task].report(split.rows, written.outputs[split.name], model.outputs)
            manifest.metrics[split.name] = {"overall": full["overall"], "corpus": full["groups"]["corpus"]}
        if recipe.bundle.robustness and val_rows:
            manifest.metrics["robustness"] = _robustness(recipe, fresh, manifest, val_rows, progress)
        manifest.metrics = _rounded(manifest.metrics)
        if recipe.bundle.weights:
            save_weights(fresh, network)
        rated = any(row.arousal is not None for row in val_rows)
        finish(fresh, manifest, network, samples, card(recipe, manifest, rated))
    return bundle.read(folder), written.missed


def describe(recipe: Recipe, model: Model, network: torch.nn.Module) -> bundle.Manifest:
    """Return a manifest without variants, training and metrics."""
    return bundle.Manifest(
        name=recipe.bundle.name,
        version=recipe.bundle.version,
        title=recipe.bundle.title or recipe.bundle.name,
        student=model.name,
        task=model.task,
        outputs=[bundle.Output(name) for name in model.outputs],
        frontend=frontend.describe(network),
        preprocessing=recipe.input.steps,
        shortest_samples=model.shortest,
        longest_samples=model.longest or None,
        licence=recipe.bundle.licence or "none stated",
    )


def finish(folder: Path, manifest: bundle.Manifest, network: torch.nn.Module, samples: list[Path], card: str) -> None:
    """Complete a folder of variants: write sample clips with torch's outputs, manifest, card and checksums."""
    prepare = steps.build(manifest.preprocessing)
    (folder / bundle.SAMPLES).mkdir()
    with open(folder / bundle.SAMPLES / bundle.EXPECTED, "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["file", *manifest.output_names])
        for clip in samples:
            shutil.copyfile(clip, folder / bundle.SAMPLES / clip.name)
            with torch.inference_mode():
                outputs = network(torch.from_numpy(prepare(audio.read(clip)))[None])[0]
            table.writerow([clip.name, *(f"{value:.6f}" for value in outputs.tolist())])
    bundle.write(folder, manifest, card)


def save_weights(folder: Path, network: torch.nn.Module) -> None:
    """Write bundle.WEIGHTS: every parameter and buffer under its name in the network as in bundles."""
    from safetensors.torch import save

    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    (folder / bundle.WEIGHTS).write_bytes(save(weights))


def sample_clips(folder: Path) -> list[Path]:
    """Return the clips of a bundle's self-test; raise UsageError if there are none."""
    clips = sorted(folder.glob("*.wav"))
    if not clips:
        raise UsageError(f"bundle.samples: {folder}: no .wav for the bundle's self-test")
    return clips


def shipped_samples() -> list[Path]:
    """Return the synthesised clips that ship with sertool."""
    return sample_clips(min(bundle.bundled_folder().glob(f"*/{bundle.SAMPLES}")))


def _samples(recipe: Recipe) -> list[Path]:
    return sample_clips(recipe.folder / recipe.bundle.samples) if recipe.bundle.samples else shipped_samples()


def _formats(recipe: Recipe) -> list[variants.Format]:
    return [variants.parse(text, embedding=recipe.bundle.embedding) for text in recipe.bundle.formats]


def _rows_to_measure_on(recipe: Recipe) -> tuple[list[Row], list[Row]]:
    """Return (validation, out-of-domain) rows; none for a distillation without labelled data."""
    if isinstance(recipe, DistilRecipe) and not recipe.data.root:
        return [], []
    return supervised.splits(recipe)[1:]


def _to_calibrate_with(recipe: Recipe) -> list[Samples]:
    """Return training clips or, if a distillation has none, validation clips."""
    if isinstance(recipe, DistilRecipe) and not recipe.data.root:
        return []
    train, val, _ = supervised.splits(recipe)
    return variants.some_clips([row.file for row in train or val], recipe.bundle.calibrate)


def made(material: Material, calibrated: str, checked: str) -> dict[str, Any]:
    """Return the manifest's "made": version of sertool, and recordings for calibration and checks."""
    clips = sum(len(check.rows) for check in material.checks)
    return {
        "sertool": __version__,
        "compared": {"clips": len(material.clips)},
        "calibrated": {"on": calibrated if material.calibrate else "nothing", "clips": len(material.calibrate)},
        "checked": {"on": checked if clips else "nothing", "clips": clips},
    }


def training(recipe: Recipe, model: Model, step: int) -> dict[str, Any]:
    """Return the manifest's "training": data with licences, targets, best step and resolved recipe."""
    resolved = recipe.as_dict()
    resolved["data"]["root"] = ""  # strip local paths, which would change the bundle's bytes
    resolved["data"]["also"] = [{**source, "root": ""} for source in resolved["data"]["also"]]
    if isinstance(recipe, DistilRecipe):
        sources, targets = origins(substituted(recipe, recipe.excerpts.sources)), "outputs of a teacher"
    else:
        rows = supervised.splits(recipe)[0]
        sources = {(row.corpus, row.licence) for row in rows}
        rated = any(row.arousal is not None for row in rows)
        targets = "class labels" if TASKS[model.task].has_classes else "ratings of the clips" if rated else PLACES
        if recipe.teacher.name:
            targets += f"; {recipe.teacher.share:.0%} of each is what {recipe.teacher.name} answers instead"
    return {
        "data": [{"corpus": corpus, "licence": licence} for corpus, licence in sorted(sources)] + recipe.bundle.data,
        "targets": targets,
        "best_step": step,
        "recipe": resolved,
    }


def _rounded(value: Any) -> Any:
    """Round the figures of a bundle to their significant decimals."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value


def _robustness(
    recipe: Recipe, folder: Path, manifest: bundle.Manifest, rows: list[Row], progress: Progress
) -> list[dict[str, Any]]:
    options = substituted(recipe, recipe.bundle.robustness)
    count = options.get("clips", 100)
    clips = [audio.read(row.file) for row in rows[:: max(1, len(rows) // count)][:count]]
    folders = {key: Path(options[key]) for key in ("noise", "rooms") if key in options}
    runtime = Runtime(str(folder / manifest.variants[0].file))

    def meter(done: int, total: int) -> None:
        progress("robustness", done, total)

    results = robustness.evaluate(
        runtime.run,
        clips,
        runtime.bundle.outputs,
        task=manifest.task,
        noise=folders.get("noise"),
        rooms=folders.get("rooms"),
        progress=meter,
    )
    return [asdict(result) for result in results]
