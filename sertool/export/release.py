"""A trained network to a bundle: exported, measured, with samples and a model card."""

import contextlib
import csv
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from sertool import audio, bundle, robustness
from sertool._about import __version__
from sertool.corpora.buckets import origins
from sertool.corpora.rows import Row
from sertool.errors import BundleError, UsageError
from sertool.evaluation.run import REPORTS
from sertool.export import variants
from sertool.export.card import PLACES, card
from sertool.export.variants import Check, Limits, Material
from sertool.features import steps
from sertool.features.mel import SAMPLE_RATE
from sertool.nn import frontend
from sertool.plugins import load_plugins
from sertool.registry import Model
from sertool.runtime import Runtime
from sertool.tasks import TASKS
from sertool.training import supervised
from sertool.training.loop import best_network, fresh
from sertool.training.recipe import DistilRecipe, ModelSection, Recipe, substituted
from sertool.training.targets import answering, targets_of
from sertool.training.teacher import build_teacher

#: Recordings that outputs are compared on.
COMPARED = 50


def check(recipe: Recipe) -> None:
    """UsageError, before a long run rather than after it, for whatever would keep its end from being a bundle."""
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


#: Steps from which on a run is long enough that its end is rehearsed before it begins.
LONG = 1000


def rehearse(recipe: Recipe) -> None:
    """Before step 1 of a run: whether random weights answer as they must and, before a long one, become a bundle.

    UsageError for a network that answers otherwise than its Model says, BundleError for a manifest that is wrong,
    SertoolError for what cannot be exported.
    """
    model, network = fresh(recipe)
    network = answering(model, network).eval()
    shortest = model.shortest
    for samples in (shortest, min(model.longest or SAMPLE_RATE, max(SAMPLE_RATE, 2 * shortest + 1))):
        try:
            with torch.no_grad():
                found = network(1e-3 * torch.randn(2, samples))
        except Exception as error:  # whatever a plugin's network raises
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UsageError(f"model {model.name!r}: {samples} samples raised {reason}") from None
        shape = list(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        if shape != [2, len(model.outputs)]:
            raise UsageError(f"model {model.name!r}: two clips gave {shape}, not [2, {len(model.outputs)}]")
    form, manifest = _formats(recipe)[0], describe(recipe, model, network)
    (entry,) = variants.entries([form])
    bundle.parse(bundle.embedded(manifest, entry), "the bundle to be", embedded=True)
    if recipe.train.steps < LONG or recipe.train.epochs:
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, entry["file"])
        variants.export(network, form, path, manifest, entry, variants.some_clips(shipped_samples(), 2))
        Runtime(str(path)).run(np.zeros(max(shortest, 4000), np.float32) + np.float32(1e-3))


def release(recipe: Recipe, run: Path, progress=lambda stage, done, total: None) -> tuple[bundle.Bundle, tuple]:
    """Write RUN/NAME from the best weights of a run, as ``write`` does."""
    return write(recipe, run / recipe.bundle.name, *best_network(recipe, run), progress)


def release_teacher(
    recipe: DistilRecipe, run: Path, progress=lambda stage, done, total: None
) -> tuple[bundle.Bundle, tuple]:
    """Write RUN/teacher: the recipe's teacher as a bundle, to label and to compare its students with."""
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
    recipe: Recipe, folder: Path, model: Model, network, step: int, progress=lambda stage, done, total: None
) -> tuple[bundle.Bundle, tuple[str, ...]]:
    """Write a network (in eval mode, of ``step``) as a bundle; also what missed a gate, a line each.

    Metrics, measured on the plain fp32 file clip by clip as `label` runs it: on ``val`` and on ``ood``, which nothing
    was chosen by, what the task's report has, and robustness on clips of ``val``. BundleError if nothing passed.
    """
    val_rows, ood_rows = _rows_to_measure_on(recipe)
    network, manifest = answering(model, network), describe(recipe, model, network)
    manifest["training"] = training(recipe, model, step)
    with replacing(folder) as fresh:
        samples = _samples(recipe)
        targets = targets_of(model, recipe)
        labelled = [targets.labelled(row) for row in val_rows]
        splits = {recipe.data.val: [row for row in labelled if row], recipe.data.ood: ood_rows}
        material = Material(
            variants.some_clips(samples, COMPARED) + variants.some_clips([row.file for row in val_rows], COMPARED),
            _to_calibrate_with(recipe),
            [Check(split, rows, targets, split != recipe.data.ood) for split, rows in splits.items() if rows],
            recipe.bundle.runs,
        )
        manifest["made"] = made(material, "the training data", "the recipe's corpora")
        limits = Limits(**recipe.bundle.gates)
        written = variants.write(fresh, manifest, network, _formats(recipe), material, limits, progress)
        if not manifest["variants"]:
            raise BundleError(f"{folder}: nothing written, as {written.missed[0]}")
        for found in material.checks:
            full = REPORTS[model.task].report(found.rows, written.outputs[found.name], model.outputs)
            manifest["metrics"][found.name] = {"overall": full["overall"], "corpus": full["groups"]["corpus"]}
        if recipe.bundle.robustness and val_rows:
            manifest["metrics"]["robustness"] = _robustness(recipe, fresh, manifest, val_rows, progress)
        manifest["metrics"] = _rounded(manifest["metrics"])
        if recipe.bundle.weights:
            save_weights(fresh, network)
        rated = any(row.arousal is not None for row in val_rows)
        finish(fresh, manifest, network, samples, card(recipe, manifest, rated))
    return bundle.read(folder), written.missed


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``folder`` once a bundle is in it; else that one stays as it was."""
    fresh = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        if (fresh / bundle.MANIFEST).is_file():
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def describe(recipe: Recipe, model: Model, network) -> dict:
    """A manifest without variants, training and metrics."""
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
        **({"longest_samples": model.longest} if model.longest else {}),
        "variants": [],
        "default": "",
        "licence": recipe.bundle.licence or "none stated",
        "training": {},
        "metrics": {},
    }


def finish(folder: Path, manifest: dict, network: torch.nn.Module, samples: list[Path], card: str) -> None:
    """Complete a folder of variants: sample clips with what torch gives of them, manifest, card and sums."""
    prepare = steps.build(manifest["preprocessing"])
    (folder / bundle.SAMPLES).mkdir()
    with open(folder / bundle.SAMPLES / bundle.EXPECTED, "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["file", *(output["name"] for output in manifest["outputs"])])
        for clip in samples:
            shutil.copyfile(clip, folder / bundle.SAMPLES / clip.name)
            with torch.inference_mode():
                outputs = network(torch.from_numpy(prepare(audio.read(clip)))[None])[0]
            table.writerow([clip.name, *(f"{value:.6f}" for value in outputs.tolist())])
    bundle.write(folder, manifest, card)


def save_weights(folder: Path, network: torch.nn.Module) -> None:
    """Write bundle.WEIGHTS: every parameter and buffer under its name in what bundles have of the network."""
    from safetensors.torch import save

    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    (folder / bundle.WEIGHTS).write_bytes(save(weights))


def sample_clips(folder: Path) -> list[Path]:
    """The clips of a bundle's self-test; UsageError if there are none."""
    clips = sorted(folder.glob("*.wav"))
    if not clips:
        raise UsageError(f"bundle.samples: {folder}: no .wav for the bundle's self-test")
    return clips


