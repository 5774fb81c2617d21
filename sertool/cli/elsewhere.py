"""Outputs at URLs: written on this machine, and stored there at the end and every now and then."""

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import click

from sertool.cli.terminal import shown_as

#: Seconds between two copies of an unfinished journal, and how many times as long as a copy takes that is at least.
EVERY_S, PATIENCE = 30.0, 20


@contextlib.contextmanager
def here(
    output: "Path | str | None",
    resume: bool = False,
    restart: bool = False,
    shard: str | None = None,
    option: str = "--resume continues it, --restart overwrites it",
) -> Iterator[Path | None]:
    """Yield where to write an output: its own path, or of a URL, a temporary one, which is stored there afterwards.

    The journal is stored as well, every now and then, so that another machine can resume. Raises UsageError if the
    output exists or the store cannot be reached. What cannot be stored at the end is left in the present folder.
    """
    if output is None or isinstance(output, Path):
        yield output
        return
    from sertool.errors import UsageError
    from sertool.recordings import remote
    from sertool.recordings.shards import Shard
    from sertool.recordings.urls import without_secrets

    folder, name = _split(output)
    into = output.endswith("/")
    if into and resume:
        raise UsageError("--resume is for one file at a URL, not for a folder")
    own = Shard.parse(shard).path(Path(name)).name if shard else name
    with _folder() as local, _named(local, folder), _as_usage_error(without_secrets(output)):
        if resume or (shard and not restart):
            for one in (f"{own}.journal", own):
                if remote.exists(folder + one):
                    remote.fetch(folder + one, local / one)
        elif not restart and remote.exists(folder + own):
            raise UsageError(f"{without_secrets(folder + own)} exists: {option}")
        stop = threading.Event()
        keeper = threading.Thread(target=_keep, args=(local, folder, stop), daemon=True)
        keeper.start()
        try:
            if into:
                (local / name).mkdir()
            yield local / name
        finally:
            stop.set()
            keeper.join()
            _store(local, folder)


@contextlib.contextmanager
def shards_here(output: "Path | str", overwrite: bool) -> Iterator[Path]:
    """Yield the path of the output of `merge`, beside which are the journals of its shards, wherever they are."""
    if isinstance(output, Path):
        yield output
        return
    from sertool.errors import UsageError
    from sertool.recordings import remote
    from sertool.recordings.urls import without_secrets

    folder, name = _split(output)
    stem, suffix = os.path.splitext(name)
    with _folder() as local, _named(local, folder), _as_usage_error(without_secrets(output)):
        if not overwrite and remote.exists(output):
            raise UsageError(f"{without_secrets(output)} exists: --overwrite replaces it")
        for found in remote.names(folder):
            if found.startswith(f"{stem}.") and found.endswith(f"{suffix}.journal"):
                remote.fetch(folder + found, local / found)
        yield local / name
        if (local / name).exists():
            remote.store(local / name, output)


def _split(url: str) -> tuple[str, str]:
    """Return (folder with its last slash, name) of a URL."""
    folder, slash, name = url.rstrip("/").rpartition("/")
    return folder + slash, name


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sertool-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _named(local: Path, folder: str) -> Iterator[None]:
    """In messages, write the URL for the temporary folder."""
    from sertool.recordings.urls import without_secrets

    shown_as[f"{local}{os.sep}"] = without_secrets(folder)
    yield


@contextlib.contextmanager
def _as_usage_error(url: str) -> Iterator[None]:
    from sertool.errors import AudioError, UsageError

    try:
        yield
    except AudioError as error:
        raise UsageError(f"{url}: {error}") from None


def _files(local: Path) -> list[Path]:
    return [path for path in sorted(local.rglob("*")) if path.is_file() and not path.name.endswith(".part")]


def _keep(local: Path, folder: str, stop: threading.Event) -> None:
    """Store the journal every now and then; a failure is left to the next time."""
    from sertool.errors import AudioError
    from sertool.recordings import remote

    wait, stored = EVERY_S, 0
    while not stop.wait(wait):
        started = time.monotonic()
        for path in local.glob("*.journal"):
            size = path.stat().st_size
            if size != stored:
                with contextlib.suppress(AudioError):
                    remote.store(path, folder + path.name)
                    stored = size
        wait = max(EVERY_S, PATIENCE * (time.monotonic() - started))


def _store(local: Path, folder: str) -> None:
    """Store all files; those that cannot be stored stay in the present folder, which is said."""
    from sertool.errors import AudioError, UsageError
    from sertool.recordings import remote
    from sertool.recordings.urls import without_secrets

    left, why = [], ""
    for path in _files(local):
        try:
            remote.store(path, folder + path.relative_to(local).as_posix())
        except AudioError as error:
            left.append(path)
            why = str(error)
            break
    if not left:
        return
    kept = Path(tempfile.mkdtemp(prefix="sertool-unsent-", dir=os.curdir))
    for path in _files(local):
        target = kept / path.relative_to(local)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
    click.echo(f"what was written is in {kept}", err=True)
    raise UsageError(f"{without_secrets(folder)}: {why}")
