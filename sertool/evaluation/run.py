"""From a corpus and models to outputs, and from those to what is written."""

import csv
import hashlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sertool import audio
from sertool import bundle as bundles
from sertool._about import __version__
from sertool.corpora import Row
from sertool.corpora.classes import canonical
from sertool.corpora.reading import rows_of
from sertool.errors import AudioError, SertoolError, UsageError
from sertool.evaluation import bootstrap, categorical, dimensional, plots
from sertool.evaluation.grouped import SMALLEST_GROUP
from sertool.labelling import Labeller, job
from sertool.plugins import load_plugins
from sertool.recordings.pool import Meter
from sertool.recordings.scan import Recording, printable

#: Task of a bundle -> what reports on its outputs.
REPORTS = {"dimensional": dimensional, "categorical": categorical}

SCHEMA = "sertool.evaluation/1"

_LABELS = ("corpus", "speaker", "session", "sex", "language", "split", "emotion")
_TRUTH = ("arousal", "dominance", "valence")

#: A long recording's windows begin this share of a window apart.
COURSE_HOP = 1 / 4


def read(root: Path, layout: str | None, splits=(), corpora=()) -> tuple[str, list[Row]]:
    """(layout, rows) of a corpus in ROOT, of the named splits and corpora only if any are named.

    Without a layout ROOT needs a manifest.csv. UsageError names what there is instead of what was asked for.
    """
    if layout is None:
        if not (root / "manifest.csv").is_file():
            known = ", ".join(load_plugins().names("corpora")) or "none is installed"
            raise UsageError(f"{root}: no manifest.csv in it; say how it is laid out: --layout NAME ({known})")
        layout = "manifest"
    rows = rows_of(layout, root)
    for option, wanted in (("split", splits), ("corpus", corpora)):
        there = {getattr(row, option) for row in rows}
        if unknown := sorted(set(wanted) - there):
            raise UsageError(f"{root}: no {option} {unknown[0]!r} (there are: {', '.join(sorted(there - {''}))})")
    chosen = [r for r in rows if (not splits or r.split in splits) and (not corpora or r.corpus in corpora)]
    if not chosen:
        raise UsageError(f"{root}: no recording is in both these splits and these corpora")
    return layout, chosen


def labellers(models: list[str], runtime: str | None = None) -> dict[str, Labeller]:
    """Models by a name that tells them apart, in order: their own, or as they were given where two share one.

    ``runtime`` as Labeller takes it. UsageError for a model that is given twice, and for models of different tasks.
    """
    loaded, tasks = {}, {}
    for model in models:
        if model in loaded:
            raise UsageError(f"{model} is given twice")
        loaded[model] = Labeller(model, runtime=runtime, regardless=True)
        task = loaded[model].bundle.manifest["task"]
        tasks.setdefault(task, model)
        if len(tasks) > 1:
            (one, first), (other, second) = tasks.items()
            raise UsageError(f"{first} is {one}, {second} is {other}: no figure is for both; evaluate each on its own")
    own = [labeller.bundle.manifest["name"] for labeller in loaded.values()]
    alike = len(set(own)) < len(own)
    return loaded if alike else dict(zip(own, loaded.values(), strict=True))


class Whole:
    """A Labeller that hears each recording in one piece, without detector and windows, as both papers measure."""

    def __init__(self, labeller: Labeller):
        self._labeller = labeller

    def __getattr__(self, name: str):
        return getattr(self._labeller, name)

    def rows(self, blocks):
        """Labeller.whole."""
        return self._labeller.whole(blocks)

    def label(self, samples: np.ndarray, rate: float) -> dict:
        """As Labeller.label, of samples in one piece."""
        rows, seconds = self.rows([audio.mono(samples, rate)])
        return self._labeller.average(rows, seconds)


