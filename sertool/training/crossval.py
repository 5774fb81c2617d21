"""Cross-validation: a run a fold, each tested on what it never heard, then one table."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sertool._files import move_into_place
from sertool.corpora import Row
from sertool.corpora.folds import Fold, leave_corpus_out, leave_one_out, random_split
from sertool.errors import UsageError
from sertool.evaluation import folds as tables
from sertool.evaluation.run import REPORTS
from sertool.features import steps
from sertool.plugins import load_plugins
from sertool.tasks import TASKS
from sertool.training import kept, loop, supervised
from sertool.training.loop import Progress
from sertool.training.losses import balanced_weights
from sertool.training.recipe import Recipe, substituted
from sertool.training.targets import targets_of

SCHEMA = "sertool.crossval/1"
ROWS, PREDICTIONS, REPORT, RESULTS = "rows.csv", "predictions.csv", "report.json", "results.json"
RANDOM_FOLDS = 5

_LABELS = ("corpus", "speaker", "session", "emotion")


def folds(recipe: Recipe, random: bool = False) -> list[Fold]:
    """The recipe's folds: of its rows that have a target and are not out-of-domain; ``random``: of clips, leaking."""
    data, settings = recipe.data, recipe.folds
    targets = targets_of(load_plugins().get("models", recipe.model.name), recipe)
    own, also = ([row for row in part if targets.of(row) is not None] for part in supervised.rows(recipe))
    own = [row for row in own if not (data.ood and row.split == data.ood)]
    there = {row.corpus for row in own}
    if unknown := sorted(set(settings.always) - there):
        raise UsageError(
            f"folds.always: no corpus {unknown[0]!r} in {data.root} (there are: {', '.join(sorted(there))})"
        )
    always = [row for row in own if row.corpus in settings.always] + also
    rows = [row for row in own if row.corpus not in settings.always]
    if not rows:
        raise UsageError(f"{data.root}: {targets.missing} (of those that are tested)")
    if random:
        return random_split(rows, settings.number or RANDOM_FOLDS, recipe.train.seed, always)
    by = settings.by or ("session" if all(row.session for row in rows) else "speaker")
    if by == "corpus":
        return leave_corpus_out(rows, data.train, data.val, always, data.hold_out, recipe.train.seed)
    return leave_one_out(rows, by, always, settings.number)


def listing(recipe: Recipe, folds: list[Fold]) -> list[str]:
    """Lines that say what is in each fold: clips by part and, of classes, those that train and their weights.

    As Table I of arXiv 2512.23435, whose weights are the means over folds.
    """
    lines = [f"{fold.name}: {len(fold.train)} train, {len(fold.val)} validate, {len(fold.test)} test" for fold in folds]
    model = load_plugins().get("models", recipe.model.name)
    if not TASKS[model.task].has_classes:
        return lines
    targets = targets_of(model, recipe)

    def counts(rows):
        return np.sum([targets.of(row) for row in rows], axis=0)

    everything = {row.file: row for fold in folds for row in (*fold.train, *fold.val, *fold.test)}.values()
    table = [("clips", *model.outputs, "all")]
    for corpus in sorted({row.corpus for row in everything}):
        found = counts([row for row in everything if row.corpus == corpus])
        table.append((corpus, *(f"{n:,.0f}" for n in found), f"{found.sum():,.0f}"))
    weights = np.array([balanced_weights(counts(fold.train)) for fold in folds])
    table += [
        (f"weight, {fold.name}", *(f"{w:.3f}" for w in own), "") for fold, own in zip(folds, weights, strict=True)
    ]
    table.append(("weight, mean", *(f"{w:.3f}" for w in weights.mean(axis=0)), ""))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines.append("")
    for first, *cells in table:
        cells = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return lines


