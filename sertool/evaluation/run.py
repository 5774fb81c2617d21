"""Run models on a corpus, and write their outputs, reports and plots."""

import csv
import hashlib
import itertools
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO, TypeVar

import numpy as np

from sertool import audio
from sertool import bundle as bundles
from sertool._about import __version__
from sertool._types import Samples
from sertool.corpora import Row
from sertool.corpora.classes import canonical
from sertool.corpora.reading import rows_of
from sertool.corpora.rows import Key
from sertool.errors import AudioError, SertoolError, UsageError
from sertool.evaluation import bootstrap, categorical, dimensional, plots, segmented
from sertool.evaluation.grouped import SMALLEST_GROUP
from sertool.labelling import Labeller, job
from sertool.labelling.labeller import Spread
from sertool.labelling.labels import Labels
from sertool.labelling.plan import Plan
from sertool.plugins import load_plugins
from sertool.recordings.pool import Meter
from sertool.recordings.recording import Recording, printable
from sertool.segments.given import Given

#: Task of a bundle -> module that reports on its outputs.
REPORTS: dict[str, ModuleType] = {"dimensional": dimensional, "categorical": categorical}

SCHEMA = "sertool.evaluation/1"

_LABELS = ("corpus", "speaker", "session", "sex", "language", "split", "emotion")
_TRUTH = ("arousal", "dominance", "valence")

#: Hop between the windows of a plotted recording, as a share of the window.
COURSE_HOP = 1 / 4

_T = TypeVar("_T")


def read(
    root: Path, layout: str | None, splits: Sequence[str] = (), corpora: Sequence[str] = ()
) -> tuple[str, list[Row]]:
    """Return (layout, rows) of a corpus in ``root``, restricted to the given splits and corpora if any are given.

    Without a layout, ``root`` must have a manifest.csv. Raises UsageError, which lists the available names, if a
    layout, split or corpus does not exist.
    """
    if layout is None:
        if not (root / "manifest.csv").is_file():
            known = ", ".join(load_plugins().names("corpora")) or "none installed"
            raise UsageError(f"{root}: no manifest.csv in it; give the layout: --layout NAME ({known})")
        layout = "manifest"
    rows = rows_of(layout, root)
    for option, wanted in (("split", splits), ("corpus", corpora)):
        available = {getattr(row, option) for row in rows}
        if unknown := sorted(set(wanted) - available):
            raise UsageError(f"{root}: no {option} {unknown[0]!r} (there are: {', '.join(sorted(available - {''}))})")
    chosen = [r for r in rows if (not splits or r.split in splits) and (not corpora or r.corpus in corpora)]
    if not chosen:
        raise UsageError(f"{root}: no recording is in both the given splits and the given corpora")
    return layout, chosen


def labellers(models: list[str], runtime: str | None = None) -> dict[str, Labeller]:
    """Load models, in order, by unique names: the bundles' names, or ``models`` if two bundles share a name.

    ``runtime`` as in Labeller. Raises UsageError if a model is given twice, or if the models' tasks differ.
    """
    loaded: dict[str, Labeller] = {}
    tasks: dict[str, str] = {}
    for model in models:
        if model in loaded:
            raise UsageError(f"{model} is given twice")
        loaded[model] = Labeller(model, runtime=runtime, regardless=True)
        task = loaded[model].bundle.manifest.task
        tasks.setdefault(task, model)
        if len(tasks) > 1:
            (one, first), (other, second) = tasks.items()
            raise UsageError(
                f"{first} is {one}, {second} is {other}: they cannot be compared; evaluate each separately"
            )
    names = [labeller.bundle.manifest.name for labeller in loaded.values()]
    ambiguous = len(set(names)) < len(names)
    return loaded if ambiguous else dict(zip(names, loaded.values(), strict=True))


class Whole(Labeller):
    """A Labeller that labels each recording in one piece, without VAD and windows, as both papers measure."""

    def __init__(self, labeller: Labeller) -> None:
        vars(self).update(vars(labeller))
        self._labeller = labeller

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return Whole, (self._labeller,)

    def rows(self, blocks: Iterable[Samples], spread: Spread = itertools.starmap) -> tuple[list[Labels], float]:
        """Label a recording as Labeller.whole does."""
        return self._labeller.whole(blocks)