class Cropped:
    """A Labeller that hears the middle ``seconds`` of each recording; all of a shorter one."""

    def __init__(self, labeller: Labeller, seconds: float):
        self._labeller, self._samples = labeller, round(seconds * audio.SAMPLE_RATE)

    def __getattr__(self, name: str):
        return getattr(self._labeller, name)

    def rows(self, blocks):
        """As Labeller.rows, of the middle."""
        samples = np.concatenate([np.zeros(0, np.float32), *blocks])
        start = max(0, (len(samples) - self._samples) // 2)
        return self._labeller.rows([samples[start : start + self._samples]])


def cropped(models: dict[str, Labeller], crops: list[float]) -> dict[str, Labeller]:
    """Each model as it is, and after it as it does on the middle of each recording, for so many seconds each."""
    return {
        label: found
        for name, labeller in models.items()
        for label, found in ((name, labeller), *((f"{name} {s:g} s", Cropped(labeller, s)) for s in crops))
    }


def task(models: dict[str, Labeller]) -> str:
    """The task that all of ``labellers`` have."""
    return next(iter(models.values())).bundle.manifest["task"]


def outputs(labeller: Labeller, rows: list[Row], jobs: int, stop, meter) -> Iterator[tuple[Path, list | str]]:
    """(file, outputs [k], or the reason why there are none) as files are finished, each file once.

    The numbers are those that `sertool label` writes, six decimals. Setting ``stop`` begins no new file.
    """
    recordings = [Recording(file, str(file)) for file in dict.fromkeys(Path(row.file) for row in rows)]
    for result in job.label_all(labeller, recordings, jobs=jobs, stop=stop, meter=meter):
        (labels,) = result.rows
        yield result.recording.path, labels["error"] or [labels[name] for name in labeller.outputs]


def course(
    model: str,
    file: Path,
    window: float | None = None,
    meter: Meter | None = None,
    runtime: str | None = None,
) -> dict:
    """A model's outputs over a recording: ``window``, ``hop`` in seconds, ``start``, ``end`` and each output as lists.

    Windows overlap by three quarters; outputs of a silent one are None. SertoolError names a file that cannot be read.
    """
    window = window or Labeller(model, runtime=runtime).window
    # What is drawn over time has all of it.
    labeller = Labeller(model, None, window, window * COURSE_HOP, vad=False, runtime=runtime)
    try:
        blocks = audio.blocks(file)
        rows, _ = labeller.rows(meter.count(blocks) if meter else blocks)
    except AudioError as error:
        raise SertoolError(f"{file}: {error}") from None
    columns = {name: [row[name] for row in rows] for name in ("start", "end", *labeller.outputs)}
    return {"window": labeller.window, "hop": labeller.hop, **columns}


def spread(items: list, number: int) -> list:
    """``number`` of the items, or all if they are fewer, evenly over the whole list, the same ones each time."""
    number = min(number, len(items))
    return [items[i * len(items) // number] for i in range(number)]


def document(corpus: dict, rows: list[Row], models: dict[str, tuple[Labeller, dict]], settings: dict, **more) -> dict:
    """Everything that an evaluation found, ready for JSON: NaN and infinities become None.

    ``corpus`` says what was evaluated, ``rows`` of it were labelled; ``models`` are name -> (Labeller, report).
    """
    described = [
        {
            "name": name,
            "id": labeller.bundle.id,
            "variant": labeller.runtime.variant["name"],
            "sha256": bundles.sha256(labeller.bundle.file(labeller.runtime.variant)),
            "outputs": labeller.outputs,
            "window_s": labeller.window,
            "report": report,
        }
        for name, (labeller, report) in models.items()
    ]
    settings = {**settings, "interval": bootstrap.COVERAGE, "smallest_group": SMALLEST_GROUP}
    return _finite(
        {
            "schema": SCHEMA,
            "sertool": __version__,
            "corpus": {**corpus, "rows_sha256": _digest(Path(corpus["path"]), rows)},
            "settings": settings,
            "models": described,
            **more,
        }
    )


def draw(folder: Path, rows, outputs: dict, models: dict, reports: dict, course: dict | None, title: str) -> list[str]:
    """Draw pictures into a folder, those that there is something for; their names.

    Of dimensional models scatter.png, of categorical ones confusion.png and reliability.png; of both bars.png and
    course.png. Of the models by name: outputs [n, k] of the rows, Labeller, report. ``course``: its file and each
    model's course.
    """
    own = {"dimensional": _draw_planes, "categorical": _draw_classes}[task(models)]
    drawn = own(folder, rows, outputs, models, reports, title)
    if any(REPORTS[task(models)].headline(report) for report in reports.values()):
        plots.bars(folder / "bars.png", reports, f"{title}, 95 % intervals")
        drawn.append("bars.png")
    return drawn + ([draw_course(folder, models, course)] if course else [])


def draw_course(folder: Path, models: dict, course: dict) -> str:
    """Draw course.png as ``draw`` does; its name."""
    over_time = {"dimensional": plots.course, "categorical": plots.probabilities}[task(models)]
    names = list(dict.fromkeys(name for model in course["models"] for name in models[model].outputs))
    over_time(folder / "course.png", course["models"], names, Path(course["file"]).name)
    return "course.png"


def _draw_planes(folder, rows, outputs, models, reports, title):
    planes = {
        name: np.array(outputs[name])[:, [labeller.outputs.index("arousal"), labeller.outputs.index("valence")]]
        for name, labeller in models.items()
        if rows and {"arousal", "valence"} <= set(labeller.outputs)
    }
    if not planes:
        return []
    classes = [canonical(row.emotion) for row in rows]
    plots.scatter(folder / "scatter.png", planes, classes, f"{title}: outputs by class")
    return ["scatter.png"]


def _draw_classes(folder, rows, outputs, models, reports, title):
    told = [name for name, report in reports.items() if report["overall"]["measures"]]
    if not told:
        return []
    matrices = {name: (models[name].outputs, reports[name]["overall"]["confusion"]) for name in told}
    plots.confusion(folder / "confusion.png", matrices, f"{title}: true and predicted class")
    bins = {name: categorical.reliability(rows, outputs[name], models[name].outputs) for name in told}
    plots.reliability(folder / "reliability.png", bins, f"{title}: confidence and accuracy")
    return ["confusion.png", "reliability.png"]


def write_predictions(
    stream, root: Path, rows: list[Row], found: dict[str, dict[Path, list | str]], names: dict, classes: bool = False
) -> None:
    """CSV of a row a recording and model: model, file (relative to ROOT), labels, ``true_`` numbers, outputs, error.

    ``found`` is model -> file -> outputs or error; ``names`` is model -> names of its outputs. Where these are
    ``classes``, the most probable one stands before them, as ``predicted``; ``emotion`` is the corpus's label.
    """
    columns = list(dict.fromkeys(name for model in found for name in names[model]))
    columns = ["predicted", *columns] if classes else columns
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["model", "file", *_LABELS, *(f"true_{name}" for name in _TRUTH), *columns, "error"])
    for model, by_file in found.items():
        for row in rows:
            answer = by_file[Path(row.file)]
            failed = isinstance(answer, str)
            values = {} if failed else dict(zip(names[model], answer, strict=True))
            if values and classes:
                values["predicted"] = max(values, key=values.get)
            known = [getattr(row, name) for name in (*_LABELS, *_TRUTH)]
            cells = [model, _relative(root, row), *known, *map(values.get, columns), answer if failed else ""]
            table.writerow([printable(cell) if isinstance(cell, str) else cell for cell in cells])


def _relative(root: Path, row: Row) -> str:
    file = Path(row.file)
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)


def _digest(root: Path, rows: list[Row]) -> str:
    """A sum that is the same exactly if the same files with the same labels were measured."""
    known = [[_relative(root, row), *(getattr(row, name) for name in (*_LABELS, *_TRUTH))] for row in rows]
    lines = sorted(repr(values) for values in known)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
