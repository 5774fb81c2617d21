"""Recipes: one TOML file defines a training run; `--set section.key=value` overrides its values."""

import json
import re
import string
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeAlias, get_origin

import numpy as np

from sertool._types import Samples
from sertool.corpora.folds import BY
from sertool.errors import UsageError
from sertool.features import steps
from sertool.plugins import Plugins, load_plugins
from sertool.training.sections import DistilRecipe, Recipe

#: Copy of the recipe in a run's folder.
SAVED = "recipe.json"

#: Pre-processing: samples to samples.
Preprocess: TypeAlias = Callable[[Samples], Samples]


#: Keys of [train] that do not affect the weights: a run can be resumed with other values.
_HOW = ("device", "workers", "threads", "log_every", "save_every")


def deciding(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a recipe, as from ``as_dict``, that affects a run's weights: not its device, paths or bundle.

    With a constant schedule the number of steps is left out too, so that a run can be extended.
    """
    train = {key: value for key, value in recipe["train"].items() if key not in _HOW}
    if train["schedule"] == "constant":
        train.pop("steps")
    data = {key: value for key, value in recipe["data"].items() if key != "root"}
    data["also"] = [source["corpus"] for source in data["also"]]  # paths do not matter
    cache = {key: value for key, value in recipe["cache"].items() if key != "folder"}
    rest = {key: value for key, value in recipe.items() if key not in ("train", "data", "bundle", "cache")}
    return {**rest, "train": train, "data": data, "cache": cache}


def load_recipe(
    path: Path, overrides: Iterable[str] = (), complete: bool = True, kind: type[Recipe] = Recipe
) -> Recipe:
    """Read a recipe; ``overrides`` are "section.key=value" strings with the value in TOML or as bare text.

    A recipe can name another one as its ``base``, above its first section: a file in the same folder or a recipe that
    ships with sertool. Its own keys override those of the base; its [[augment]] tables replace all of the base's.
    In strings, "$root" stands for data.root, "$folder" for the recipe's folder, and "$fold" in [model] and [teacher]
    for the name of a cross-validation fold. Raises UsageError if a file cannot be read, a section or key does not
    exist or, with ``complete``, a required key is empty.
    """
    table = read_table(path)
    for override in overrides:
        _override(table, override, kind)
    recipe = _resolve(table, path, kind)
    given = {text.partition("=")[0] for text in overrides}
    if recipe.train.epochs and "train.steps" in given and "train.epochs" not in given:
        raise UsageError(
            f"{path} sets train.epochs, which overrides train.steps; change that, or add --set train.epochs=0"
        )
    required = [*kind.required, *(["data.root"] if "$root" in json.dumps(recipe.as_dict()) else [])]
    for key in required if complete else ():
        section, name = key.split(".")
        if not getattr(getattr(recipe, section), name):
            raise UsageError(f"{path}: {key} is empty; give it with --set {key}=...")
    return recipe


def find(recipe: str) -> Path:
    """Return the path of a recipe: a file, or the name of one that ships with a registered model.

    Raises UsageError, which lists these names, if it is neither.
    """
    if Path(recipe).is_file():
        return Path(recipe)
    plugins = load_plugins()
    shipped: dict[str, Path] = {
        path.stem: path for name in plugins.names("models") for path in plugins.get("models", name).recipes
    }
    if recipe not in shipped:
        raise UsageError(f"no recipe {recipe!r}: neither a file nor a shipped recipe ({', '.join(sorted(shipped))})")
    return shipped[recipe]


def read_table(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return a recipe's table merged over that of its base; ``above`` are the recipes that led to it.

    Raises UsageError as ``load_recipe``.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply") from None
    _check_values(table, str(path))
    base, resolved = table.pop("base", None), path.resolve()
    if base is None:
        return table
    if not isinstance(base, str):
        raise UsageError(f"{path}: base must be the name of a recipe, not {json.dumps(base)}")
    if resolved in above:
        raise UsageError(f"{path}: the recipe is its own base")
    sibling = path.parent / base
    parent = read_table(sibling if sibling.is_file() else find(base), (*above, resolved))
    merged = {key: {**parent[key], **table[key]} for key in table if isinstance(parent.get(key), dict)}
    return parent | table | merged


def saved(run: Path) -> Recipe:
    """Return the recipe saved in a training run's folder; raise UsageError if there is none or it cannot be read."""
    from sertool.nn.checkpoint import read_json  # imports torch, which reading a TOML recipe does not need

    table, path = read_json(run / SAVED), run / SAVED
    return _resolve(table, path, DistilRecipe if "excerpts" in table else Recipe)


def substituted(recipe: Recipe, value: Any) -> Any:
    """Return ``value`` with "$root" and "$folder" replaced in strings, also inside lists and dicts."""
    if isinstance(value, str):
        return string.Template(value).safe_substitute(root=recipe.data.root, folder=recipe.folder)
    if isinstance(value, list):
        return [substituted(recipe, item) for item in value]
    if isinstance(value, dict):
        return {key: substituted(recipe, item) for key, item in value.items()}
    return value


@dataclass(frozen=True)
class Step:
    """One augmentation of a recipe: change(samples, rng), applied with probability ``p``."""

    p: float
    change: Callable[[Samples, np.random.Generator], Samples]
    student_only: bool = False  # in a distillation: do not apply it to the teacher's input


def augmentations(recipe: Recipe, plugins: Plugins) -> list[Step]:
    """Return the recipe's augmentations in order; raise UsageError if the options of one are wrong."""
    chain = []
    for table in recipe.augment:
        table = dict(table)
        augmentation = plugins.get("augmentations", table.pop("name", ""))
        settings = {key: table.pop(key) for key in ("p", "student_only") if key in table}
        try:
            chain.append(Step(**{"p": 1.0, **settings}, change=augmentation.build(**substituted(recipe, table))))
        except TypeError as error:
            reason = re.sub(r"^\w+(\.\w+)*\(\) ", "", str(error))
            raise UsageError(f"augment {augmentation.name!r}: {reason}; it is {augmentation.summary}") from None
    return chain


def _check_values(value: Any, where: str, depth: int = 0) -> None:
    """Raise UsageError for valid TOML that no recipe can contain: dates, times, and tables nested too deeply."""
    if depth > 20:
        raise UsageError(f"{where}: nested too deeply")
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value, start=1):
            _check_values(item, f"{where}: {key}" if depth == 0 else f"{where}.{key}", depth + 1)
    elif not isinstance(value, (str, int, float, bool)):
        raise UsageError(f"{where} is a date or a time ({value}); put it in quotes if it is text")


