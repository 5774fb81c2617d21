"""Audio that lies elsewhere: fsspec lists it and reads it; what fails is tried again, and what stalls is given up.

Credentials and addresses of stores are left to fsspec: its configuration, environment variables of the stores, and
what their libraries find by themselves. Needs the extra ``remote``.
"""

import atexit
import hashlib
import itertools
import logging
import os
import random
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from sertool.errors import AudioError, UsageError
from sertool.recordings.urls import base_of, hidden, without_secrets

#: How often a recording is tried, and seconds before the second time, which double each time after.
ATTEMPTS, WAIT_S = 4, 0.5
#: Seconds without a byte after which a read is given up; SERTOOL_TIMEOUT changes it.
TIMEOUT_S = 60.0
#: Bytes of a range, and of one on the web, where ranges are only read after a failure.
BLOCK, AGAIN = 4_000_000, 1_000_000
#: Bytes of a part of what is written: S3 takes no smaller ones than 5 MiB.
PART = 8_000_000
#: Bytes that are left free on the disk of temporary files.
_RESERVE = 200_000_000
#: What tells versions of an object apart, by store.
_MARKS = (
    "ETag",
    "etag",
    "md5Hash",
    "Content-MD5",
    "LastModified",
    "Last-Modified",
    "last_modified",
    "mtime",
    "CRC",
    "created",
)
#: Stores whose file systems take options of sertool; others might hand them on to a library that knows none.
_CACHING = ("http", "https", "s3", "s3a", "gs", "gcs", "abfs", "az")


class _Moved(Exception):
    """The object has changed while it was read."""


def timeout() -> float:
    """Return the seconds without a byte after which a read is given up."""
    try:
        return max(float(os.environ.get("SERTOOL_TIMEOUT", TIMEOUT_S)), 0.1)
    except ValueError:
        raise UsageError(f"SERTOOL_TIMEOUT={os.environ['SERTOOL_TIMEOUT']}: it is a number of seconds") from None


def system(url: str) -> tuple[Any, str]:
    """Return (fsspec's file system, path in it) of a URL. Raises UsageError if there is none for it."""
    try:
        import fsspec
    except ImportError:
        raise UsageError("URLs need fsspec: pip install 'sertool[remote]'") from None
    for name in ("fsspec", "s3fs", "aiobotocore", "botocore"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    scheme = url.partition("://")[0].lower()
    options: dict[str, Any] = {"use_listings_cache": False} if scheme in _CACHING else {}
    try:
        if scheme in ("http", "https"):
            import aiohttp

            own = fsspec.config.conf.get(scheme, {}).get("client_kwargs", {})
            patience = aiohttp.ClientTimeout(total=None, sock_connect=timeout(), sock_read=timeout())
            options["client_kwargs"] = {"timeout": patience, **own}
        found: tuple[Any, str] = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        text = " ".join(str(error).split())
        raise UsageError(f"{without_secrets(url)}: {text} (pip install 'sertool[remote]' has http and s3)") from None
    except ValueError as error:
        raise UsageError(f"{without_secrets(url)}: {hidden(' '.join(str(error).split()))}") from None
    return found


def stamp(info: dict[str, Any]) -> list[int]:
    """Return [size, hash of what tells versions apart] of an object; -1 for a size that the server does not tell."""
    mark = next((str(info[name]) for name in _MARKS if info.get(name)), "")
    number = int.from_bytes(hashlib.blake2b(mark.encode(), digest_size=6).digest(), "little")
    size = info.get("size")
    return [-1 if size is None else int(size), number]


def stamp_of(url: str) -> list[int] | None:
    """Return the stamp of the object at a URL; None if it cannot be had."""
    try:
        return stamp(info(url))
    except (AudioError, UsageError):
        return None


def info(url: str) -> dict[str, Any]:
    """Return what the store says of an object. Raises AudioError."""
    return dict(_asked(url, lambda files, path: files.info(path)))


def fetch(url: str, into: Path, known: list[int] | None = None) -> None:
    """Write the object at a URL to a new file, complete, or raise AudioError.

    After a failure, only what is missing is fetched, if the store can do that and the object has not changed. With the
    ``known`` stamp of a listing, the store is not asked again before the first time.
    """
    with open(into, "wb") as file:
        _retried(lambda state: _fetch(url, state), _State(file, known=known))


def exists(url: str) -> bool:
    """Return whether there is an object at a URL. Raises AudioError, UsageError."""
    system(url)  # raises UsageError
    return bool(_asked(url, lambda files, path: files.exists(path)))


def names(url: str) -> list[str]:
    """Return the names of the objects in a folder. Raises AudioError."""

    def listed(files: Any, path: str) -> list[str]:
        try:
            return [str(found).rstrip("/").rpartition("/")[2] for found in files.ls(path, detail=False)]
        except FileNotFoundError:
            return []

    return list(_asked(url, listed))


def store(path: Path, url: str) -> None:
    """Write a file to a URL, as long as it is now. Raises AudioError."""

    def write(state: _State) -> None:
        files, place = system(url)
        left = os.path.getsize(path)
        if hasattr(files, "makedirs"):
            files.makedirs(place.rpartition("/")[0], exist_ok=True)
        with open(path, "rb") as source, files.open(place, "wb", block_size=PART) as target:
            while left and (chunk := source.read(min(left, PART))) and not state.given_up:
                target.write(chunk)
                left -= len(chunk)
                state.touched = time.monotonic()

    _retried(write, _State())


@dataclass
class _State:
    """What an attempt that stalls leaves to the next one; a ``given_up`` attempt changes nothing any more."""

    file: BinaryIO | None = None
    done: int = 0
    stamp: list[int] | None = None
    known: list[int] | None = None
    touched: float = field(default_factory=time.monotonic)
    given_up: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, chunk: bytes) -> bool:
        """Write a part; return False if the attempt was given up."""
        assert self.file is not None
        with self.lock:
            if self.given_up:
                return False
            self.file.write(chunk)
            self.done += len(chunk)
            self.touched = time.monotonic()
            return True

    def restart(self) -> None:
        with self.lock:
            if self.file and not self.given_up:
                self.file.seek(0)
                self.file.truncate()
                self.done = 0

    def next(self) -> "_State":
        """Return the state of the next attempt, and give up this one."""
        with self.lock:
            self.given_up = True
            return _State(self.file, self.done, self.stamp)


