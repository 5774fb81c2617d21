"""Cross-validation: one run per fold, each tested on unseen clips, then one table of results."""

import csv
import io
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sertool._files import move_into_place
from sertool._types import Floats
from sertool.corpora import Row
from sertool.corpora.folds import Fold, leave_corpus_out, leave_one_out, random_split
from sertool.errors import UsageError
from sertool.evaluation import folds as tables
from sertool.evaluation.run import REPORTS
from sertool.features import steps
from sertool.plugins import load_plugins
from sertool.registry import Model
from sertool.tasks import TASKS
from sertool.training import kept, loop, supervised
from sertool.training.data import Clips
from sertool.training.kept import KeptClips
from sertool.training.loop import Progress
from sertool.training.losses import balanced_weights
from sertool.training.recipe import substituted
from sertool.training.sections import Recipe
from sertool.training.targets import targets_of

SCHEMA = "sertool.crossval/1"
ROWS, PREDICTIONS, REPORT, RESULTS = "rows.csv", "predictions.csv", "report.json", "results.json"
RANDOM_FOLDS = 5

_LABELS = ("corpus", "speaker", "session", "emotion")


def folds(recipe: Recipe, random: bool = False) -> list[Fold]:
    """Return the recipe's folds over rows that have a target and are not out-of-domain.

    With ``random`` clips are assigned at random, so that speakers leak between parts. Raises UsageError if a corpus of
    folds.always does not exist or no row is left to test.
    """
    data, settings = recipe.data, recipe.folds
    targets = targets_of(load_plugins().get("models", recipe.model.name), recipe)
    labelled, also = ([row for row in part if targets.of(row) is not None] for part in supervised.rows(recipe))
    labelled = [row for row in labelled if not (data.ood and row.split == data.ood)]
    corpora = {row.corpus for row in labelled}
    if unknown := sorted(set(settings.always) - corpora):
        raise UsageError(
            f"folds.always: no corpus {unknown[0]!r} in {data.root} (there are: {', '.join(sorted(corpora))})"
        )
    always = [row for row in labelled if row.corpus in settings.always] + also
    rows = [row for row in labelled if row.corpus not in settings.always]
    if not rows:
        raise UsageError(f"{data.root}: {targets.missing} (among the rows to test)")
    if random:
        return random_split(rows, settings.number or RANDOM_FOLDS, recipe.train.seed, always)
    by = settings.by or ("session" if all(row.session for row in rows) else "speaker")
    if by == "corpus":
        return leave_corpus_out(rows, data.train, data.val, always, data.hold_out, recipe.train.seed)
    return leave_one_out(rows, by, always, settings.number)


def listing(recipe: Recipe, folds: list[Fold]) -> list[str]:
    """Return lines on each fold: clips by part and, for classes, clips by corpus and class weights.

    As Table I of arXiv 2512.23435, whose weights are the means over folds.
    """
    lines = [f"{fold.name}: {len(fold.train)} train, {len(fold.val)} validate, {len(fold.test)} test" for fold in folds]
    model: Model = load_plugins().get("models", recipe.model.name)
    if not TASKS[model.task].has_classes:
        return lines
    targets = targets_of(model, recipe)

    def counts(rows: Iterable[Row]) -> Floats:
        total: Floats = np.sum([values for row in rows if (values := targets.of(row)) is not None], axis=0)
        return total

    everything = {row.file: row for fold in folds for row in (*fold.train, *fold.val, *fold.test)}.values()
    table: list[tuple[str, ...]] = [("clips", *model.outputs, "all")]
    for corpus in sorted({row.corpus for row in everything}):
        clips = counts([row for row in everything if row.corpus == corpus])
        table.append((corpus, *(f"{n:,.0f}" for n in clips), f"{clips.sum():,.0f}"))
    weights = np.array([balanced_weights(counts(fold.train)) for fold in folds])
    table += [
        (f"weight, {fold.name}", *(f"{w:.3f}" for w in row), "") for fold, row in zip(folds, weights, strict=True)
    ]
    table.append(("weight, mean", *(f"{w:.3f}" for w in weights.mean(axis=0)), ""))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines.append("")
    for first, *cells in table:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *padded]).rstrip())
    return lines


def run_fold(
    recipe: Recipe, fold: Fold, folder: Path, stop: Callable[[], bool] = lambda: False
) -> Generator[Progress, None, None]:
    """Train in ``folder`` and test, or resume an interrupted run; do nothing if the fold is complete.

    Writes ROWS (each row's part), PREDICTIONS and, last, REPORT. Yields the Progress of supervised.train, then
    that of the stage "testing".
    """
    recipe = _in_fold(recipe, fold.name)
    _note_rows(fold, folder, recipe)
    loop.check_same_recipe(recipe, folder)
    if (folder / REPORT).exists():
        return
    last = None
    for last in supervised.train(recipe, folder, stop, (fold.train, fold.val)):
        yield last
    if last is None or last.done < last.total:
        return
    model, network, step = loop.best_network(recipe, folder)
    targets, before = targets_of(model, recipe), steps.build(recipe.input.steps)
    clips: KeptClips | Clips
    predictions: Iterator[torch.Tensor]
    if recipe.cache.versions and kept.is_split(network):
        clips = yield from supervised.kept_as_they_are("encoding test clips", recipe, folder, network, fold.test)
        predictions = kept.answers(network.head, clips)
    else:
        clips = yield from supervised.decoded("decoding test clips", fold.test, targets, before)
        predictions = (network(torch.from_numpy(clip)[None])[0] for clip in clips.waveforms)
    outputs: list[torch.Tensor] = []
    with torch.inference_mode():
        for prediction in predictions:
            if stop():
                return
            outputs.append(prediction)
            yield Progress("testing", len(outputs), len(clips.rows))
    values: Floats = TASKS[model.task].answer(torch.stack(outputs)).double().numpy().round(6)
    _write_predictions(folder / PREDICTIONS, clips.rows, values, model, Path(recipe.data.root))
    labelled = [targets_of(model, recipe).labelled(row) for row in clips.rows]
    report = REPORTS[model.task].report(labelled, values, model.outputs) | {"best_step": step}
    _write(folder / REPORT, json.dumps(report, indent=1, allow_nan=False) + "\n")


