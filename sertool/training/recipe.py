"""Recipes: one TOML file says everything about a training run, `--set section.key=value` overrides it."""

import json
import re
import string
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from sertool.corpora.folds import BY
from sertool.errors import UsageError
from sertool.features import steps
from sertool.plugins import load_plugins

#: What a run keeps of its recipe, in its folder.
SAVED = "recipe.json"


@dataclass(frozen=True)
class ModelSection:
    name: str = ""
    options: dict = field(default_factory=dict)
    start: str = ""  # a run of the same model whose best weights it starts from; empty: from random ones


@dataclass(frozen=True)
class DataSection:
    corpus: str = "manifest"  # registered corpus layout
    root: str = ""  # its folder
    also: list = field(default_factory=list)  # of {corpus, root}: more folders; in cross-validation they only train
    corpora: list = field(default_factory=list)  # train and validate on these only; empty: all
    train: str = "train"
    val: str = "val"
    hold_out: float = 0.0  # share of the clips that validates, whatever splits there are; those of data.also all train
    hold_out_by: str = "speaker"  # whole speakers; or clip: any clips, whose speakers then train, too
    ood: str = ""  # split to report on, never to choose by
    # What clips are drawn evenly by, from the outermost level in: labels of a row (corpus, emotion, speaker, session,
    # sex, language), "class" (of a categorical model), or several joined by "+".
    balance_by: list = field(default_factory=lambda: ["corpus+emotion"])
    balance: float = 0.5  # at each level a group of n clips is drawn n ** balance times as often


@dataclass(frozen=True)
class FoldsSection:
    """Of cross-validation."""

    by: str = ""  # what is left out: session, speaker or corpus; empty: sessions if there are, else speakers
    number: int = 0  # groups put together to so many folds; 0: a fold a group
    always: list = field(default_factory=list)  # corpora that only ever train


@dataclass(frozen=True)
class TargetsSection:
    intensity: dict = field(
        default_factory=dict
    )  # label of the corpus -> place on the line from neutral (0) to term (1)


@dataclass(frozen=True)
class InputSection:
    steps: list = field(default_factory=list)  # tables of pre-processing steps, which `label` repeats


@dataclass(frozen=True)
class FocalSection:
    """Of a categorical model; the values of arXiv 2512.23435."""

    gamma: float = 2.0
    smoothing: float = 0.1
    weights: str = "balanced"  # by the number of training clips of each class; or none


@dataclass(frozen=True)
class TrainSection:
    seed: int = 0
    steps: int = 5000
    epochs: int = 0  # whole passes over the clips instead: steps follow, and a validation after each
    patience: int = 0  # validations without a better one after which training ends; 0: it goes on
    batch: int = 32  # clips a step, in each process
    shortest_s: float = 1.5  # each batch has one random length between the two
    longest_s: float = 4.5
    fill: str = "silence"  # what a clip that is shorter than its batch is filled up with; or repeat: with itself
    optimiser: str = "adamw"  # or sgd
    lr: float = 2e-3  # peak
    momentum: float = 0.0  # of sgd
    weight_decay: float = 0.01
    schedule: str = "cosine"  # down to zero; or constant
    warmup: int = 150  # steps of linear warm-up before it
    warmup_ratio: float = 0.0  # the same as a share of all steps, in place of it
    restarts: list = field(default_factory=list)  # steps at which a cosine begins anew, from half the peak before
    clip_gradient: float = 1.0  # largest norm; 0: as it is
    ema: float = 0.999  # decay of the averaged weights that are validated and kept; 0: the weights themselves
    compile: bool = False  # have torch.compile fuse the network's steps: takes a C++ compiler
    precision: str = "fp32"  # or bf16, fp16: mixed; the LogMel stays float32
    device: str = "auto"  # cuda if there is one; or cpu, cuda, cuda:1
    validate_every: int = 250
    save_every: int = 250
    log_every: int = 50
    threads: int = 0  # torch threads; 0: one a core
    workers: int = 1  # processes that load and augment


