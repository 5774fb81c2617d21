"""Sources of an export: a bundle with its torch weights, a training run, or a registered network."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from sertool import bundle
from sertool.bundle import Manifest
from sertool.errors import BundleError, UsageError
from sertool.exporting import release
from sertool.exporting.card import card
from sertool.nn.weights import fill, read_weights
from sertool.options import named_options
from sertool.plugins import load_plugins
from sertool.registry import Model
from sertool.training.loop import best_network, made
from sertool.training.recipe import SAVED, saved
from sertool.training.sections import BundleSection, ModelSection, Recipe, TargetsSection
from sertool.training.targets import answering

#: A run's checkpoint, which is accepted in place of its folder.
BEST = "best.pt"


@dataclass(frozen=True)
class Origin:
    """A network (in eval mode, with the outputs of a bundle) and its manifest without variants.

    ``card(manifest)`` returns the model card; ``recipe`` has the settings of the targets; ``samples`` are the clips of
    the self-test.
    """

    model: Model
    network: torch.nn.Module
    manifest: Manifest
    recipe: Recipe
    samples: list[Path]
    card: Callable[[Manifest], str]
    weights: bool = False  # whether it is a bundle with torch weights


def find_origin(source: str) -> Origin:
    """Find a bundle's name or folder, a run's folder or its best.pt, or a registered NAME[:key=value,...].

    A bundle takes precedence over a network of the same name. Raises UsageError or BundleError, which list the
    alternatives.
    """
    path = Path(source)
    if path.name == BEST and path.is_file():
        path = path.parent
    if (path / SAVED).is_file():
        return _run(path)
    names = bundle.installed()
    if source in names or (path / bundle.MANIFEST).is_file():
        return _bundle(names.get(source, path))
    networks = load_plugins().names("models")
    if path.exists() and source not in networks:
        raise UsageError(f"{source}: neither a bundle nor a training run (no {bundle.MANIFEST}, no {SAVED})")
    name, options = named_options(source)
    if name not in networks:
        raise UsageError(
            f"no {name!r} to export: give a bundle ({', '.join(names) or 'none installed'}), the folder of a training "
            f"run, or a network ({', '.join(networks)})"
        )
    return _registered(source, load_plugins().get("models", name), options)


def _bundle(path: Path) -> Origin:
    source = bundle.read(path)
    bundle.check_sums(source)
    file = path / bundle.WEIGHTS
    if not file.is_file():
        raise BundleError(f"{path}: no {bundle.WEIGHTS} in it; export it from its training run")
    model = load_plugins().get("models", source.manifest.student)
    try:
        trained = source.manifest.training["recipe"]
        options = {key: value for key, value in trained["model"]["options"].items() if key != "weights"}
        recipe = Recipe(ModelSection(model.name, options), targets=TargetsSection(**trained.get("targets", {})))
        network = model.build(**options)
        # A tuned bundle may have other outputs than the network that it came from.
        model = replace(model.of(network), task=source.manifest.task, outputs=tuple(source.manifest.output_names))
        network = answering(model, network)
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path}: its training.recipe does not say how {model.name} was built ({error})") from None
    fill(network, read_weights(file), file, f"the weights are not from this {model.name}")
    text = (path / bundle.CARD).read_text(encoding="utf-8")
    samples = release.sample_clips(path / bundle.SAMPLES)
    manifest = _bare(source.manifest)
    return Origin(
        model, network.eval(), manifest, recipe, samples, lambda full: bundle.with_files(text, full), weights=True
    )


def _run(run: Path) -> Origin:
    recipe = saved(run)
    if not any((run / name).is_file() for name in (BEST, "last.pt")):
        raise UsageError(f"{run}: no {BEST}: the run has not reached its first validation")
    model, network, step = best_network(recipe, run)
    network = answering(model, network)
    folder = run / recipe.bundle.name
    if (folder / bundle.MANIFEST).is_file():
        existing = bundle.read(folder)
        if existing.manifest.training.get("best_step") == step:
            text = (folder / bundle.CARD).read_text(encoding="utf-8")
            samples = release.sample_clips(folder / bundle.SAMPLES)
            manifest = _bare(existing.manifest)
            return Origin(model, network, manifest, recipe, samples, lambda full: bundle.with_files(text, full))
    recipe = replace(
        recipe, bundle=replace(recipe.bundle, notes="")
    )  # in the folder of the recipe file, which is unknown
    manifest = release.describe(recipe, model, network)
    manifest.training = release.training(recipe, model, step)
    return Origin(model, network, manifest, recipe, release.shipped_samples(), lambda full: card(recipe, full))


def _registered(source: str, model: Model, options: dict[str, Any]) -> Origin:
    torch.manual_seed(0)
    network = made(model, options, source).eval()
    model = model.of(network)
    options = _without_weights(options)
    described = model.name + (f" with {json.dumps(options)}" if options else "")
    section = BundleSection(name=model.name, title=f"{described}, as it is built", licence="none stated")
    recipe = Recipe(ModelSection(model.name, options), bundle=section)
    network = answering(model, network)
    manifest = release.describe(recipe, model, network)
    manifest.training = {"data": [], "targets": "", "recipe": {"model": {"name": model.name, "options": options}}}
    return Origin(
        model, network, manifest, recipe, release.shipped_samples(), lambda full: card(recipe, full, origin=described)
    )


def _without_weights(options: Any) -> Any:
    """Return options without ``weights``, to strip local paths."""
    if isinstance(options, dict):
        return {key: _without_weights(value) for key, value in options.items() if key != "weights"}
    return [_without_weights(value) for value in options] if isinstance(options, list) else options


def _bare(manifest: Manifest) -> Manifest:
    """Return a manifest without variants, which are written later."""
    return replace(manifest, variants=[], default="")
