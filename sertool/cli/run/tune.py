"""Implementation of `sertool tune`."""

import copy
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from sertool.bundle import Bundle, Manifest, Output
from sertool.cli.run import own
from sertool.cli.terminal import bar, on_terminal, visible
from sertool.errors import UsageError
from sertool.labelling.answers import require_embedding
from sertool.tasks import CATEGORICAL, DIMENSIONAL, OTHER, RESERVED, TASKS, UNSURE

if TYPE_CHECKING:
    from sertool.tuning.tune import Score, Task, Tuned

#: Doubtful labels that are printed.
_SHOWN = 10
#: An interval this wide says little.
_WIDE = 0.4


def tune(
    model: str,
    labels: Path,
    output: Path,
    label: str | None,
    numbers: str | None,
    root: Path | None,
    name: str | None,
    seed: int,
    jobs: int | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Run `sertool tune`; the arguments are its options."""
    own.require_libraries()
    from sertool.tuning import cards
    from sertool.tuning import labels as reading
    from sertool.tuning import tune as fitting

    if label and numbers:
        raise UsageError("--label is a class, --numbers are numbers: give one of them")
    own.check_output(output, overwrite)
    columns = tuple(part for part in (numbers or "").split(",") if part)
    given = reading.read(labels, label, columns, root)
    if taken := [text for text in given.names if text in (*RESERVED, UNSURE, OTHER)]:
        raise UsageError(f"{labels}: {taken[0]!r} is a column or an answer of the label table: name it differently")
    labeller, source = own.source_of(model)
    require_embedding(labeller.runtime)
    heard = own.heard(labeller, given.rows, jobs, "listening")
    had_classes = TASKS[source.manifest.task].has_classes
    task = fitting.task(
        given.names,
        given.classes,
        given.targets(heard.rows),
        heard.outputs,
        heard.embeddings,
        source.manifest.output_names,
        had_classes,
        [row.speaker for row in heard.rows],
    )
    with bar(0, "parts", "fitting", shown=on_terminal(), transient=True) as shown:
        tuned = fitting.tune(task, lambda done, total: shown.update(done, "fitting", total), seed)
    report = _report(task, tuned, given.skipped, [str(row.file) for row in heard.rows])
    if "tuned" in source.manifest.training:
        report.append(f"{source.manifest.name} was tuned before: if with these clips, these figures are too good")
    manifest = _manifest(source, task, output, name)
    about = {"on": f"own clips ({labels.name})", "clips": len(task.targets)}
    old = source.manifest.calibrated
    speech = old.speech if fitting.are_typical(old, heard.embeddings) else None
    if old.speech and not speech:
        report.append("many of these clips are unlike the speech of the model: the new one has no column typical")
    manifest.calibration = fitting.calibration(task, tuned, speech, about).to_dict()
    manifest.training["tuned"] = {"from": source.id, **_figures(tuned), "by": task.by, "clips": len(task.targets)}
    tail = fitting.tail(task, tuned, had_classes)
    card = cards.own_card(manifest, source, "tune", ["\n".join(["```", *report, "```"])])
    own.write(source, output, manifest, tail, heard.rows, card)
    if as_json:
        doubtful = [{"file": str(heard.rows[clip].file), "likelier": likelier} for clip, likelier in tuned.doubtful]
        click.echo(json.dumps({**manifest.training["tuned"], "doubtful": doubtful}))
    else:
        click.echo("\n".join(report))
    return 0


def _figures(tuned: "Tuned") -> dict[str, Any]:
    scores = {"before": tuned.before and asdict(tuned.before), "after": asdict(tuned.after)}
    penalties = {key: value if math.isfinite(value) else None for key, value in asdict(tuned.penalties).items()}
    return {**scores, "better": tuned.better, "penalties": penalties}


def _manifest(source: Bundle, task: "Task", output: Path, name: str | None) -> Manifest:
    manifest = copy.deepcopy(source.manifest)
    kind = CATEGORICAL if task.classes else DIMENSIONAL
    ends = [(0.0, 1.0)] * len(task.names)
    if not task.classes:
        lows, highs = task.targets.min(axis=0), task.targets.max(axis=0)
        ends = [(float(min(low, 0)), float(max(high, 1, low + 1e-6))) for low, high in zip(lows, highs, strict=True)]
    outputs = [Output(text, *pair) for text, pair in zip(task.names, ends, strict=True)]
    manifest.title = f"{source.manifest.title}, tuned to own labels"
    training = manifest.training
    if isinstance(training.get("recipe"), dict):
        training["recipe"].setdefault("model", {}).setdefault("options", {})["outputs"] = len(task.names)
    training.pop("adapted", None)
    data = [*training.get("data", []), {"corpus": "own labels", "licence": "yours"}]
    manifest.training = {**training, "data": data, "targets": "own labels"}
    called = name or own.plain(output)
    return replace(
        manifest,
        name=called,
        version="1",
        task=kind.name,
        outputs=outputs,
        metrics={},
        made=own.made(len(task.targets)),
    )


def _report(task: "Task", tuned: "Tuned", skipped: int, files: list[str]) -> list[str]:
    """Return the lines that are printed and kept in the model card."""
    from sertool.tuning.tune import counts

    n = len(task.targets)
    if task.classes:
        what = ", ".join(f"{name} {count}" for name, count in counts(task).items())
        heads = "right", "UA"
    else:
        what, heads = ", ".join(task.names), ("CCC", "error")
    people = len(np.unique(task.groups))
    how = f"{people} speakers, left out in turn" if task.by == "speaker" else "files, left out in turn"
    lines = [f"{n} clips: {what}; {how}" + (f"; {skipped} rows without a label" if skipped else "")]
    lines += [f"{'':8}{heads[0]:>7} {'95 %':^14} {heads[1]:>6}"]
    if tuned.before:
        lines.append(_line("before", tuned.before))
    else:
        lines.append("before: the model does not know these " + ("classes" if task.classes else "numbers"))
    lines.append(_line("after", tuned.after))
    if tuned.after.high - tuned.after.low > _WIDE:
        lines.append(f"{n} clips are too few to say how good this is: see the interval, and label more")
    chance = float(task.targets.mean(axis=0).max()) if task.classes else 0.0
    by_chance = tuned.after.low <= chance
    if by_chance:
        always = "than always giving the most frequent class" if task.classes else "than always giving the same number"
        lines.append(f"it is not shown to be better {always}")
    if tuned.before and not tuned.better:
        lines.append("these clips do not show that it is better than before")
    if task.by == "file":
        lines.append("for voices that are not among these clips, it is likely to be worse")
    if tuned.doubtful and not by_chance:
        lines.append("these labels look wrong; listen to them:")
        for clip, likelier in tuned.doubtful[:_SHOWN]:
            labelled = task.names[int(task.targets[clip].argmax())]
            lines.append(f"  {visible(files[clip])}: {visible(labelled)}, sounds {visible(likelier)}")
        if len(tuned.doubtful) > _SHOWN:
            lines.append(f"  and {len(tuned.doubtful) - _SHOWN} more: --json lists all")
    return lines


def _line(head: str, score: "Score") -> str:
    interval = f"[{score.low:.2f}, {score.high:.2f}]"
    return f"{head:8}{score.value:7.2f} {interval:^14} {score.other:6.2f}"