@dataclass(frozen=True)
class BundleSection:
    name: str = ""  # empty: the model's
    version: str = "0.1"
    title: str = ""
    licence: str = ""
    data: list = field(default_factory=list)  # of {corpus, licence}: what was heard beside the rows (noise, rooms)
    formats: list = field(default_factory=lambda: ["onnx"])  # files to write, each NAME[:key=value,...]
    calibrate: int = 64  # training clips that a format may calibrate with
    gates: dict = field(default_factory=dict)  # max_diff, max_metric_drop, max_bytes, min_speed: else not written
    runs: int = 21  # of 5 s, to time each file; 0: do not
    weights: bool = False  # put the torch weights beside them, to export again from the bundle
    limits: str = ""  # what the model card says of them
    notes: str = ""  # Markdown file beside the recipe that the card ends with
    robustness: dict = field(default_factory=dict)  # clips, noise, rooms: measure it too; empty: do not
    samples: str = ""  # folder beside the recipe with the clips of the self-test; empty: sertool's own


@dataclass(frozen=True)
class TeacherSection:
    name: str = ""  # a registered model that the network learns from too
    options: dict = field(default_factory=dict)  # as members = [{model = "wavlm", weights = "DIR"}, ...]
    share: float = 0.7  # of the target that is its answer; the rest is the label


@dataclass(frozen=True)
class CacheSection:
    """What a frozen encoder or teacher answers, computed once and kept on disk; runs may share a folder."""

    folder: str = ""  # empty: RUN/kept
    versions: int = 0  # augmented versions of each training clip whose encoder outputs are kept; 0: compute each time
    batches: int = 0  # of a distillation: augmented batches kept with the teacher's answers; 0: ask each time
    seed: int = 0  # of what is kept, so that runs of several train.seed share it


@dataclass(frozen=True)
class Recipe:
    """A recipe of `sertool train`, resolved; ``folder`` is where its file lies, for paths relative to it."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    targets: TargetsSection = TargetsSection()
    input: InputSection = InputSection()
    focal: FocalSection = FocalSection()
    folds: FoldsSection = FoldsSection()
    teacher: TeacherSection = TeacherSection()
    cache: CacheSection = CacheSection()
    augment: list = field(default_factory=list)  # tables: name, p, student_only, and the augmentation's own options
    train: TrainSection = TrainSection()
    bundle: BundleSection = BundleSection()
    folder: Path = Path()

    command = "train"
    required = ("model.name", "data.root")

    def as_dict(self) -> dict:
        """Everything but the folder, ready for JSON."""
        return {key: value for key, value in asdict(self).items() if key != "folder"}


@dataclass(frozen=True)
class DistilTeacherSection(TeacherSection):
    name: str = "teacher"
    share: float = 1.0  # there are no labels


@dataclass(frozen=True)
class ExcerptsSection:
    sources: list = field(default_factory=list)  # buckets of which a batch is cut: folders, or tables of a corpus


@dataclass(frozen=True)
class LossSection:
    ccc: float = 100.0
    quadrant: float = 4.0
    neutral: float = 0.5
    temperature: float = 1.0  # of a categorical student
    balanced: bool = False  # of a categorical student with kept batches: all classes are as likely among its targets


@dataclass(frozen=True)
class DistilTrainSection(TrainSection):
    """The values of arXiv 2408.13920."""

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
    """A recipe of `sertool distil`, resolved; ``model`` is the student, ``data`` what it is validated on."""

    teacher: DistilTeacherSection = DistilTeacherSection()
    excerpts: ExcerptsSection = ExcerptsSection()
    loss: LossSection = LossSection()
    train: DistilTrainSection = DistilTrainSection()

    command = "distil"
    required = ("model.name", "teacher.name", "excerpts.sources")


#: Keys of [train] that say how, not what: a run may go on with others.
_HOW = ("device", "workers", "threads", "log_every", "save_every")


def deciding(recipe: dict) -> dict:
    """What of a recipe, as ``as_dict`` gives it, decides a run's weights: not where it runs, nor what is said of it.

    With a constant schedule a run may also be made longer.
    """
    train = {key: value for key, value in recipe["train"].items() if key not in _HOW}
    if train["schedule"] == "constant":
        train.pop("steps")
    data = {key: value for key, value in recipe["data"].items() if key != "root"}
    data["also"] = [source["corpus"] for source in data["also"]]  # where it lies decides nothing
    cache = {key: value for key, value in recipe["cache"].items() if key != "folder"}
    rest = {key: value for key, value in recipe.items() if key not in ("train", "data", "bundle", "cache")}
    return {**rest, "train": train, "data": data, "cache": cache}


def load_recipe(path: Path, overrides=(), complete: bool = True, kind: type[Recipe] = Recipe) -> Recipe:
    """Read a recipe; ``overrides`` are "section.key=value" strings, the value in TOML or bare text.

    A recipe may name another one as its ``base``, above its first section: a file beside it or one that ships. What it
    says itself takes the place of that one's keys, and its augmentations that of all. "$root" in a text stands for
    data.root, "$folder" for the recipe's folder, "$fold" in [model] and [teacher] for the name of a cross-validation's
    fold. UsageError names a file that cannot be read, any section or key that does not exist and, if the recipe must be
    ``complete``, what a run needs but the recipe leaves empty.
    """
    table = read_table(path)
    for override in overrides:
        _override(table, override, kind)
    recipe = _resolve(table, path, kind)
    given = {text.partition("=")[0] for text in overrides}
    if recipe.train.epochs and "train.steps" in given and "train.epochs" not in given:
        raise UsageError(f"{path} counts in train.epochs; set that, or train.epochs=0 beside train.steps")
    required = [*kind.required, *(["data.root"] if "$root" in json.dumps(recipe.as_dict()) else [])]
    for key in required if complete else ():
        section, name = key.split(".")
        if not getattr(getattr(recipe, section), name):
            raise UsageError(f"{path}: {key} is empty; give it with --set {key}=...")
    return recipe


def find(recipe: str) -> Path:
    """The path of a recipe that is a file, or that a registered model brings along; UsageError lists these."""
    if Path(recipe).is_file():
        return Path(recipe)
    plugins = load_plugins()
    shipped = {path.stem: path for name in plugins.names("models") for path in plugins.get("models", name).recipes}
    if recipe not in shipped:
        raise UsageError(f"no recipe {recipe!r}: neither a file nor one that ships ({', '.join(sorted(shipped))})")
    return shipped[recipe]


def read_table(path: Path, above: tuple[Path, ...] = ()) -> dict:
    """A recipe's table, over that of its base; UsageError as ``load_recipe``."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply") from None
    _no_times(table, str(path))
    base, here = table.pop("base", None), path.resolve()
    if base is None:
        return table
    if not isinstance(base, str):
        raise UsageError(f"{path}: base must be the name of a recipe, not {json.dumps(base)}")
    if here in above:
        raise UsageError(f"{path}: is its own base")
    beside = path.parent / base
    below = read_table(beside if beside.is_file() else find(base), (*above, here))
    both = {key: {**below[key], **table[key]} for key in table if isinstance(below.get(key), dict)}
    return below | table | both


