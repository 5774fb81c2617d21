"""Implementation of `sertool adapt`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sertool.bundle import Bundle
from sertool.cli.run import own
from sertool.corpora.rows import Row
from sertool.errors import UsageError
from sertool.recordings.scan import scan
from sertool.tasks import TASKS
from sertool.tuning import labels

if TYPE_CHECKING:
    from sertool.tuning.adapt import Adapted


def adapt(
    model: str,
    recordings: Path,
    output: Path,
    by: str | None,
    name: str | None,
    pattern: str | None,
    jobs: int | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Run `sertool adapt`; the arguments are its options."""
    own.require_libraries()
    from sertool.tuning import adapt as fitting
    from sertool.tuning import cards

    if by and recordings.is_dir():
        raise UsageError("--by needs a table with that column, not a folder")
    if by and name:
        raise UsageError("--name is of one bundle; with --by, the groups are the names")
    groups = _groups(recordings, by, pattern)
    targets = {group: output / group if by else output for group in groups}
    for target in targets.values():
        own.check_output(target, overwrite)
    labeller, source = own.source_of(model)
    if not TASKS[source.manifest.task].has_classes:
        raise UsageError(
            f"{source.manifest.name} has no classes: a shift would remove what is true of a voice; "
            "`sertool label --relative-to` compares a voice with itself"
        )
    if "adapted" in source.manifest.training:
        raise UsageError(f"{source.manifest.name} is adapted already: adapt the model that it was made from")
    calibration, names = source.manifest.calibrated, source.manifest.output_names
    fitting.require(calibration)
    found: dict[str, Any] = {}
    for group, rows in groups.items():
        try:
            heard = own.heard(labeller, rows, jobs, group or "listening")
        except UsageError as error:
            if not by:
                raise
            click.echo(f"{group}: no bundle: {error}", err=True)  # the others do not suffer from it
            continue
        adapted = fitting.adapt(heard.outputs, names, calibration)
        _report(adapted, group, names)
        manifest = replace(source.manifest, name=name or own.plain(targets[group]))
        manifest.version, manifest.made = "1", own.made(adapted.clips)
        manifest.title = f"{source.manifest.title}, shifted to {group or 'own recordings'}"
        about = {"from": source.id, "clips": adapted.clips, "shift": [round(value, 4) for value in adapted.shift]}
        manifest.training = {**source.manifest.training, "adapted": about}
        manifest.metrics = {}
        own.write(
            source,
            targets[group],
            manifest,
            adapted.tail,
            heard.rows,
            cards.own_card(manifest, source, "adapt", [_done(adapted, source)]),
        )
        found[group] = asdict(adapted) | {"shift": adapted.shift.tolist(), "one_sided": adapted.one_sided}
    if as_json:
        click.echo(json.dumps(found if by else found[""]))
    return 0 if len(found) == len(groups) else 1


def _groups(recordings: Path, by: str | None, pattern: str | None) -> dict[str, list[Row]]:
    """Return group -> rows; the only group is "" without ``by``."""
    if recordings.is_dir():
        rows = [Row(found.path, "own", "") for found in scan([str(recordings)], pattern)]
        if not rows:
            raise UsageError(f"{recordings}: no recordings in it")
        return {"": rows}
    header, table = labels.table(recordings)
    for column in ("file", *([by] if by else [])):
        if column not in header:
            raise UsageError(f"{recordings}: no column {column!r} (there are: {', '.join(header)})")
    groups: dict[str, list[Row]] = {}
    for _, cells in table:
        group = own.plain(Path(cells[by] or "")) if by and cells[by] else ""
        if by and not group:
            continue
        groups.setdefault(group, []).append(Row(recordings.parent / (cells["file"] or ""), "own", group))
    if not groups:
        raise UsageError(f"{recordings}: no row has a value in {by!r}")
    return groups


def _report(adapted: "Adapted", group: str, names: Sequence[str]) -> None:
    from sertool.tuning.adapt import FEW

    head = f"{group}: " if group else ""
    mixes = (", ".join(f"{name} {mix[name]}" for name in names) for mix in (adapted.before, adapted.after))
    click.echo(f"{head}{adapted.clips} recordings; before: {next(mixes)}; after: {next(mixes)}", err=True)
    if adapted.clips < FEW:
        click.echo(f"{head}fewer than {FEW} recordings say little about a voice: the shift is small", err=True)
    if adapted.one_sided:
        click.echo(
            f"{head}nearly all were {adapted.one_sided} before. If they really are, do not use this bundle: record "
            "other moods too, or label some and use `sertool tune`",
            err=True,
        )
    elif adapted.limited:
        click.echo(f"{head}farther from an average voice than most: the shift stops at what is usual", err=True)


def _done(adapted: "Adapted", source: Bundle) -> str:
    shift = ", ".join(
        f"{name} {value:+.2f}" for name, value in zip(source.manifest.output_names, -adapted.shift, strict=True)
    )
    return (
        f"The log-odds of the classes were shifted ({shift}): part of the distance between the mean answer to "
        f"{adapted.clips} recordings without labels and that to average voices. How right it is was not measured."
    )
