"""Shared by commands that read recordings: lists on standard input, progress, Ctrl-C, checks of outputs."""

import atexit
import codecs
import contextlib
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sertool.cli.interrupt import interruptible
from sertool.cli.terminal import Bar, bar, libraries_silenced, on_terminal, visible

if TYPE_CHECKING:
    from sertool.recordings.listing import Listing
    from sertool.recordings.pool import Meter, Summary
    from sertool.recordings.recording import Recording
    from sertool.segments.given import Given


def with_standard_input(paths: Iterable[str]) -> Iterator[str]:
    """Yield the paths, with - replaced by the files listed on standard input, or a copy of a recording on it.

    Raises UsageError if standard input is neither.
    """
    for path in paths:
        yield from _standard_input() if path == "-" else [path]


def listed(paths: Sequence[str], pattern: str | None, skipped: "Counter[str]", quiet: bool) -> "Listing":
    """Return the recordings at the paths; say how many there are so far if the search takes long."""
    from sertool.recordings.listing import Listing
    from sertool.recordings.scan import found

    searching = found(with_standard_input(paths), pattern, skipped)
    if not on_terminal() or quiet:
        return Listing(searching)
    return Listing(_told(searching))


def _told(searching: "Iterable[Recording]") -> "Iterator[Recording]":
    """Yield recordings; after a second, say on the terminal how many there were."""
    due, told = time.monotonic() + 1, False
    try:
        for number, recording in enumerate(searching, start=1):
            yield recording
            if time.monotonic() > due:
                due, told = time.monotonic() + 0.2, True
                click.echo(f"\rsearching: {number:,} recordings", err=True, nl=False)
    finally:
        if told:
            click.echo("\r\x1b[K", err=True, nl=False)


#: Recordings of which a comparison with the output costs seconds.
_MANY = 100_000

#: Recordings for each core, and in all, that are fetched and labelled at once from a store, which takes its time.
_WAITING, _MOST_WAITING = 8, 32

#: Bytes of a list that are read at a time.
_PART = 1 << 20