def _fetch(url: str, state: _State) -> None:
    files, path = system(url)
    if state.known and state.known[0] >= 0:
        found: dict[str, Any] = {"size": state.known[0]}
        now = state.known
    else:
        found = files.info(path)
        now = stamp(found)
    size = found.get("size")
    if found.get("type") == "directory":
        raise IsADirectoryError
    if state.stamp is not None and (now != state.stamp or size is None):
        state.restart()
    state.stamp = now
    if size is not None:
        require_room(size - state.done)
    http = url.lower().startswith(("http://", "https://"))
    # One request for the whole body, whose length the client checks; ranges only to go on after a failure.
    if http and not found.get("partial", True):
        state.restart()
    options: dict[str, Any] = {"size": size} if http and size else {}
    options["block_size"] = BLOCK if not http else AGAIN if state.done else 0
    with files.open(path, "rb", **options) as source:
        try:
            if state.done:
                source.seek(state.done)
            while chunk := source.read(BLOCK if not http else AGAIN):
                if not state.write(chunk):
                    return
                if size is None and state.done % (64 << 20) < len(chunk):
                    require_room(0)
        except (ValueError, NotImplementedError):  # it cannot go on in the middle
            state.restart()
            raise
    if size is not None and state.done != size:
        done = state.done
        state.restart()
        raise _Moved(f"{done} bytes came, its size is {size}")


def require_room(size: int) -> None:
    """Raise AudioError if a file of so many bytes would fill the disk of temporary files."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if size > free - _RESERVE:
        raise AudioError(
            f"no room for its {size / 1e6:.0f} MB in {tempfile.gettempdir()}, the folder of temporary files"
        )


def _asked(url: str, question: Callable[[Any, str], Any]) -> Any:
    """Return ``question(file system, path)``, tried again as a fetch is. Raises AudioError."""
    answers: list[Any] = []

    def ask(state: _State) -> None:
        answers.append(question(*system(url)))

    _retried(ask, _State())
    return answers[-1]


def _retried(attempt: Any, state: _State) -> None:
    """Run ``attempt(state)`` in threads until one comes to its end. Raises AudioError."""
    wait = WAIT_S
    for number in range(1, ATTEMPTS + 1):
        error = _watched(attempt, state)
        if error is None:
            return
        if isinstance(error, AudioError | UsageError):
            raise AudioError(str(error)) from None
        if number == ATTEMPTS or not _passing(error):
            tries = f" ({number} times)" if number > 1 else ""
            raise AudioError(f"cannot be reached: {reason(error)}{tries}") from None
        time.sleep(wait * random.uniform(0.7, 1.3))
        wait *= 2
        state = state.next()


def _watched(attempt: Any, state: _State) -> BaseException | None:
    """Return what an attempt raised, TimeoutError if it stalls; it is left behind then, and ends by itself."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            attempt(state)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True, name="fetch")
    state.touched = time.monotonic()
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
        if thread.is_alive() and time.monotonic() - state.touched > timeout() + 1:  # the client's own comes first
            return TimeoutError()
    return raised[0] if raised else None


