"""Recipes: one TOML file says everything about a training run, `--set section.key=value` overrides it."""

import json
import string
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from ..errors import UsageError


@dataclass(frozen=True)
class ModelSection:
    name: str = ""
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class DataSection:
    corpus: str = "manifest"  # registered corpus layout
    root: str = ""  # its folder
    corpora: list = field(default_factory=list)  # train and validate on these only; empty: all
    train: str = "train"
    val: str = "val"
    ood: str = ""  # split to report on, never to choose by
    balance: float = 0.5  # a (corpus, emotion) group of n clips is drawn n ** balance times as often


@dataclass(frozen=True)
class TargetsSection:
    intensity: dict = field(
        default_factory=dict
    )  # label of the corpus -> place on the line from neutral (0) to term (1)


@dataclass(frozen=True)
class TrainSection:
    seed: int = 0
    steps: int = 5000
    batch: int = 32
    shortest_s: float = 1.5  # each batch has one random length between the two
    longest_s: float = 4.5
    lr: float = 2e-3  # peak, after a linear warm-up, before a cosine down to zero
    warmup: int = 150  # steps
    restarts: list = field(default_factory=list)  # steps at which a cosine begins anew, from half the peak before
    weight_decay: float = 0.01
    ema: float = 0.999  # decay of the averaged weights that are validated and kept
    bf16: bool = False  # mixed precision; the LogMel stays float32
    validate_every: int = 250
    threads: int = 0  # torch threads; 0: one a core
    workers: int = 1  # processes that augment


@dataclass(frozen=True)
class BundleSection:
    name: str = ""
    version: str = "0.1"
    title: str = ""
    licence: str = ""
    exporter: str = "onnx"
    limits: str = ""  # what the model card says of them
    samples: str = "samples"  # folder beside the recipe with the clips of the self-test


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe; ``folder`` is where its file lies, for paths relative to it."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    targets: TargetsSection = TargetsSection()
    augment: list = field(default_factory=list)  # tables: name, p, and the augmentation's own options
    train: TrainSection = TrainSection()
    bundle: BundleSection = BundleSection()
    folder: Path = Path()

    def as_dict(self) -> dict:
        """Everything but the folder, ready for JSON."""
        return {key: value for key, value in asdict(self).items() if key != "folder"}


def load_recipe(path: Path, overrides=(), complete: bool = True) -> Recipe:
    """Read a recipe; ``overrides`` are "section.key=value" strings, the value in TOML or bare text.

    UsageError names a file that cannot be read, any section or key that does not exist and, if the recipe must be
    ``complete``, what a run needs but the recipe leaves empty.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    for override in overrides:
        _override(table, override)
    recipe = _resolve(table, path)
    for key in ("model.name", "data.root", "bundle.name") if complete else ():
        section, name = key.split(".")
        if not getattr(getattr(recipe, section), name):
            raise UsageError(f"{path}: {key} is empty; give it with --set {key}=...")
    return recipe


def augmentations(recipe: Recipe, plugins) -> list:
    """(probability, change) pairs in the recipe's order; "$root" in an option stands for data.root."""
    chain = []
    for table in recipe.augment:
        options = {
            key: string.Template(value).safe_substitute(root=recipe.data.root) if isinstance(value, str) else value
            for key, value in table.items()
            if key not in ("name", "p")
        }
        augmentation = plugins.get("augmentations", table.get("name", ""))
        try:
            chain.append((table.get("p", 1.0), augmentation.build(**options)))
        except TypeError as error:
            raise UsageError(f"augment {augmentation.name!r}: {error}") from None
    return chain


def _override(table: dict, override: str) -> None:
    key, equals, text = override.partition("=")
    section, dot, name = key.partition(".")
    if not (equals and dot and name):
        raise UsageError(f"--set {override}: write section.key=value")
    if section == "augment":
        raise UsageError("--set augment: the list of augmentations is changed in a copy of the recipe")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    table.setdefault(section, {})[name] = value


def _resolve(table: dict, path: Path) -> Recipe:
    recipe = Recipe(folder=path.resolve().parent)
    sections = {f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name != "folder"}
    for section, values in table.items():
        if section not in sections:
            raise UsageError(f"{path}: no section [{section}] (there are: {', '.join(sections)})")
        if section == "augment":
            recipe = replace(recipe, augment=values)
            continue
        known = {f.name: f.type for f in fields(sections[section])}
        for key, value in values.items():
            if key not in known:
                raise UsageError(f"{path}: no key {section}.{key} (there are: {', '.join(known)})")
            if type(value) is int and known[key] is float:
                values[key] = float(value)
            elif type(value) is not known[key]:
                raise UsageError(f"{path}: {section}.{key} must be {known[key].__name__}, not {json.dumps(value)}")
        recipe = replace(recipe, **{section: replace(sections[section], **values)})
    turns = [recipe.train.warmup, *recipe.train.restarts, recipe.train.steps]
    if turns != sorted(turns):
        raise UsageError(f"{path}: train.warmup, restarts and steps must follow one another, not {turns}")
    return recipe