def saved(run: Path) -> Recipe:
    """The recipe that a run of training keeps in its folder; UsageError if there is none that can be read."""
    from sertool.nn.checkpoint import read_json  # torch, which reading a recipe's TOML does without

    table, path = read_json(run / SAVED), run / SAVED
    return _resolve(table, path, DistilRecipe if "excerpts" in table else Recipe)


def substituted(recipe: Recipe, value):
    """``value`` with "$root" and "$folder" filled in, in texts and in whatever holds them."""
    if isinstance(value, str):
        return string.Template(value).safe_substitute(root=recipe.data.root, folder=recipe.folder)
    if isinstance(value, list):
        return [substituted(recipe, item) for item in value]
    if isinstance(value, dict):
        return {key: substituted(recipe, item) for key, item in value.items()}
    return value


@dataclass(frozen=True)
class Step:
    """One augmentation of a recipe: with probability ``p``, change(samples, rng)."""

    p: float
    change: Callable
    student_only: bool = False  # in a distillation: the teacher hears the clip without it


def augmentations(recipe: Recipe, plugins) -> list[Step]:
    """The recipe's augmentations, in its order."""
    chain = []
    for table in recipe.augment:
        table = dict(table)
        augmentation = plugins.get("augmentations", table.pop("name", ""))
        own = {key: table.pop(key) for key in ("p", "student_only") if key in table}
        try:
            chain.append(Step(**{"p": 1.0, **own}, change=augmentation.build(**substituted(recipe, table))))
        except TypeError as error:
            reason = re.sub(r"^\w+(\.\w+)*\(\) ", "", str(error))
            raise UsageError(f"augment {augmentation.name!r}: {reason}; it is {augmentation.summary}") from None
    return chain


def _no_times(value, where: str, depth: int = 0) -> None:
    """UsageError for what TOML knows and no recipe has: dates and times, tables in tables without end."""
    if depth > 20:
        raise UsageError(f"{where}: nested too deeply")
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value, start=1):
            _no_times(item, f"{where}: {key}" if depth == 0 else f"{where}.{key}", depth + 1)
    elif not isinstance(value, (str, int, float, bool)):
        raise UsageError(f"{where} is a date or a time ({value}); put it in quotes if it is a text")