class Cropped(Labeller):
    """A Labeller that labels the middle ``seconds`` of each recording, or all of a shorter one."""

    def __init__(self, labeller: Labeller, seconds: float) -> None:
        vars(self).update(vars(labeller))
        self._labeller, self._seconds = labeller, seconds

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return Cropped, (self._labeller, self._seconds)

    def rows(self, blocks: Iterable[Samples], spread: Spread = itertools.starmap) -> tuple[list[Labels], float]:
        """Label the middle of a recording as the Labeller does."""
        samples = np.concatenate([np.zeros(0, np.float32), *blocks])
        length = round(self._seconds * audio.SAMPLE_RATE)
        start = max(0, (len(samples) - length) // 2)
        return self._labeller.rows([samples[start : start + length]])


def cropped(models: Mapping[str, Labeller], crops: Sequence[float]) -> dict[str, Labeller]:
    """Return each model, followed by its versions Cropped to each number of seconds in ``crops``."""
    result: dict[str, Labeller] = {}
    for name, labeller in models.items():
        result[name] = labeller
        for seconds in crops:
            result[f"{name} {seconds:g} s"] = Cropped(labeller, seconds)
    return result


def task(models: Mapping[str, Labeller]) -> str:
    """Return the task of ``models``, which is the same for all of them."""
    return next(iter(models.values())).bundle.manifest.task


def outputs(
    labeller: Labeller, rows: Sequence[Row], jobs: int, stop: threading.Event | None, meter: Meter | None
) -> Iterator[dict[Key, list[float] | str]]:
    """Yield the outputs [k] or an error message of each row's key, as files are finished, each file once.

    The numbers are those that `sertool label` writes, with six decimals. Setting ``stop`` starts no new file.
    """
    recordings = [Recording(file, str(file)) for file in dict.fromkeys(Path(row.file) for row in rows)]
    segments = segmented.segments_of([row for row in rows if row.start is not None])
    plan = Plan()
    if segments:
        plan = Plan("segment", segments=Given.held({str(file): held for file, held in segments.items()}))
    for result in job.label_all(labeller, recordings, plan, jobs=jobs, stop=stop, meter=meter):
        file = result.recording.path
        keys: list[Key] = [(file, part.start, part.end) for part in segments.get(file, [])] or [(file, None, None)]
        answers = result.rows * len(keys) if result.failed else result.rows
        yield {
            key: labels["error"] or [labels[name] for name in labeller.outputs]
            for key, labels in zip(keys, answers, strict=True)
        }


def course(
    model: str,
    file: Path,
    window: float | None = None,
    meter: Meter | None = None,
    runtime: str | None = None,
) -> dict[str, Any]:
    """Return a model's outputs over time: ``window``, ``hop`` in seconds; lists ``start``, ``end`` and each output.

    Windows overlap by three quarters; outputs of silent windows are None. Raises SertoolError if the file cannot be
    read.
    """
    window = window or Labeller(model, runtime=runtime).window
    # Without VAD: the plot covers the whole recording.
    labeller = Labeller(model, None, window, window * COURSE_HOP, vad=False, runtime=runtime)
    try:
        blocks = audio.blocks(file)
        rows, _ = labeller.rows(meter.count(blocks) if meter else blocks)
    except AudioError as error:
        raise SertoolError(f"{file}: {error}") from None
    columns = {name: [row[name] for row in rows] for name in ("start", "end", *labeller.outputs)}
    return {"window": labeller.window, "hop": labeller.hop, **columns}


def spread(items: Sequence[_T], number: int) -> list[_T]:
    """Return ``number`` evenly spaced items, or all if there are fewer; always the same ones."""
    number = min(number, len(items))
    return [items[i * len(items) // number] for i in range(number)]


def document(
    corpus: dict[str, Any],
    rows: Sequence[Row],
    models: Mapping[str, tuple[Labeller, dict[str, Any]]],
    settings: dict[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """Return all results of an evaluation, ready for JSON: NaN and infinities become None.

    ``corpus`` describes the corpus, ``rows`` are its labelled rows; ``models`` are name -> (Labeller, report).
    """
    described = [
        {
            "name": name,
            "id": labeller.bundle.id,
            "variant": labeller.runtime.variant.name,
            "sha256": bundles.sha256(labeller.bundle.file(labeller.runtime.variant)),
            "outputs": labeller.outputs,
            "window_s": labeller.window,
            "report": report,
        }
        for name, (labeller, report) in models.items()
    ]
    settings = {**settings, "interval": bootstrap.COVERAGE, "smallest_group": SMALLEST_GROUP}
    result: dict[str, Any] = _finite(
        {
            "schema": SCHEMA,
            "sertool": __version__,
            "corpus": {**corpus, "rows_sha256": _digest(Path(corpus["path"]), rows)},
            "settings": settings,
            "models": described,
            **more,
        }
    )
    return result


def draw(
    folder: Path,
    rows: Sequence[Row],
    outputs: Mapping[str, Any],
    models: Mapping[str, Labeller],
    reports: dict[str, dict[str, Any]],
    course: dict[str, Any] | None,
    title: str,
) -> list[str]:
    """Draw the plots that there are data for into a folder and return their names.

    scatter.png for dimensional models, confusion.png and reliability.png for categorical ones; bars.png and course.png
    for both. ``outputs`` [n, k] of the rows, ``models`` and ``reports`` are by model name. ``course`` has its file and
    each model's course.
    """
    draw_task = {"dimensional": _draw_planes, "categorical": _draw_classes}[task(models)]
    drawn = draw_task(folder, rows, outputs, models, reports, title)
    if any(REPORTS[task(models)].headline(report) for report in reports.values()):
        plots.bars(folder / "bars.png", reports, f"{title}, 95 % intervals")
        drawn.append("bars.png")
    return drawn + ([draw_course(folder, models, course)] if course else [])


def draw_course(folder: Path, models: Mapping[str, Labeller], course: dict[str, Any]) -> str:
    """Draw course.png as ``draw`` does, and return its name."""
    over_time = {"dimensional": plots.course, "categorical": plots.probabilities}[task(models)]
    names = list(dict.fromkeys(name for model in course["models"] for name in models[model].outputs))
    over_time(folder / "course.png", course["models"], names, Path(course["file"]).name)
    return "course.png"


def _draw_planes(
    folder: Path,
    rows: Sequence[Row],
    outputs: Mapping[str, Any],
    models: Mapping[str, Labeller],
    reports: dict[str, dict[str, Any]],
    title: str,
) -> list[str]:
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


def _draw_classes(
    folder: Path,
    rows: Sequence[Row],
    outputs: Mapping[str, Any],
    models: Mapping[str, Labeller],
    reports: dict[str, dict[str, Any]],
    title: str,
) -> list[str]:
    measured = [name for name, report in reports.items() if report["overall"]["measures"]]
    if not measured:
        return []
    matrices = {name: (models[name].outputs, reports[name]["overall"]["confusion"]) for name in measured}
    plots.confusion(folder / "confusion.png", matrices, f"{title}: true and predicted class")
    bins = {name: categorical.reliability(rows, outputs[name], models[name].outputs) for name in measured}
    plots.reliability(folder / "reliability.png", bins, f"{title}: confidence and accuracy")
    return ["confusion.png", "reliability.png"]


def write_predictions(
    stream: TextIO,
    root: Path,
    rows: Sequence[Row],
    found: Mapping[str, Mapping[Key, Sequence[float] | str]],
    names: Mapping[str, Sequence[str]],
    classes: bool = False,
) -> None:
    """Write CSV with a row per recording and model.

    Columns: model, file (relative to ``root``), start and end of segments, labels, ``true_`` numbers, outputs, error.
    ``found`` is model -> key of a row -> outputs or error; ``names`` is model -> names of its outputs. If the outputs
    are ``classes``, a column ``predicted`` with the most probable one precedes them; ``emotion`` is the corpus's label.
    """
    columns = list(dict.fromkeys(name for model in found for name in names[model]))
    columns = ["predicted", *columns] if classes else columns
    table = csv.writer(stream, lineterminator="\n")
    place = ("start", "end") if any(row.start is not None for row in rows) else ()
    table.writerow(["model", "file", *place, *_LABELS, *(f"true_{name}" for name in _TRUTH), *columns, "error"])
    for model, by_file in found.items():
        for row in rows:
            answer = by_file[row.key]
            error = answer if isinstance(answer, str) else ""
            values: dict[str, Any] = {} if isinstance(answer, str) else dict(zip(names[model], answer, strict=True))
            if values and classes:
                values["predicted"] = max(values, key=values.__getitem__)
            known = [getattr(row, name) for name in (*place, *_LABELS, *_TRUTH)]
            cells = [model, _relative(root, row), *known, *map(values.get, columns), error]
            table.writerow([printable(cell) if isinstance(cell, str) else cell for cell in cells])


def _relative(root: Path, row: Row) -> str:
    file = Path(row.file)
    return str(file.relative_to(root)) if file.is_relative_to(root) else str(file)


def _digest(root: Path, rows: Sequence[Row]) -> str:
    """Return a checksum of the measured files' names and labels."""
    known = [
        [
            _relative(root, row),
            *(() if row.start is None else (row.start, row.end)),
            *(getattr(row, name) for name in (*_LABELS, *_TRUTH)),
        ]
        for row in rows
    ]
    lines = sorted(repr(values) for values in known)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