#: First bytes of the formats that can be read from a pipe: (offset, bytes).
_AUDIO = (
    *(
        (0, magic)
        for magic in (b"RIFF", b"riff", b"RIFX", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff", b"#!AMR")
    ),
    *((0, magic) for magic in (b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75", b"FLV\x01", b"\xff\xfb", b"\xff\xf3")),
    *((0, magic) for magic in (b"\xff\xf2", b"\xff\xfa", b"\xff\xf1", b"\xff\xf9", b"wvPK", b"\x0b\x77", b"NIST_1A")),
    (4, b"ftyp"),
)


def _standard_input() -> Iterator[str]:
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
        yield piped
        return
    for name in _names(head):
        if len(name) > 4096 or _CONTROL.search(name):
            known = len(name) <= 4096 and os.path.lexists(os.fsdecode(name))
            if not known:
                raise UsageError("standard input is neither a list of files nor audio of a known kind")
        yield Listed(os.fsdecode(name))


_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def _names(head: bytes) -> Iterator[bytes]:
    """Yield the names on standard input, of which ``head`` was read: one a line, or each before a NUL."""
    data = head + sys.stdin.buffer.read(_PART)
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if data.startswith(mark):  # a list written on Windows
            data += sys.stdin.buffer.read()
            data = os.fsencode(data[len(mark) :].decode(encoding, "replace"))
            break
    mark = b"\0" if b"\0" in data else b"\n"
    while data:
        *names, rest = data.split(mark)
        for name in names:
            if name := name if mark == b"\0" else name.rstrip(b"\r"):
                yield name
        more = sys.stdin.buffer.read(_PART)
        if not more or len(rest) > 2 * _PART:
            if name := rest if mark == b"\0" else rest.rstrip(b"\r"):
                yield name
            rest = b""
        data = rest + more


def passed_over(skipped: Counter[str]) -> str:
    """Return one line with the number of skipped non-audio files by extension, or "" if there are none."""
    from sertool import audio

    if not skipped:
        return ""
    most = ", ".join(f"{count} {visible(ending)}" for ending, count in skipped.most_common(5))
    more = f" and {len(skipped) - 5} other extensions" if len(skipped) > 5 else ""
    readable = sum(count for ending, count in skipped.items() if ending in audio.EXTENSIONS_AV)
    hint = f"; {readable} of them can be read with pip install 'sertool[av]'" if readable else ""
    return f"skipped files without an audio extension: {most}{more}{hint}"


def none_found(paths: Iterable[str], skipped: Counter[str] | None = None) -> int:
    """Print that there are no recordings; return the exit code."""
    where = ", ".join("the list on standard input" if path == "-" else visible(path) for path in paths)
    click.echo(f"sertool: no audio files in {where}", err=True)
    if skipped:
        click.echo(passed_over(skipped), err=True)
    return 1


def check_output(output: Path, inputs: Iterable[Path] = (), folder: Path | None = None) -> None:
    """Raise UsageError if a file cannot be written, is one of the inputs, or exists in the input ``folder``."""
    from sertool.errors import UsageError

    if not output.absolute().parent.is_dir():
        raise UsageError(f"cannot write {output}: there is no folder {output.parent}")
    if not os.access(output if output.exists() else output.absolute().parent, os.W_OK):
        raise UsageError(f"cannot write {output}: permission denied")
    if output.exists() and any(os.path.exists(path) and path.samefile(output) for path in inputs):
        raise UsageError(f"{output} is one of the recordings: choose another name")
    if folder and output.exists() and folder.resolve() in output.resolve().parents:
        raise UsageError(f"{output} is a file of the input folder {folder}: choose another name")


def check_writable(output: Path, recordings: "Sequence[Recording]") -> None:
    """Raise UsageError if the output has no folder or is one of the recordings, or if no recording exists."""
    from sertool.errors import UsageError

    if not output.absolute().parent.is_dir():
        raise UsageError(f"cannot write {output}: there is no folder {output.parent}")
    if len(recordings) and not any(r.url or os.path.lexists(r.path) for r in recordings):
        # a mistyped path: do not start a table
        raise UsageError(f"{visible(recordings[0].name)}: {recordings[0].error or 'no such file or folder'}")
    if output.exists() and _is_one_of(output, recordings):
        raise UsageError(f"{output} is one of the recordings: choose another -o")


def _is_one_of(output: Path, recordings: "Sequence[Recording]") -> bool:
    """Return whether a file is one of the recordings, by whatever name; of very many, by the same name only."""
    own, few = os.stat(output), len(recordings) <= _MANY
    for recording in recordings:
        if not recording.url and (few or recording.path.name == output.name):
            with contextlib.suppress(OSError, ValueError):
                if os.path.samestat(own, os.stat(recording.path)):
                    return True
    return False


def given_segments(
    source: Path | None, form: str | None, tier: str | None, recordings: "Sequence[Recording]"
) -> "Given | None":
    """Return the segments of --segments, None without it. Raise UsageError for options that need it."""
    from sertool.errors import UsageError

    if source is None:
        if form or tier:
            raise UsageError("--segments-format and --tier need --segments")
        return None
    from sertool.segments.given import Given

    return Given(source, recordings, form, tier)


@contextlib.contextmanager
def writing(output: Path | None) -> Iterator[None]:
    """Set the file name of an OSError without one to that of the output, which is being written."""
    try:
        yield
    except OSError as error:
        if output and error.filename is None:
            error.filename = str(output)
        raise


@contextlib.contextmanager
def under_way(
    recordings: "Sequence[Recording]",
    doing: str,
    meter: "Meter",
    stop: threading.Event,
    jobs: int,
    note: str,
    *,
    shown: bool,
) -> Iterator[Bar]:
    """Yield a Bar over the recordings, visible if ``shown`` and they take a while; Ctrl-C sets ``stop``.

    Messages of decoders are suppressed. ``note`` is printed after a second Ctrl-C and says which results are kept.
    """
    many = len(recordings) > 1
    with contextlib.ExitStack() as stack:
        message = f"\ninterrupted: finishing up to {jobs} files in progress; Ctrl-C again to exit at once"
        stack.enter_context(interruptible(stop, message, lambda: _exit(note)))
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


def workers_for(recordings: "Sequence[Recording]") -> int:
    """Return how many recordings are processed at once: one for each core, more if most of the time is waited."""
    from sertool._machine import cores
    from sertool.recordings.urls import split_member

    url = recordings[0].url if len(recordings) else None
    return min(_WAITING * cores(), _MOST_WAITING) if url and not split_member(url) else cores()


def _is_long(recordings: "Sequence[Recording]") -> bool:
    """Return whether the work takes more than about a second, estimated from the files' sizes."""
    size = 0
    for recording in recordings:
        size += os.path.getsize(recording.path) if os.path.isfile(recording.path) else 0
        if size > 2_000_000 or recording.url:
            return True
    return False


def _exit(note: str) -> None:
    """End the process at once: running threads cannot be interrupted."""
    click.echo(f"\nstopped; {note}", err=True)
    os._exit(130)


def duration(seconds: float) -> str:
    """Return a duration as text, in s, min or h."""
    return (
        f"{seconds:.1f} s"
        if seconds < 60
        else f"{seconds / 60:.1f} min"
        if seconds < 3600
        else f"{seconds / 3600:.2f} h"
    )


def took(summary: "Summary") -> str:
    """Return "; DURATION in WALL TIME, real-time factor ...", or "" for a summary without audio."""
    if not summary.seconds:
        return ""
    return (
        f"; {duration(summary.seconds)} in {duration(summary.wall)}, "
        f"real-time factor {summary.rtf:.4f} ({summary.seconds / summary.wall:.0f}x real time)"
    )
