"""Implementation of `sertool embed --tokens`."""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from sertool import audio
from sertool._files import beside, npy_header
from sertool._machine import cores
from sertool._types import Samples
from sertool.cli.interrupt import interruptible
from sertool.cli.recordings import listed, none_found
from sertool.cli.terminal import bar, libraries_silenced, on_terminal, visible
from sertool.errors import AudioError, UsageError
from sertool.labelling.windows import windows
from sertool.recordings.fetch import on_disk
from sertool.recordings.pool import FAULTS, decoded, each, reason
from sertool.recordings.recording import Recording
from sertool.recordings.stems import stems
from sertool.runtime import Runtime
from sertool.speech.detection import SILENCE, SILENT, peak


def tokens(
    paths: tuple[str, ...],
    model: str,
    variant: str | None,
    runtime: str | None,
    output: Path,
    window: float | None,
    jobs: int | None,
    pattern: str | None,
    resume: bool,
    restart: bool,
    quiet: bool,
    **others: Any,
) -> int:
    """Run `sertool embed --tokens`; the arguments are its options."""
    if set_others := [key for key, value in others.items() if value]:
        raise UsageError(f"--tokens writes whole recordings: without --{set_others[0].replace('_', '-')}")
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output} is a file: --tokens writes a file for each recording into a folder")
    skipped: Counter[str] = Counter()
    recordings = listed(paths, pattern, skipped, quiet)
    if not recordings:
        return none_found(paths, skipped)
    folder = paths[0] if len(paths) == 1 and os.path.isdir(paths[0]) else None
    names = stems(recordings, folder)
    loaded = Runtime(model, variant, runtime=runtime or "onnx")
    seconds = window or loaded.bundle.manifest.window_s
    targets = {recording.name: output / f"{names[recording.name]}.npy" for recording in recordings}
    there = [path for path in targets.values() if path.exists()]
    if there and not (resume or restart):
        raise UsageError(f"{there[0]} exists: --resume keeps such files, --restart overwrites them")
    waiting = [r for r in recordings if not (resume and targets[r.name].exists())]
    loaded.tokens(np.full(loaded.shortest, 0.01, np.float32))  # raises before anything is written
    stop, failed = threading.Event(), 0

    def work(recording: Recording) -> tuple[Recording, str | None]:
        try:
            with on_disk(recording) as there:
                _write(targets[recording.name], _tokens(loaded, there, seconds))
        except FAULTS as fault:
            return recording, reason(fault)
        return recording, None

    with (
        interruptible(stop, "\ninterrupted: finishing the files in progress"),
        libraries_silenced(),
        bar(len(waiting), "files", "embedding", shown=on_terminal() and not quiet, transient=True) as shown,
    ):
        results = each(work, waiting, jobs=jobs or cores(), stop=stop)
        done = 0
        for done, (recording, fault) in enumerate(results, start=1):
            shown.update(done, "embedding")
            if fault:
                failed += 1
                click.echo(f"{visible(recording.name)}: {visible(fault)}", err=True)
    if done < len(waiting):
        click.echo(f"interrupted: {len(waiting) - done} files to go; --resume continues", err=True)
        return 130
    if not quiet:
        click.echo(f"wrote {done - failed} files to {output}" + (f"; {failed} failed" if failed else ""), err=True)
    return 1 if failed else 0


def _tokens(runtime: Runtime, recording: Recording, seconds: float) -> Iterator[Samples]:
    """Yield the tokens of each window of a recording, which is read while they are computed."""
    length, loudest = round(seconds * audio.SAMPLE_RATE), 0.0
    for _, samples in windows(decoded(recording), length, length):
        loudest = max(loudest, peak(samples))
        if len(samples) >= runtime.shortest:
            yield runtime.tokens(samples)
    if loudest < SILENCE:
        raise AudioError(SILENT)


def _write(path: Path, parts: Iterator[Samples]) -> None:
    """Write arrays [n, width] one after the other as one .npy, whose length is known only at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part, rows, width = beside(path), 0, 0
    try:
        with open(part, "wb") as stream:
            for tokens in parts:
                if not rows:
                    width = tokens.shape[1]
                    stream.write(npy_header(0, width))
                stream.write(np.ascontiguousarray(tokens, "<f4").tobytes())
                rows += len(tokens)
            if not rows:
                raise AudioError("empty: the file holds no audio")
            stream.seek(0)
            stream.write(npy_header(rows, width))
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