def _override(table: dict[str, Any], override: str, kind: type[Recipe]) -> None:
    """Apply a "section.key=value" override to a recipe's table in place; raise UsageError if it is malformed."""
    key, equals, text = override.partition("=")
    section, dot, name = key.partition(".")
    if not (equals and dot and name):
        raise UsageError(f"--set {override}: write section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    except RecursionError:
        raise UsageError(f"--set {key}=...: nested too deeply") from None
    _check_values(value, f"--set {key}")
    if isinstance(getattr(getattr(kind(), section, None), name, None), str) and not isinstance(value, str):
        value = text  # such as bundle.version=0.2
    if section == "augment":
        _override_augmentation(table, name, value, override)
        return
    option, *nested = name.split(".")  # such as model.options.weights
    target = table.setdefault(section, {})
    for inner in nested:
        target = target.setdefault(option, {})
        if not isinstance(target, dict):
            raise UsageError(f"--set {override}: {option} is not a table")
        option = inner
    target[option] = value


def _override_augmentation(table: dict[str, Any], name: str, value: Any, override: str) -> None:
    """Apply "augment.NAME.option=value" to the recipe's augmentations of that name; p=0 disables one."""
    augmentation, dot, option = name.partition(".")
    matches = [entry for entry in table.get("augment", []) if entry.get("name") == augmentation]
    if not (dot and matches):
        names = ", ".join(str(entry.get("name")) for entry in table.get("augment", [])) or "none"
        raise UsageError(f"--set {override}: write augment.NAME.option=value (the recipe has: {names})")
    for entry in matches:
        entry[option] = value


def _runtime_type(annotation: Any) -> type:
    """Return the class of a field's annotation: list for list[str]."""
    runtime_type: type = get_origin(annotation) or annotation
    return runtime_type


def _resolve(table: dict[str, Any], path: Path, kind: type[Recipe]) -> Recipe:
    """Return the recipe of a table, its keys, types and values checked; raise UsageError if one is wrong."""
    recipe = kind(folder=path.resolve().parent)
    sections = {f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name != "folder"}
    for section, values in table.items():
        if section not in sections:
            if kind is Recipe and section in {f.name for f in fields(DistilRecipe)}:
                raise UsageError(f"{path}: has a [{section}] section; run it with `sertool distil`")
            raise UsageError(f"{path}: no section [{section}] (there are: {', '.join(sections)})")
        if section == "augment":
            recipe = replace(recipe, augment=values if isinstance(values, list) else [values])
            continue
        if not isinstance(values, dict):
            raise UsageError(f"{path}: {section} must be a table: [{section}]")
        known = {f.name: _runtime_type(f.type) for f in fields(sections[section])}
        for key, value in values.items():
            if key not in known:
                raise UsageError(f"{path}: no key {section}.{key} (there are: {', '.join(known)})")
            if type(value) is int and known[key] is float:
                values[key] = float(value)
            elif type(value) is not known[key]:
                raise UsageError(f"{path}: {section}.{key} must be {known[key].__name__}, not {json.dumps(value)}")
        recipe = replace(recipe, **{section: replace(sections[section], **values)})
    if not recipe.bundle.name:
        recipe = replace(recipe, bundle=replace(recipe.bundle, name=recipe.model.name))
    _check(recipe, path)
    return recipe


def _check(recipe: Recipe, path: Path) -> None:
    """Raise UsageError if a value is out of range or contradicts another one."""
    train = recipe.train
    if not train.warmup_ratio and train.warmup > train.steps:
        raise UsageError(
            f"{path}: train.warmup ({train.warmup}) is more than train.steps ({train.steps}); add --set train.warmup=0"
        )
    milestones = [0 if train.warmup_ratio else train.warmup, *train.restarts, train.steps]
    if not all(type(step) is int for step in milestones) or milestones != sorted(milestones):
        raise UsageError(
            f"{path}: train.warmup, restarts and steps must be whole numbers in ascending order, not {milestones}"
        )
    choices = {"optimiser": ("adamw", "sgd"), "schedule": ("cosine", "constant"), "precision": ("fp32", "bf16", "fp16")}
    choices["fill"] = ("silence", "repeat")
    for key, allowed in choices.items():
        if getattr(train, key) not in allowed:
            raise UsageError(f"{path}: train.{key} is {getattr(train, key)!r}; write one of {', '.join(allowed)}")
    if recipe.data.hold_out_by not in ("speaker", "clip"):
        raise UsageError(f"{path}: data.hold_out_by is {recipe.data.hold_out_by!r}; write speaker or clip")
    if train.epochs and isinstance(recipe, DistilRecipe):
        raise UsageError(f"{path}: train.epochs does not apply to `sertool distil`; set train.steps")
    for key, value in {
        "train.warmup_ratio": train.warmup_ratio,
        "data.hold_out": recipe.data.hold_out,
        "teacher.share": recipe.teacher.share,
    }.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{path}: {key} must be from 0 to 1, not {value:g}")
    not_negative = {f"cache.{key}": getattr(recipe.cache, key) for key in ("versions", "batches", "seed")}
    not_negative["folds.number"] = recipe.folds.number
    for key, value in not_negative.items():
        if value < 0:
            raise UsageError(f"{path}: {key} must be at least 0, not {value}")
    if isinstance(recipe, DistilRecipe) and recipe.teacher.share < 1 and not recipe.cache.batches:
        raise UsageError(f"{path}: teacher.share below 1 requires cache.batches above 0")
    if recipe.folds.by not in ("", *BY):
        raise UsageError(f"{path}: folds.by is {recipe.folds.by!r}; write one of {', '.join(BY)}")
    for source in recipe.data.also:
        if not (isinstance(source, dict) and {"corpus", "root"} == source.keys()):
            raise UsageError(f"{path}: data.also: write tables {{corpus = NAME, root = FOLDER}}, not {source!r}")
    steps.build(recipe.input.steps)
    if not 0 < train.shortest_s <= train.longest_s:
        raise UsageError(f"{path}: train.shortest_s must be above 0 and at most longest_s")
    least = {"steps": 1, "batch": 1, "validate_every": 1, "save_every": 1, "log_every": 1}
    for key in (*least, "seed", "warmup", "epochs", "patience", "threads", "workers"):
        if getattr(train, key) < least.get(key, 0):
            raise UsageError(f"{path}: train.{key} must be at least {least.get(key, 0)}, not {getattr(train, key)}")
    if not all(isinstance(entry, dict) for entry in recipe.augment):
        raise UsageError(f"{path}: augment must be [[augment]] tables")
    for entry in recipe.augment:
        p = entry.get("p", 1.0)
        if type(p) not in (int, float) or not 0 <= p <= 1:
            raise UsageError(f"{path}: augment {entry.get('name')!r}: p is a probability from 0 to 1, not {p!r}")
    if not recipe.bundle.formats or not all(isinstance(form, str) for form in recipe.bundle.formats):
        raise UsageError(f'{path}: bundle.formats must be a list of formats, such as ["onnx", "onnx-int8"]')
    for key in ("notes", "samples"):
        relative = Path(getattr(recipe.bundle, key))
        if relative.is_absolute() or ".." in relative.parts:
            raise UsageError(f"{path}: bundle.{key} {str(relative)!r} must be in the recipe's folder: it is published")
    gates = ("max_diff", "max_metric_drop", "max_bytes", "min_speed")
    for key, value in recipe.bundle.gates.items():
        if key not in gates or type(value) not in (int, float):
            raise UsageError(f"{path}: bundle.gates: {key} = {value!r}; write numbers for any of {', '.join(gates)}")
    if recipe.bundle.name != Path(recipe.bundle.name).name or recipe.bundle.name == "..":
        raise UsageError(f"{path}: bundle.name {recipe.bundle.name!r} must be a plain name")
