"""What commands share that go through recordings: the list on standard input, progress, Ctrl-C, what is refused."""

import atexit
import codecs
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import click

from sertool.cli.terminal import bar, libraries_silenced, visible


def with_standard_input(paths) -> list[str]:
    """PATHs with - replaced by what is on standard input: a list of files, or a recording, as a file that is kept here.

    Raises UsageError if it is neither.
    """
    listed = []
    for path in paths:
        listed += _standard_input() if path == "-" else [path]
    return listed


#: How the formats begin that may come through a pipe: (offset, bytes).
_AUDIO = (
    *(
        (0, magic)
        for magic in (b"RIFF", b"riff", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff", b"#!AMR")
    ),
    *((0, magic) for magic in (b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75", b"FLV\x01", b"\xff\xfb", b"\xff\xf3")),
    *((0, magic) for magic in (b"\xff\xf2", b"\xff\xfa", b"\xff\xf1", b"\xff\xf9", b"wvPK", b"\x0b\x77", b"NIST_1A")),
    (4, b"ftyp"),
)


def _standard_input() -> list[str]:
    from sertool.errors import UsageError
    from sertool.recordings.scan import Listed

    if sys.stdin is None:
        raise UsageError("standard input is closed: there is no list to read")
    head = sys.stdin.buffer.read(16)
    if any(head[at : at + len(magic)] == magic for at, magic in _AUDIO):
        folder = tempfile.mkdtemp(prefix="sertool-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        piped = Listed(os.path.join(folder, "standard-input"))
        with open(piped, "wb") as file:
            file.write(head)
            shutil.copyfileobj(sys.stdin.buffer, file)
        piped.name = "-"
        return [piped]
    data = head + sys.stdin.buffer.read()
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if data.startswith(mark):  # as Windows writes lists
            data = os.fsencode(data[len(mark) :].decode(encoding, "replace"))
            break
    separated = b"\0" in data
    names = [name for name in (data.split(b"\0") if separated else data.splitlines()) if name]
    for name in names:
        strange = any(byte < 32 and byte not in b"\t\n\r" for byte in name) or len(name) > 4096
        if strange and not os.path.lexists(os.fsdecode(name[:4096])):
            raise UsageError("standard input is neither a list of files nor audio of a known kind")
    return [Listed(os.fsdecode(name)) for name in names]


def passed_over(passed) -> str:
    """One line on the files of folders that are no audio, counted by their endings; "" if there are none."""
    from sertool import audio

    if not passed:
        return ""
    most = ", ".join(f"{count} {visible(ending)}" for ending, count in passed.most_common(5))
    more = f" and {len(passed) - 5} other endings" if len(passed) > 5 else ""
    readable = sum(count for ending, count in passed.items() if ending in audio.EXTENSIONS_AV)
    way = f"; {readable} of them can be read with pip install 'sertool[av]'" if readable else ""
    return f"passed over, no audio by their names: {most}{more}{way}"


def none_found(paths, passed=None) -> int:
    """Say so; the exit code."""
    where = ", ".join("the list on standard input" if path == "-" else visible(path) for path in paths)
    click.echo(f"sertool: no audio files in {where}", err=True)
    if passed:
        click.echo(passed_over(passed), err=True)
    return 1


def check_output(output: Path, inputs=(), folder: Path | None = None) -> None:
    """UsageError if a file cannot be written, is one of the inputs, or one that is in their folder already."""
    from sertool.errors import UsageError

    if not output.absolute().parent.is_dir():
        raise UsageError(f"cannot write {output}: there is no folder {output.parent}")
    if not os.access(output if output.exists() else output.absolute().parent, os.W_OK):
        raise UsageError(f"cannot write {output}: permission denied")
    if output.exists() and any(os.path.exists(path) and path.samefile(output) for path in inputs):
        raise UsageError(f"{output} is one of the recordings: choose another name")
    if folder and output.exists() and folder.resolve() in output.resolve().parents:
        raise UsageError(f"{output} is a file of {folder}, which is read: choose another name")


def check_writable(output: Path, recordings) -> None:
    from sertool.errors import UsageError

    if not output.absolute().parent.is_dir():
        raise UsageError(f"cannot write {output}: there is no folder {output.parent}")
    if not any(os.path.lexists(r.path) for r in recordings):  # a slip in the path is no reason to begin a table
        raise UsageError(f"{visible(recordings[0].name)}: {recordings[0].error or 'no such file or folder'}")
    if output.exists() and any(os.path.exists(r.path) and r.path.samefile(output) for r in recordings):
        raise UsageError(f"{output} is one of the recordings: choose another -o")


@contextlib.contextmanager
def writing(output: Path | None):
    """An OSError that names no file is about the output, which is written meanwhile."""
    try:
        yield
    except OSError as error:
        if output and error.filename is None:
            error.filename = str(output)
        raise


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
    return sum(os.path.getsize(r.path) for r in recordings if os.path.isfile(r.path)) > 2_000_000


def _interruptible(stack, stop: threading.Event, jobs: int, kept: str) -> None:
    """First Ctrl-C, SIGTERM or SIGHUP: finish what is in flight. Another one, later: leave at once."""
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

    for number in {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
        if signal.getsignal(number) is not signal.SIG_IGN:  # who started us wants it ignored
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
