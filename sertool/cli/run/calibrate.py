"""Implementation of `sertool calibrate`."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from sertool._about import __version__
from sertool._types import Floats
from sertool.bundle import TYPICAL, Calibration
from sertool.cli.run import own
from sertool.corpora.classes import class_of
from sertool.corpora.coordinates import coordinates
from sertool.corpora.rows import Row
from sertool.errors import UsageError
from sertool.evaluation import run as evaluation
from sertool.evaluation.dimensional import DIMENSIONS
from sertool.labelling import Labeller
from sertool.recordings.scan import scan
from sertool.tasks import TASKS


def calibrate(
    model: str,
    corpus: Path,
    output: Path,
    layout: str | None,
    split: str,
    corpora: str,
    noise: tuple[Path, ...],
    speech_split: str,
    checks: tuple[str, ...],
    clips: int,
    jobs: int | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Run `sertool calibrate`; the arguments are its options."""
    own.require_libraries()
    from sertool.tuning import calibrate as fitting
    from sertool.tuning import cards

    own.check_output(output, overwrite)
    labeller, source = own.source_of(model)
    names, classes = source.manifest.output_names, TASKS[source.manifest.task].has_classes
    wanted = tuple(part for part in corpora.split(",") if part)

    def rows_of(part: str, only: Sequence[str], labelled: bool) -> list[Row]:
        rows = evaluation.read(corpus, layout, (part,), only)[1]
        rows = [row for row in rows if not labelled or _truth(row, names, classes) is not None]
        return _some(rows, clips)

    def known(rows: list[Row], doing: str) -> fitting.Known:
        if not rows:
            raise UsageError(f"{corpus}: no clip of {doing} has a label for {', '.join(names)}")
        heard = own.heard(labeller, rows, jobs, doing)
        truth = np.array([_truth(row, names, classes) for row in heard.rows])
        voices = [f"{row.corpus}/{row.speaker}" for row in heard.rows]
        return fitting.Known(heard.outputs, heard.embeddings, truth, voices, [row.corpus for row in heard.rows])

    rows = rows_of(split, wanted, True)
    unseen = known(rows, split)
    calibration = (fitting.of_classes if classes else fitting.of_numbers)(unseen, names)
    about: dict[str, Any] = {"on": f"{corpus.resolve().name} {split}", "clips": len(unseen.truth)}
    if noise:
        speech = own.heard(labeller, rows_of(speech_split, wanted, False), jobs, speech_split)
        fitted, held = _others(labeller, noise, clips, jobs)
        voices = own.heard(labeller, rows_of(split, wanted, False), jobs, f"speech of {split}").embeddings
        calibration = replace(
            calibration, speech=fitting.of_speech(speech.embeddings, np.vstack([*fitted.values()]), voices)
        )
        about["false_alarms"] = fitting.FALSE_ALARMS
        about["found"] = {kind: _unlike(calibration, embeddings) for kind, embeddings in held.items()}
    figures = {split: fitting.measured(calibration, unseen, classes, names)}
    for part in checks:
        rows_of_part = rows_of(part, (), True)
        for name in sorted({row.corpus for row in rows_of_part}):
            these = [row for row in rows_of_part if row.corpus == name]
            figures[f"{part} {name}"] = fitting.measured(calibration, known(these, name), classes, names)
    calibration = replace(calibration, about={**about, "measured": figures, "sertool": __version__})
    manifest = replace(source.manifest, calibration=calibration.to_dict())
    own.write(source, output, manifest, None, rows, cards.calibrated_card(source, manifest))
    if as_json:
        click.echo(json.dumps({"calibration": calibration.to_dict(), "measured": figures}))
    else:
        for part, row in figures.items():
            click.echo(f"{part}: " + ", ".join(f"{key} {value}" for key, value in row.items()))
    return 0


def _truth(row: Row, names: list[str], classes: bool) -> int | list[float] | None:
    """Return the number of a row's class, or its ratings, else the published place of its label; None without."""
    if classes:
        found = class_of(row.emotion, names)
        return None if found is None else names.index(found)
    if any(name not in DIMENSIONS for name in names):
        raise UsageError(f"there are no targets for {', '.join(names)}: only for {', '.join(DIMENSIONS)}")
    ratings = [getattr(row, name) for name in names]
    if None not in ratings:
        return ratings
    place = coordinates(row.emotion)
    return None if place is None else [place[DIMENSIONS.index(name)] for name in names]


def _some(rows: list[Row], most: int) -> list[Row]:
    """Return up to ``most`` rows of each corpus, evenly over it."""
    result = []
    for corpus in sorted({row.corpus for row in rows}):
        own_rows = [row for row in rows if row.corpus == corpus]
        chosen = np.linspace(0, len(own_rows) - 1, min(most, len(own_rows))).astype(int)
        result += [own_rows[i] for i in chosen]
    return result


def _others(
    labeller: Labeller, folders: Sequence[Path], most: int, jobs: int | None
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Return embeddings of sounds that are no speech, by kind: every second for the fit, the rest to measure."""
    from sertool.tuning.noises import noises

    fitted, held = {}, {}
    for folder in folders:
        rows = [Row(found.path, folder.name, "") for found in scan([str(folder)])]
        if not rows:
            raise UsageError(f"--noise {folder}: no recordings in it")
        embeddings = own.heard(labeller, _some(rows, 4 * most), jobs, folder.name).embeddings
        fitted[folder.name], held[folder.name] = embeddings[::2], embeddings[1::2]
    shortest = labeller.runtime.shortest
    beeps = [sound for sound in noises(most) if len(sound) >= shortest]
    embeddings = np.array([labeller.runtime.run_both(sound)[1] for sound in beeps], np.float64)
    fitted["tones and beeps"], held["tones and beeps"] = embeddings[::2], embeddings[1::2]
    return fitted, held


def _unlike(calibration: Calibration, embeddings: Floats) -> float:
    return round(float(np.mean([(calibration.typical(row) or 0.0) < TYPICAL for row in embeddings])), 4)
