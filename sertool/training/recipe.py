"""Recipes: one TOML file defines a training run; `--set section.key=value` overrides its values."""

import json
import re
import string
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, get_origin

import numpy as np

from sertool._types import Samples
from sertool.corpora.folds import BY
from sertool.errors import UsageError
from sertool.features import steps
from sertool.plugins import Plugins, load_plugins

#: Copy of the recipe in a run's folder.
SAVED = "recipe.json"

#: Pre-processing: samples to samples.
Preprocess: TypeAlias = Callable[[Samples], Samples]


@dataclass(frozen=True)
class ModelSection:
    name: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    start: str = ""  # a run of the same model whose best weights to start from; empty: random weights


@dataclass(frozen=True)
class DataSection:
    corpus: str = "manifest"  # registered corpus layout
    root: str = ""  # its folder
    # Tables {corpus, root}: additional folders; in cross-validation they are used for training only.
    also: list[dict[str, str]] = field(default_factory=list)
    corpora: list[str] = field(default_factory=list)  # use only these corpora; empty: all
    train: str = "train"
    val: str = "val"
    hold_out: float = 0.0  # share of the clips to validate on, in place of existing splits; data.also trains in full
    hold_out_by: str = "speaker"  # hold out whole speakers; or clip: any clips, so speakers can be in both parts
    ood: str = ""  # split to report on, never used for selection
    # Balance sampling by these, from the outermost level in: labels of a row (corpus, emotion, speaker, session, sex,
    # language), "class" (of a categorical model), or several joined by "+".
    balance_by: list[str] = field(default_factory=lambda: ["corpus+emotion"])
    balance: float = 0.5  # at each level a group of n clips is drawn in proportion to n ** balance


@dataclass(frozen=True)
class FoldsSection:
    """Settings of cross-validation."""

    by: str = ""  # what to leave out: session, speaker or corpus; empty: sessions if there are any, else speakers
    number: int = 0  # merge the groups into this many folds; 0: one fold per group
    always: list[str] = field(default_factory=list)  # corpora that are only used for training


@dataclass(frozen=True)
class TargetsSection:
    # Intensity label of the corpus -> position on the line from neutral (0) to the term (1).
    intensity: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class InputSection:
    steps: list[dict[str, Any]] = field(default_factory=list)  # tables of pre-processing steps, also used by `label`


@dataclass(frozen=True)
class FocalSection:
    """Loss of a categorical model; defaults from arXiv 2512.23435."""

    gamma: float = 2.0
    smoothing: float = 0.1
    weights: str = "balanced"  # by the number of training clips of each class; or none


@dataclass(frozen=True)
class TrainSection:
    seed: int = 0
    steps: int = 5000
    epochs: int = 0  # if above 0: passes over all clips; replaces steps, with a validation after each epoch
    patience: int = 0  # stop after this many validations without improvement; 0: never
    batch: int = 32  # clips per step and process
    shortest_s: float = 1.5  # each batch has one random length from shortest_s to longest_s
    longest_s: float = 4.5
    fill: str = "silence"  # how to pad a clip that is shorter than its batch; or repeat: repeat the clip
    optimiser: str = "adamw"  # or sgd
    lr: float = 2e-3  # peak
    momentum: float = 0.0  # of sgd
    weight_decay: float = 0.01
    schedule: str = "cosine"  # down to zero; or constant
    warmup: int = 150  # steps of linear warm-up before the schedule
    warmup_ratio: float = 0.0  # warm-up as a share of all steps; replaces warmup
    restarts: list[int] = field(default_factory=list)  # steps at which a cosine restarts, from half the previous peak
    clip_gradient: float = 1.0  # largest gradient norm; 0: no clipping
    ema: float = 0.999  # decay of the averaged weights, which are validated and saved; 0: no averaging
    compile: bool = False  # use torch.compile; requires a C++ compiler
    precision: str = "fp32"  # or bf16, fp16: mixed precision; the LogMel stays float32
    device: str = "auto"  # cuda if available; or cpu, cuda, cuda:1
    validate_every: int = 250
    save_every: int = 250
    log_every: int = 50
    threads: int = 0  # torch threads; 0: one per core
    workers: int = 1  # processes that load and augment


@dataclass(frozen=True)
class BundleSection:
    name: str = ""  # empty: the model's
    version: str = "0.1"
    title: str = ""
    licence: str = ""
    # Tables {corpus, licence}: training audio other than the rows (noise, rooms).
    data: list[dict[str, str]] = field(default_factory=list)
    formats: list[str] = field(default_factory=lambda: ["onnx"])  # files to write, each NAME[:key=value,...]
    calibrate: int = 64  # training clips for formats that need calibration
    # max_diff, max_metric_drop, max_bytes, min_speed: do not write a file that fails one of them.
    gates: dict[str, float] = field(default_factory=dict)
    runs: int = 21  # timed runs of 5 s for each file; 0: do not time
    weights: bool = False  # include the torch weights, so that the bundle can be exported again
    limits: str = ""  # text on limitations for the model card
    notes: str = ""  # Markdown file in the recipe's folder to append to the model card
    robustness: dict[str, Any] = field(default_factory=dict)  # clips, noise, rooms: measure robustness; empty: do not
    samples: str = ""  # folder of self-test clips in the recipe's folder; empty: sertool's own clips


