"""The sections of a recipe, with their defaults; docs/training.md describes every key."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar


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
class LossSection:
    name: str = ""  # a registered loss; empty: that of default_loss
    options: dict[str, Any] = field(default_factory=dict)


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
    embedding: bool = False  # give each file the embedding as a second output, for `embed`, `tune` and `adapt`
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
    loss: LossSection = LossSection()
    folds: FoldsSection = FoldsSection()
    teacher: TeacherSection = TeacherSection()
    cache: CacheSection = CacheSection()
    # Tables: name, p, student_only, and the augmentation's own options.
    augment: list[dict[str, Any]] = field(default_factory=list)
    train: TrainSection = TrainSection()
    bundle: BundleSection = BundleSection()
    folder: Path = Path()

    command: ClassVar[str] = "train"
    #: Task of the model -> the loss of a recipe that names none.
    default_loss: ClassVar[dict[str, str]] = {"dimensional": "ccc", "categorical": "focal"}
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
class DistilLossSection(LossSection):
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
    loss: DistilLossSection = DistilLossSection()
    train: DistilTrainSection = DistilTrainSection()

    command: ClassVar[str] = "distil"
    default_loss: ClassVar[dict[str, str]] = {"dimensional": "ccc-quadrant", "categorical": "cross-entropy"}
    required: ClassVar[tuple[str, ...]] = ("model.name", "teacher.name", "excerpts.sources")
