"""What commands share that go through recordings: the list on standard input, progress, Ctrl-C, what is refused."""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import click

from .terminal import bar, libraries_silenced, visible


def with_standard_input(paths) -> list[str]:
    """PATHs with - replaced by the list on standard input."""
    listed = []
    for path in paths:
        if path != "-":
            listed.append(path)
            continue
        data = sys.stdin.buffer.read()
        names = data.split(b"\0") if b"\0" in data else data.splitlines()
        listed += [os.fsdecode(name) for name in names if name]
    return listed


def none_found(paths) -> int:
    """Say so; the exit code."""
    where = ", ".join("the list on standard input" if path == "-" else visible(path) for path in paths)
    click.echo(f"sertool: no audio files in {where}", err=True)
    return 1


def check_writable(output: Path, recordings) -> None:
    from ..errors import UsageError

    if not output.absolute().parent.is_dir():
        raise UsageError(f"cannot write {output}: there is no folder {output.parent}")
    if not any(os.path.lexists(r.path) for r in recordings):  # a slip in the path is no reason to begin a table
        raise UsageError(f"{visible(recordings[0].name)}: {recordings[0].error or 'no such file or folder'}")
    if output.exists() and any(r.path.exists() and r.path.samefile(output) for r in recordings):
        raise UsageError(f"{output} is one of the recordings: choose another -o")


@contextlib.contextmanager
def under_way(recordings, doing: str, meter, stop: threading.Event, jobs: int, kept: str, *, shown: bool):
    """Yields a Bar over the recordings, if it is ``shown`` and they take a while; Ctrl-C sets ``stop``.

    Decoders are silent meanwhile. ``kept`` tells who presses it twice what is kept.
    """
    many = len(recordings) > 1
    with contextlib.ExitStack() as stack:
        _interruptible(stack, stop, jobs, kept)
        stack.enter_context(libraries_silenced())
        yield stack.enter_context(
            bar(
                len(recordings),
                "files",
                doing,
                shown=shown and (many or _is_long(recordings)),
                state=lambda: f"{duration(meter.seconds)}  {meter.speed:.0f}x real time",
                transient=not many,
            )
        )


def _is_long(recordings) -> bool:
    """Whether it takes more than about a second, judged by the files' size."""
    return sum(r.path.stat().st_size for r in recordings if r.path.is_file()) > 2_000_000


def _interruptible(stack, stop: threading.Event, jobs: int, kept: str) -> None:
    """First Ctrl-C or SIGTERM: finish what is in flight. Another one, later: leave at once."""
    first = 0.0

    def handle(number, frame):
        nonlocal first
        if not stop.is_set():
            first = time.monotonic()
            stop.set()
            click.echo(
                f"\ninterrupted: finishing up to {jobs} files in flight; Ctrl-C again to leave at once", err=True
            )
        elif time.monotonic() - first > 0.5:  # some wrappers send the same signal twice
            click.echo(f"\nstopped; {kept}", err=True)
            os._exit(130)

    for number in (signal.SIGINT, signal.SIGTERM):
        stack.callback(signal.signal, number, signal.signal(number, handle))


def duration(seconds: float) -> str:
    """For a person, in the unit that suits."""
    return (
        f"{seconds:.1f} s"
        if seconds < 60
        else f"{seconds / 60:.1f} min"
        if seconds < 3600
        else f"{seconds / 3600:.2f} h"
    )


def took(summary) -> str:
    """ "; SECONDS of audio in WALL, real-time factor", of a summary with any audio."""
    if not summary.seconds:
        return ""
    return (
        f"; {duration(summary.seconds)} in {duration(summary.wall)}, "
        f"real-time factor {summary.rtf:.4f} ({summary.seconds / summary.wall:.0f}x real time)"
    )