@dataclass(frozen=True)
class TeacherSection:
    name: str = ""  # a registered model whose outputs are mixed into the targets
    options: dict[str, Any] = field(default_factory=dict)  # such as members = [{model = "wavlm", weights = "DIR"}, ...]
    share: float = 0.7  # weight of the teacher's output in the target; the rest is the label


@dataclass(frozen=True)
class CacheSection:
    """Cached outputs of a frozen encoder or teacher, computed once and stored on disk; runs can share a folder."""

    folder: str = ""  # empty: RUN/kept
    versions: int = 0  # augmented versions of each training clip to cache encoder outputs of; 0: do not cache
    batches: int = 0  # in a distillation: augmented batches to cache with the teacher's outputs; 0: do not cache
    seed: int = 0  # of the cached data, so that runs with different train.seed can share it


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe of `sertool train`; ``folder`` is the folder of its file, for relative paths."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    targets: TargetsSection = TargetsSection()
    input: InputSection = InputSection()
    focal: FocalSection = FocalSection()
    folds: FoldsSection = FoldsSection()
    teacher: TeacherSection = TeacherSection()
    cache: CacheSection = CacheSection()
    # Tables: name, p, student_only, and the augmentation's own options.
    augment: list[dict[str, Any]] = field(default_factory=list)
    train: TrainSection = TrainSection()
    bundle: BundleSection = BundleSection()
    folder: Path = Path()

    command: ClassVar[str] = "train"
    required: ClassVar[tuple[str, ...]] = ("model.name", "data.root")

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the folder, ready for JSON."""
        return {key: value for key, value in asdict(self).items() if key != "folder"}


@dataclass(frozen=True)
class DistilTeacherSection(TeacherSection):
    name: str = "teacher"
    share: float = 1.0  # no labels by default


@dataclass(frozen=True)
class ExcerptsSection:
    # Audio to cut batches from: folders, or tables of a corpus (see sertool.corpora.buckets).
    sources: list[str | dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class LossSection:
    ccc: float = 100.0
    quadrant: float = 4.0
    neutral: float = 0.5
    temperature: float = 1.0  # of a categorical student
    balanced: bool = False  # of a categorical student with cached batches: make all classes equally likely as targets


@dataclass(frozen=True)
class DistilTrainSection(TrainSection):
    """Training settings with the defaults of arXiv 2408.13920."""

    steps: int = 50_000_000
    batch: int = 16
    shortest_s: float = 0.4
    longest_s: float = 12.0
    optimiser: str = "sgd"
    lr: float = 5e-5
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup: int = 0
    clip_gradient: float = 0.0
    ema: float = 0.0
    validate_every: int = 100_000
    save_every: int = 2_000


@dataclass(frozen=True)
class DistilRecipe(Recipe):
    """A resolved recipe of `sertool distil`; ``model`` is the student, ``data`` is for validation."""

    teacher: DistilTeacherSection = DistilTeacherSection()
    excerpts: ExcerptsSection = ExcerptsSection()
    loss: LossSection = LossSection()
    train: DistilTrainSection = DistilTrainSection()

    command: ClassVar[str] = "distil"
    required: ClassVar[tuple[str, ...]] = ("model.name", "teacher.name", "excerpts.sources")


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
    if recipe.focal.weights not in ("balanced", "none"):
        raise UsageError(f"{path}: focal.weights is {recipe.focal.weights!r}; write balanced or none")
    if train.epochs and isinstance(recipe, DistilRecipe):
        raise UsageError(f"{path}: train.epochs does not apply to `sertool distil`; set train.steps")
    for key, value in {
        "train.warmup_ratio": train.warmup_ratio,
        "data.hold_out": recipe.data.hold_out,
        "teacher.share": recipe.teacher.share,
        "focal.smoothing": recipe.focal.smoothing,
    }.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{path}: {key} must be from 0 to 1, not {value:g}")
    not_negative: dict[str, float] = {"focal.gamma": recipe.focal.gamma, "folds.number": recipe.folds.number}
    not_negative |= {f"cache.{key}": getattr(recipe.cache, key) for key in ("versions", "batches", "seed")}
    for key, value in not_negative.items():
        if value < 0:
            raise UsageError(f"{path}: {key} must be at least 0, not {value:g}")
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