def shipped_samples() -> list[Path]:
    """Synthesised clips that come with sertool."""
    return sample_clips(min(bundle.bundled_folder().glob(f"*/{bundle.SAMPLES}")))


def _samples(recipe: Recipe) -> list[Path]:
    return sample_clips(recipe.folder / recipe.bundle.samples) if recipe.bundle.samples else shipped_samples()


def _formats(recipe: Recipe) -> list[variants.Format]:
    return [variants.parse(text) for text in recipe.bundle.formats]


def _rows_to_measure_on(recipe: Recipe) -> tuple[list[Row], list[Row]]:
    """(validation, out-of-domain) rows; none where a distillation names no labelled data."""
    if isinstance(recipe, DistilRecipe) and not recipe.data.root:
        return [], []
    return supervised.splits(recipe)[1:]


def _to_calibrate_with(recipe: Recipe) -> list[np.ndarray]:
    """Training clips, if a distillation has none then those that it is validated on."""
    if isinstance(recipe, DistilRecipe) and not recipe.data.root:
        return []
    train, val, _ = supervised.splits(recipe)
    return variants.some_clips([row.file for row in train or val], recipe.bundle.calibrate)


def made(material: Material, calibrated: str, checked: str) -> dict:
    """What a bundle's files were made and measured with: by which sertool, calibrated and checked on what."""
    clips = sum(len(check.rows) for check in material.checks)
    return {
        "sertool": __version__,
        "compared": {"clips": len(material.clips)},
        "calibrated": {"on": calibrated if material.calibrate else "nothing", "clips": len(material.calibrate)},
        "checked": {"on": checked if clips else "nothing", "clips": clips},
    }


def training(recipe: Recipe, model: Model, step: int) -> dict:
    resolved = recipe.as_dict()
    resolved["data"]["root"] = ""  # where the data lay is nobody's business and changes the bundle's bytes
    resolved["data"]["also"] = [{**source, "root": ""} for source in resolved["data"]["also"]]
    if isinstance(recipe, DistilRecipe):
        heard, targets = origins(substituted(recipe, recipe.excerpts.sources)), "outputs of a teacher"
    else:
        rows = supervised.splits(recipe)[0]
        heard = {(row.corpus, row.licence) for row in rows}
        rated = any(row.arousal is not None for row in rows)
        targets = "class labels" if TASKS[model.task].has_classes else "ratings of the clips" if rated else PLACES
        if recipe.teacher.name:
            targets += f"; {recipe.teacher.share:.0%} of each is what {recipe.teacher.name} answers instead"
    return {
        "data": [{"corpus": corpus, "licence": licence} for corpus, licence in sorted(heard)] + recipe.bundle.data,
        "targets": targets,
        "best_step": step,
        "recipe": resolved,
    }


def _rounded(value):
    """The figures that a bundle carries, to the digits that mean something."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 4) if isinstance(value, float) else value


def _robustness(recipe: Recipe, folder: Path, manifest: dict, rows: list[Row], progress) -> list[dict]:
    options = substituted(recipe, recipe.bundle.robustness)
    count = options.get("clips", 100)
    clips = [audio.read(row.file) for row in rows[:: max(1, len(rows) // count)][:count]]
    folders = {key: Path(options[key]) for key in ("noise", "rooms") if key in options}
    runtime = Runtime(str(folder / manifest["variants"][0]["file"]))

    def meter(done, total):
        progress("robustness", done, total)

    how = {"task": manifest["task"], "progress": meter, **folders}
    return [asdict(result) for result in robustness.evaluate(runtime.run, clips, runtime.bundle.outputs, **how)]
