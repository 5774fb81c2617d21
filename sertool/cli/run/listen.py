"""Implementation of `sertool listen`."""

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import click

from sertool.audio.live import Form, Microphone, Pipe, microphones
from sertool.cli.interrupt import interruptible
from sertool.cli.recordings import duration
from sertool.cli.view.listen import View
from sertool.errors import AudioError, UsageError
from sertool.labelling import Labeller
from sertool.labelling.labels import Labels
from sertool.labelling.live import LiveSegments, LiveWindows

_RATE = 16_000


def listen(
    source: str | None,
    model: str,
    variant: str | None,
    by: str,
    window: float,
    hop: float,
    no_vad: bool,
    unsure: float | None,
    output: Path | None,
    plain: bool,
    device: str | None,
    devices: bool,
    rate: int | None,
    channels: int,
    kind: str,
    quiet: bool,
) -> int:
    """Run `sertool listen`; the arguments are its options."""
    if devices:
        click.echo("\n".join(microphones()) or "no microphone")
        return 0
    if source not in (None, "-"):
        raise UsageError(
            f"{source}: listen takes - for standard input, or nothing for the microphone; use sertool label"
        )
    if source is None and rate is not None:
        raise UsageError("--rate is for samples on standard input: sertool listen - --rate 16000")
    if hop > window:
        raise UsageError(f"--hop {hop:g} must be at most the window, {window:g} s")
    labeller = Labeller(model, variant, window, hop, vad=not no_vad, unsure=unsure)
    live = LiveWindows(labeller) if by == "window" else LiveSegments(labeller)
    stop = threading.Event()
    with interruptible(stop):
        blocks = _source(source, Form(rate, channels, kind) if rate else None, device, stop)
    if stop.is_set():
        return 0
    view = View(labeller.outputs, labeller.label_column) if sys.stdout.isatty() and not plain else None
    run = _Run(live, blocks, stop, view)
    with contextlib.ExitStack() as stack:
        stack.enter_context(interruptible(stop))
        kept = stack.enter_context(_appended(output)) if output else None
        if view:
            stack.enter_context(view)
        failure = run.run(kept)
    if not quiet:
        click.echo(run.summary(), err=True)
    if failure:
        click.echo(f"sertool: {failure}", err=True)
    return 1 if failure else 0


def _source(source: str | None, form: Form | None, device: str | None, stop: threading.Event) -> Pipe | Microphone:
    if source == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError(
                "standard input is no pipe: write samples to it, as with arecord -t raw | sertool listen -"
            )
        return Pipe(sys.stdin.buffer, form, stop)
    return Microphone(int(device) if device and device.isdecimal() else device, stop)


@contextlib.contextmanager
def _appended(output: Path) -> Iterator[TextIO]:
    try:
        stream = open(output, "a", encoding="utf-8", newline="\n")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from None
    with stream:
        yield stream


class _Run:
    """Take blocks, write rows, count."""

    def __init__(
        self,
        live: LiveWindows | LiveSegments,
        blocks: Pipe | Microphone,
        stop: threading.Event,
        view: View | None,
    ) -> None:
        self._live, self._blocks, self._stop, self._view = live, blocks, stop, view
        self._rows = 0

    def run(self, kept: TextIO | None) -> str:
        """Run until the input ends or Ctrl-C; return why it failed, or ""."""
        try:
            for block in self._blocks:
                arrived = time.monotonic()
                for row in self._live.push(block):
                    self._write(row, arrived, kept)
                if self._view:
                    self._view.heard(block, self._blocks.dropped)
                if self._stop.is_set():
                    return ""
            for row in self._live.finish():
                self._write(row, time.monotonic(), kept)
        except AudioError as error:
            return str(error)
        return ""

    def _write(self, row: Labels, arrived: float, kept: TextIO | None) -> None:
        """Write a row; its delay is the audio that came after its end, and the time that it took."""
        delay = self._live.samples / _RATE - row.end + time.monotonic() - arrived
        cells: dict[str, Any] = {name: round(v, 6) if isinstance(v, float) else v for name, v in row.items()}
        line = json.dumps({**cells, "delay": round(delay, 3)}, ensure_ascii=False) + "\n"
        self._rows += 1
        if self._view:
            self._view.row(row)
        else:
            sys.stdout.write(line)
            sys.stdout.flush()
        if kept:
            kept.write(line)
            kept.flush()

    def summary(self) -> str:
        """Return what was heard."""
        heard = duration(self._live.samples / _RATE)
        dropped = self._blocks.dropped
        lost = f", {dropped:.2f} s dropped: this machine is too slow for the model" if dropped else ""
        return f"heard {heard}, {self._rows} rows{lost}"