def _cause(error: BaseException) -> BaseException:
    """Return why fsspec did not find a web address: it calls any answer "not found"."""
    cause = error.__cause__
    if not isinstance(error, FileNotFoundError) or cause is None:
        return error
    web = type(cause).__module__.startswith("aiohttp") or isinstance(cause, TimeoutError | ConnectionError)
    return cause if web and getattr(cause, "status", None) not in (404, 410) else error


def _passing(error: BaseException) -> bool:
    """Return whether it may go better next time."""
    error = _cause(error)
    status = getattr(error, "status", None)
    if isinstance(status, int) and 400 <= status < 500:
        return status in (408, 425, 429)
    return not isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)


def reason(error: BaseException) -> str:
    """Return what went wrong, in a few words and without secrets."""
    error = _cause(error)
    status = getattr(error, "status", None)
    if isinstance(status, int) and status:
        return f"the server says {status} {getattr(error, 'message', '')}".strip()
    if type(error).__name__.startswith("ClientConnector"):
        return f"cannot connect to {getattr(error, 'host', '')}:{getattr(error, 'port', '')}"
    for kind, text in (
        (FileNotFoundError, "not found"),
        (PermissionError, "access denied"),
        (IsADirectoryError, "it is a folder"),
        (TimeoutError, f"no data for {timeout():.0f} s"),
    ):
        if isinstance(error, kind):
            return text
    text = hidden(" ".join(str(error).split()))
    return text if isinstance(error, _Moved) else f"{type(error).__name__}: {text}" if text else type(error).__name__


_folder: list[str] = []
_making = threading.Lock()
_numbers = itertools.count()


def temporary(url: str) -> Path:
    """Return the path of a new temporary file with the name of what is at a URL; all are gone when the process ends."""
    with _making:
        if not _folder:
            _folder.append(tempfile.mkdtemp(prefix="sertool-"))
            atexit.register(shutil.rmtree, _folder[0], ignore_errors=True)
    own = Path(_folder[0]) / f"{next(_numbers)}"
    own.mkdir()
    return own / re.sub(r"[^\w.\- ]", "_", base_of(url))[-100:]


def is_folder(url: str) -> bool:
    """Return whether a URL is a folder; of the web, what ends in a slash. Raises AudioError, UsageError."""
    if url.lower().startswith(("http://", "https://")):
        return url.endswith("/")
    system(url)  # raises UsageError
    return bool(_asked(url, lambda files, path: files.isdir(path)))


def walk(url: str) -> Iterator[tuple[str, str, list[int] | None]]:
    """Yield (path relative to the folder, URL, stamp) of the files in a folder, sorted by folder. Raises AudioError.

    The stamp is None if the listing has no sizes, as that of a web server.
    """
    files, path = system(url)
    root = path.rstrip("/")
    try:
        for here, _, found in files.walk(path, detail=True, on_error="raise"):
            for name in sorted(found):
                whole = found[name].get("name") or f"{here.rstrip('/')}/{name}"
                inner = whole if whole.startswith(root) else f"{here.rstrip('/')}/{name}"
                own = stamp(found[name])
                yield inner[len(root) :].lstrip("/"), _url(files, url, whole), own if own[0] >= 0 else None
    except Exception as error:
        raise AudioError(f"folder cannot be searched: {reason(error)}") from None


def matching(url: str) -> list[str]:
    """Return the URLs that a pattern matches. Raises AudioError."""
    files, path = system(url)
    try:
        return [_url(files, url, found) for found in sorted(files.glob(path))]
    except Exception as error:
        raise AudioError(f"cannot be searched: {reason(error)}") from None


def _url(files: Any, typed: str, path: str) -> str:
    """Return the URL of a path of a file system that was typed as a URL, perhaps as a chain."""
    first, *rest = typed.split("::")
    if "://" in path:
        return "::".join([path, *rest])
    scheme = first.partition("://")[0]
    return "::".join([f"{scheme}://{path.lstrip('/')}" if rest else str(files.unstrip_protocol(path)), *rest])