def results(recipe: Recipe, names: list[str], run: Path, random: bool) -> dict[str, Any]:
    """Return the results of a finished cross-validation; write RESULTS and PREDICTIONS of all folds to its folder."""
    reports = {name: json.loads((folder(run, name) / REPORT).read_text(encoding="utf-8")) for name in names}
    model: Model = load_plugins().get("models", recipe.model.name)
    result = {
        "schema": SCHEMA,
        "split": "random: speakers are in several parts, the figures leak" if random else "speakers apart",
        "outputs": list(model.outputs),
        "folds": reports,
        "summary": tables.summary({run.name: list(reports.values())}),
        "recipe": recipe.as_dict() | {"data": recipe.as_dict()["data"] | {"root": "", "also": []}},
    }
    _write(run / RESULTS, json.dumps(result, indent=1) + "\n")
    lines = [(folder(run, name) / PREDICTIONS).read_text(encoding="utf-8").splitlines() for name in names]
    header = "fold," + lines[0][0]
    _write(
        run / PREDICTIONS,
        "\n".join([header, *(f"{n},{x}" for n, f in zip(names, lines, strict=True) for x in f[1:])]) + "\n",
    )
    return result


def read_results(run: Path) -> dict[str, Any]:
    """Return what ``results`` wrote; raise UsageError if it is missing or unreadable."""
    try:
        result = json.loads((run / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        result = None
    if not isinstance(result, dict) or result.get("schema") != SCHEMA:
        raise UsageError(f"{run}: has no {RESULTS} of a finished `sertool crossval`")
    return result


def write_confusion(path: Path, confusion: Iterable[Iterable[int]], names: Sequence[str]) -> None:
    """Write a confusion matrix as CSV: true classes in rows, predicted classes in columns."""
    lines: list[list[Any]] = [["true", *names]]
    lines += ([name, *row] for name, row in zip(names, confusion, strict=True))
    _write(path, "".join(",".join(map(str, line)) + "\n" for line in lines))


def folder(run: Path, name: str) -> Path:
    """Return the folder of a fold's run."""
    return run / f"fold-{name}"


def _in_fold(recipe: Recipe, name: str) -> Recipe:
    """Return the recipe with "$fold" replaced in [model] and [teacher], which can refer to weights."""
    text = json.dumps(name)[1:-1]
    filled = {
        key: json.loads(json.dumps(getattr(recipe, key).options).replace("$fold", text)) for key in ("model", "teacher")
    }
    model = replace(recipe.model, options=filled["model"], start=recipe.model.start.replace("$fold", name))
    return replace(recipe, model=model, teacher=replace(recipe.teacher, options=filled["teacher"]))


def _note_rows(fold: Fold, folder: Path, recipe: Recipe) -> None:
    """Write ROWS; raise UsageError if the run was started with different rows."""
    roots = [Path(recipe.data.root), *(Path(source["root"]) for source in substituted(recipe, recipe.data.also))]
    lines: list[tuple[str, ...]] = [("file", *_LABELS, "part")]
    for part in ("train", "val", "test"):
        lines += [
            (_relative(row, *roots), *(getattr(row, key) for key in _LABELS), part) for row in getattr(fold, part)
        ]
    path, text = folder / ROWS, _csv(lines)
    if path.exists():
        if path.read_text(encoding="utf-8") != text:
            raise UsageError(
                f"{folder} was started with different rows (compare {path}); choose another folder with -o"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    _write(path, text)


def _write_predictions(path: Path, rows: list[Row], values: Floats, model: Model, root: Path) -> None:
    classes = ["predicted"] if TASKS[model.task].has_classes else []
    lines: list[tuple[Any, ...]] = [("file", *_LABELS, *classes, *model.outputs)]
    for row, outputs in zip(rows, values.tolist(), strict=True):
        chosen = [model.outputs[int(np.argmax(outputs))]] if classes else []
        lines.append((_relative(row, root), *(getattr(row, key) for key in _LABELS), *chosen, *outputs))
    _write(path, _csv(lines))


def _relative(row: Row, *roots: Path) -> str:
    """Return a row's file relative to its corpus's folder, so that the folder's path does not matter."""
    return next((str(row.file.relative_to(root)) for root in roots if row.file.is_relative_to(root)), str(row.file))


def _csv(lines: Iterable[Iterable[Any]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()


def _write(path: Path, text: str) -> None:
    """Write a file atomically."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    move_into_place(temporary, path)
