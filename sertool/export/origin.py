"""What can be exported: a bundle with its torch weights, a run of training, a registered network."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from sertool import bundle
from sertool.errors import BundleError, UsageError
from sertool.export import release
from sertool.export.card import card, with_files
from sertool.nn.weights import fill, read_weights
from sertool.options import named_options
from sertool.plugins import load_plugins
from sertool.registry import Model
from sertool.training.loop import best_network, made
from sertool.training.recipe import SAVED, BundleSection, ModelSection, Recipe, TargetsSection, saved
from sertool.training.targets import answering

#: A run's checkpoint, which may stand for its folder.
BEST = "best.pt"


@dataclass(frozen=True)
class Origin:
    """A network (in eval mode, its outputs those of a bundle) and what a bundle says of it but for its files.

    ``card(manifest)`` is the model card; ``recipe`` has what its targets are placed by; ``samples`` the clips of the
    self-test.
    """

    model: Model
    network: torch.nn.Module
    manifest: dict
    recipe: Recipe
    samples: list[Path]
    card: Callable[[dict], str]
    weights: bool = False  # whether it brought its torch weights along in its bundle


def find_origin(source: str) -> Origin:
    """The Origin of a bundle's name or folder, a run's folder or its best.pt, or a registered NAME[:key=value,...].

    A bundle comes before a network of the same name. UsageError or BundleError say what there is instead.
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
        raise UsageError(f"{source}: neither a bundle nor a run of training (no {bundle.MANIFEST}, no {SAVED})")
    name, options = named_options(source)
    if name not in networks:
        raise UsageError(
            f"no {name!r} to export: give a bundle ({', '.join(names) or 'none installed'}), the folder of a run of "
            f"training, or a network ({', '.join(networks)})"
        )
    return _registered(source, load_plugins().get("models", name), options)


def _bundle(path: Path) -> Origin:
    found = bundle.read(path)
    bundle.check_sums(found)
    file = path / bundle.WEIGHTS
    if not file.is_file():
        raise BundleError(f"{path}: no {bundle.WEIGHTS} in it; export it from the run of training that it comes from")
    model = load_plugins().get("models", found.manifest["student"])
    try:
        trained = found.manifest["training"]["recipe"]
        options = {key: value for key, value in trained["model"]["options"].items() if key != "weights"}
        recipe = Recipe(ModelSection(model.name, options), targets=TargetsSection(**trained.get("targets", {})))
        network = model.build(**options)
        model, network = model.of(network), answering(model, network)
    except (KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path}: its training.recipe does not say how {model.name} was built ({error})") from None
    fill(network, read_weights(file), file, f"made by another {model.name}?")
    text = (path / bundle.CARD).read_text(encoding="utf-8")
    samples = release.sample_clips(path / bundle.SAMPLES)
    manifest = _bare(found.manifest)
    return Origin(model, network.eval(), manifest, recipe, samples, lambda full: with_files(text, full), weights=True)


def _run(run: Path) -> Origin:
    recipe = saved(run)
    if not any((run / name).is_file() for name in (BEST, "last.pt")):
        raise UsageError(f"{run}: no {BEST}: the run has not come to its first validation")
    model, network, step = best_network(recipe, run)
    network = answering(model, network)
    made = run / recipe.bundle.name
    if (made / bundle.MANIFEST).is_file():
        found = bundle.read(made)
        if found.manifest["training"].get("best_step") == step:
            text = (made / bundle.CARD).read_text(encoding="utf-8")
            samples = release.sample_clips(made / bundle.SAMPLES)
            manifest = _bare(found.manifest)
            return Origin(model, network, manifest, recipe, samples, lambda full: with_files(text, full))
    recipe = replace(recipe, bundle=replace(recipe.bundle, notes=""))  # it lies beside a recipe that is not here
    manifest = release.describe(recipe, model, network)
    manifest["training"] = release.training(recipe, model, step)
    return Origin(model, network, manifest, recipe, release.shipped_samples(), lambda full: card(recipe, full))


def _registered(source: str, model: Model, options: dict) -> Origin:
    torch.manual_seed(0)
    network = made(model, options, source).eval()
    model = model.of(network)
    options = _public(options)
    described = model.name + (f" with {json.dumps(options)}" if options else "")
    section = BundleSection(name=model.name, title=f"{described}, as it is built", licence="none stated")
    recipe = Recipe(ModelSection(model.name, options), bundle=section)
    network = answering(model, network)
    manifest = release.describe(recipe, model, network)
    manifest["training"] = {"data": [], "targets": "", "recipe": {"model": {"name": model.name, "options": options}}}
    return Origin(
        model, network, manifest, recipe, release.shipped_samples(), lambda full: card(recipe, full, origin=described)
    )


def _public(options):
    """Options without the places of weights: where they lay is nobody's business."""
    if isinstance(options, dict):
        return {key: _public(value) for key, value in options.items() if key != "weights"}
    return [_public(value) for value in options] if isinstance(options, list) else options


def _bare(manifest: dict) -> dict:
    """A manifest whose files are still to be written."""
    return manifest | {"variants": [], "default": ""}