def _override(table: dict, override: str, kind: type[Recipe]) -> None:
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
    _no_times(value, f"--set {key}")
    if isinstance(getattr(getattr(kind(), section, None), name, None), str) and not isinstance(value, str):
        value = text  # as 0.2, a version
    if section == "augment":
        _override_augmentation(table, name, value, override)
        return
    place, *inside = name.split(".")  # as model.options.weights
    target = table.setdefault(section, {})
    for inner in inside:
        target = target.setdefault(place, {})
        if not isinstance(target, dict):
            raise UsageError(f"--set {override}: {place} is no table")
        place = inner
    target[place] = value


def _override_augmentation(table: dict, name: str, value, override: str) -> None:
    """ "augment.NAME.option=value" changes the recipe's augmentation of that name; p=0 switches it off."""
    augmentation, dot, option = name.partition(".")
    there = [entry for entry in table.get("augment", []) if entry.get("name") == augmentation]
    if not (dot and there):
        names = ", ".join(str(entry.get("name")) for entry in table.get("augment", [])) or "none"
        raise UsageError(f"--set {override}: write augment.NAME.option=value (the recipe has: {names})")
    for entry in there:
        entry[option] = value


def _resolve(table: dict, path: Path, kind: type[Recipe]) -> Recipe:
    recipe = kind(folder=path.resolve().parent)
    sections = {f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name != "folder"}
    for section, values in table.items():
        if section not in sections:
            if kind is Recipe and section in {f.name for f in fields(DistilRecipe)}:
                raise UsageError(f"{path}: has a [{section}]: a recipe for `sertool distil`")
            raise UsageError(f"{path}: no section [{section}] (there are: {', '.join(sections)})")
        if section == "augment":
            recipe = replace(recipe, augment=values if isinstance(values, list) else [values])
            continue
        if not isinstance(values, dict):
            raise UsageError(f"{path}: {section} must be a table: [{section}]")
        known = {f.name: f.type for f in fields(sections[section])}
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
    train = recipe.train
    if not train.warmup_ratio and train.warmup > train.steps:
        raise UsageError(
            f"{path}: train.warmup is {train.warmup}, more than train.steps, {train.steps}: add --set train.warmup=0"
        )
    turns = [0 if train.warmup_ratio else train.warmup, *train.restarts, train.steps]
    if not all(type(turn) is int for turn in turns) or turns != sorted(turns):
        raise UsageError(f"{path}: train.warmup, restarts and steps must follow one another, not {turns}")
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
        raise UsageError(f"{path}: train.epochs: excerpts have no end; write train.steps")
    for key, value in {
        "train.warmup_ratio": train.warmup_ratio,
        "data.hold_out": recipe.data.hold_out,
        "teacher.share": recipe.teacher.share,
        "focal.smoothing": recipe.focal.smoothing,
    }.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{path}: {key} must be from 0 to 1, not {value:g}")
    least = {"focal.gamma": recipe.focal.gamma, "folds.number": recipe.folds.number}
    least |= {f"cache.{key}": getattr(recipe.cache, key) for key in ("versions", "batches", "seed")}
    for key, value in least.items():
        if value < 0:
            raise UsageError(f"{path}: {key} must be at least 0, not {value:g}")
    if isinstance(recipe, DistilRecipe) and recipe.teacher.share < 1 and not recipe.cache.batches:
        raise UsageError(f"{path}: teacher.share below 1 goes with cache.batches only")
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
        raise UsageError(f'{path}: bundle.formats must be a list of formats, as ["onnx", "onnx-int8"]')
    for key in ("notes", "samples"):
        beside = Path(getattr(recipe.bundle, key))
        if beside.is_absolute() or ".." in beside.parts:
            raise UsageError(f"{path}: bundle.{key} {str(beside)!r} must lie beside the recipe: it is published")
    gates = ("max_diff", "max_metric_drop", "max_bytes", "min_speed")
    for key, value in recipe.bundle.gates.items():
        if key not in gates or type(value) not in (int, float):
            raise UsageError(f"{path}: bundle.gates: {key} = {value!r} is no number of {', '.join(gates)}")
    if recipe.bundle.name != Path(recipe.bundle.name).name or recipe.bundle.name == "..":
        raise UsageError(f"{path}: bundle.name {recipe.bundle.name!r} must be a plain name")
