"""Implementation of `sertool report`, and of --report and --plot of `sertool label`."""

import datetime
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from sertool._machine import cores
from sertool.cli.interrupt import interruptible
from sertool.cli.recordings import check_output
from sertool.cli.terminal import bar, libraries_silenced, on_terminal, visible
from sertool.errors import UsageError
from sertool.recordings.pool import each
from sertool.recordings.recording import Recording, printable
from sertool.report import Report, write
from sertool.report.compare import Compared
from sertool.report.compare import compare as side_by_side
from sertool.report.rows import Labelled, read
from sertool.report.rows import model_of as read_model
from sertool.report.sound import Sound, columns_for, listen
from sertool.segments import Table

_TABLES = (".csv", ".tsv", ".txt", ".jsonl", ".parquet")


def report(
    paths: tuple[str, ...],
    output: Path,
    compare: bool,
    folders: tuple[Path, ...],
    embed: bool,
    label_column: str | None,
    title: str | None,
    model: str,
    restart: bool,
    jobs: int | None,
    quiet: bool,
) -> int:
    """Run `sertool report`; the arguments are its options."""
    tables = [Path(path) for path in paths if path.lower().endswith(_TABLES) and not os.path.isdir(path)]
    if compare and len(tables) != 2:
        raise UsageError("--compare takes two tables: sertool report --compare old.csv new.csv -o report.html")
    if tables and not compare and len(paths) > 1:
        raise UsageError("a report is of one table; --compare shows two side by side")
    if not tables:
        return _of_recordings(paths, output, embed, title, model, restart, jobs, quiet)
    check_output(output, tables)
    read_tables = [
        read(tables[0], None if compare else label_column),
        *(read(path, label_column) for path in tables[1:]),
    ]
    compared = side_by_side(*read_tables) if compare else None
    table = compared.table if compared else read_tables[0]
    found = _found(table.files, [*folders, *(path.parent for path in tables), Path()])
    missing = sum(path is None for path in found.values())
    if missing:
        what = "none" if missing == len(found) else f"{missing} of {len(found)}"
        verb = "found" if missing == len(found) else "not found"
        click.echo(f"{what} of the recordings {verb}: name their folder with --audio", err=True)
    own = title or _title(tables, compared)
    return make(table, found, output, embed, own, jobs, quiet, compared=compared)


def _title(tables: Sequence[Path], compared: Compared | None) -> str:
    if compared is None:
        return f"Labels: {tables[0].stem}"
    if compared.truth:
        name = compared.names[0] if read_model(tables[0]) else tables[0].stem
        return f"{name} beside the truth"
    return f"Two tables compared: {' and '.join(compared.names)}"


def _found(files: Sequence[str], folders: Sequence[Path]) -> dict[str, Path | None]:
    """Return where each file is, by its name in the table; None if it is in none of the folders."""
    return {file: next((folder / file for folder in folders if (folder / file).is_file()), None) for file in files}


def _of_recordings(
    paths: tuple[str, ...],
    output: Path,
    embed: bool,
    title: str | None,
    model: str,
    restart: bool,
    jobs: int | None,
    quiet: bool,
) -> int:
    """Label recordings into a table beside the page, or continue there, and write the page."""
    from sertool.cli.run.label import label

    table = output.with_suffix(".csv")
    unused: dict[str, Any] = dict.fromkeys(
        ("variant", "runtime", "form", "dialect", "template", "window", "hop", "channel", "track", "segments")
    )
    unused |= dict.fromkeys(("segments_format", "tier", "segmenter", "pattern"))
    return label(
        paths=paths,
        model=model,
        output=table,
        by="speech-window",
        windows=False,
        short="repeat",
        no_vad=False,
        jobs=jobs,
        ordered=False,
        resume=table.exists() and not restart,
        restart=restart,
        quiet=quiet,
        report=output,
        continues=True,
        embed=embed,
        title=title or ", ".join(Path(path).resolve().name for path in paths),
        **unused,
    )


def of_run(rows: Sequence[Mapping[str, Any]], columns: Table, name: str) -> Labelled:
    """Return the rows that `label` wrote as the table of a report."""
    label = columns.label
    kept = tuple(column for column in columns.columns if any(row.get(column) is not None for row in rows))
    texts = [column for column in kept if columns.kind(column) is str]
    cells = [
        {
            column: str(row[column]) if column in texts and row.get(column) is not None else row.get(column)
            for column in kept
        }
        for row in rows
    ]
    return Labelled(name, kept, cells, tuple(columns.outputs), label if label in kept else "", columns.model)


def paths_of(recordings: Sequence[Recording]) -> dict[str, Path | None]:
    """Return the path of each recording by its name in the table."""
    return {printable(recording.name): None if recording.url else recording.path for recording in recordings}


def draw(table: Labelled, paths: Mapping[str, Path | None], path: Path, title: str) -> None:
    """Draw the figure of --plot."""
    from sertool.report.picture import draw

    with libraries_silenced():
        draw(table, paths, path, title)


def make(
    table: Labelled,
    paths: Mapping[str, Path | None],
    output: Path,
    embed: bool,
    title: str,
    jobs: int | None,
    quiet: bool,
    by: str = "",
    compared: Compared | None = None,
) -> int:
    """Read the recordings of a table with a progress bar, and write the page; return the exit code."""
    columns, stop = columns_for(len(table.files)), threading.Event()
    sounds: dict[str, Sound] = {}

    def heard(file: str) -> tuple[str, Sound]:
        return file, listen(paths.get(file), columns, embed)

    with (
        interruptible(stop),
        libraries_silenced(),
        bar(
            len(table.files),
            "files",
            "drawing",
            shown=on_terminal() and not quiet and len(table.files) > 1,
            transient=True,
        ) as shown,
    ):
        for file, sound in each(heard, table.files, jobs=jobs or cores(), stop=stop):
            sounds[file] = sound
            shown.update(len(sounds), "drawing")
    if stop.is_set():
        click.echo(f"interrupted: {visible(str(output))} was not written", err=True)
        return 130
    failed = {row["file"]: row["error"] for row in table.rows if row.get("error")}
    sounds = {
        file: replace(sound, reason=failed.get(file, sound.reason)) if sound.reason else sound
        for file, sound in sounds.items()
    }
    made = datetime.date.today().isoformat()
    size = write(Report(table, paths, sounds, title, made, by, compared), output)
    if not quiet:
        audio = sum(len(sound.opus or "") for sound in sounds.values())
        more = f" and {audio / 1e6:.1f} MB of audio" if audio else ""
        click.echo(f"wrote {visible(str(output))}: {size / 1e6:.2f} MB{more}; open it in a browser", err=True)
    return 0