def run_fold(recipe: Recipe, fold: Fold, folder: Path, stop: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
    """Train in ``folder`` and test, or go on where that was cut off; a fold that is done does nothing.

    Writes ROWS (which row has which part), PREDICTIONS and, last of all, REPORT. The Progress are supervised.train's,
    then "testing".
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
    if recipe.cache.versions:
        clips = yield from supervised.kept_as_they_are("encoding test clips", recipe, folder, network, fold.test)
        answers = kept.answers(network.head, clips)
    else:
        clips = yield from supervised.decoded("decoding test clips", fold.test, targets, before)
        answers = (network(torch.from_numpy(clip)[None])[0] for clip in clips.waveforms)
    outputs = []
    with torch.inference_mode():
        for answer in answers:
            if stop():
                return
            outputs.append(answer)
            yield Progress("testing", len(outputs), len(clips.rows))
    outputs = torch.stack(outputs)
    values = TASKS[model.task].answer(outputs).double().numpy().round(6)
    _write_predictions(folder / PREDICTIONS, clips.rows, values, model, Path(recipe.data.root))
    labelled = [targets_of(model, recipe).labelled(row) for row in clips.rows]
    report = REPORTS[model.task].report(labelled, values, model.outputs) | {"best_step": step}
    _write(folder / REPORT, json.dumps(report, indent=1, allow_nan=False) + "\n")


def results(recipe: Recipe, names: list[str], run: Path, random: bool) -> dict:
    """What a finished cross-validation found, and RESULTS and PREDICTIONS of all folds in its folder."""
    reports = {name: json.loads((folder(run, name) / REPORT).read_text(encoding="utf-8")) for name in names}
    model = load_plugins().get("models", recipe.model.name)
    found = {
        "schema": SCHEMA,
        "split": "random: speakers are in several parts, the figures leak" if random else "speakers apart",
        "outputs": list(model.outputs),
        "folds": reports,
        "summary": tables.summary({run.name: list(reports.values())}),
        "recipe": recipe.as_dict() | {"data": recipe.as_dict()["data"] | {"root": "", "also": []}},
    }
    _write(run / RESULTS, json.dumps(found, indent=1) + "\n")
    lines = [(folder(run, name) / PREDICTIONS).read_text(encoding="utf-8").splitlines() for name in names]
    header = "fold," + lines[0][0]
    _write(
        run / PREDICTIONS,
        "\n".join([header, *(f"{n},{x}" for n, f in zip(names, lines, strict=True) for x in f[1:])]) + "\n",
    )
    return found


def read_results(run: Path) -> dict:
    """What ``results`` wrote; UsageError if it is not there."""
    try:
        found = json.loads((run / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise UsageError(f"{run}: no {RESULTS} of a finished `sertool crossval` in it")
    return found


def write_confusion(path: Path, confusion, names) -> None:
    """A confusion matrix as CSV: a row a true class, a column a predicted one."""
    lines = [["true", *names], *([name, *row] for name, row in zip(names, confusion, strict=True))]
    _write(path, "".join(",".join(map(str, line)) + "\n" for line in lines))


def folder(run: Path, name: str) -> Path:
    """Where a fold's run is."""
    return run / f"fold-{name}"


def _in_fold(recipe: Recipe, name: str) -> Recipe:
    """The recipe with "$fold" filled in where weights come from."""
    text = json.dumps(name)[1:-1]
    filled = {
        key: json.loads(json.dumps(getattr(recipe, key).options).replace("$fold", text)) for key in ("model", "teacher")
    }
    model = replace(recipe.model, options=filled["model"], start=recipe.model.start.replace("$fold", name))
    return replace(recipe, model=model, teacher=replace(recipe.teacher, options=filled["teacher"]))


def _note_rows(fold: Fold, folder: Path, recipe: Recipe) -> None:
    """Write ROWS, or compare: a run goes on with the rows that it began with."""
    roots = [Path(recipe.data.root), *(Path(source["root"]) for source in substituted(recipe, recipe.data.also))]
    lines = [("file", *_LABELS, "part")]
    for part in ("train", "val", "test"):
        lines += [
            (_relative(row, *roots), *(getattr(row, key) for key in _LABELS), part) for row in getattr(fold, part)
        ]
    path, text = folder / ROWS, _csv(lines)
    if path.exists():
        if path.read_text(encoding="utf-8") != text:
            raise UsageError(f"{folder} was begun with other rows (compare {path}); choose another folder with -o")
        return
    folder.mkdir(parents=True, exist_ok=True)
    _write(path, text)


def _write_predictions(path: Path, rows: list[Row], values: np.ndarray, model, root: Path) -> None:
    classes = ["predicted"] if TASKS[model.task].has_classes else []
    lines = [("file", *_LABELS, *classes, *model.outputs)]
    for row, outputs in zip(rows, values.tolist(), strict=True):
        chosen = [model.outputs[int(np.argmax(outputs))]] if classes else []
        lines.append((_relative(row, root), *(getattr(row, key) for key in _LABELS), *chosen, *outputs))
    _write(path, _csv(lines))


def _relative(row: Row, *roots: Path) -> str:
    """A row's file below its corpus's folder: where that lies decides nothing."""
    return next((str(row.file.relative_to(root)) for root in roots if row.file.is_relative_to(root)), str(row.file))


def _csv(lines) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(lines)
    return stream.getvalue()


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(text, encoding="utf-8")
    move_into_place(beside, path)
