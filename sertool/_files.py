"""File locks, writes that survive a power cut, and the header of .npy files."""

import contextlib
import errno
import os
import threading
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # typeshed declares the module for Linux


def hold(stream: IO[Any]) -> None:
    """Lock a file until it is closed, where the system supports it; raise BlockingIOError if it is locked already."""
    if fcntl is not None:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def beside(path: Path) -> Path:
    """Return a temporary name in the same folder, of this thread only.

    It is short, because the name itself may have the maximum length, and hidden, so that a search for audio skips it.
    """
    return path.with_name(f".{os.getpid()}-{threading.get_ident():x}.part")


def sync(stream: IO[Any]) -> None:
    """Flush a stream to disk; do nothing if it has no disk file (a pipe). Raise OSError if the disk is full."""
    stream.flush()
    try:
        os.fsync(stream.fileno())
    except (ValueError, AttributeError):  # no file descriptor
        return
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS, errno.EBADF):
            raise


def move_into_place(beside: Path, path: Path) -> None:
    """Replace ``path`` by ``beside`` atomically: after a power cut, ``path`` is either the old or the new file."""
    with open(beside, "rb") as stream:
        sync(stream)
    os.replace(beside, path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        with contextlib.suppress(OSError):  # some network drives do not support fsync on folders
            os.fsync(folder)
        os.close(folder)


def npy_header(rows: int, columns: int) -> bytes:
    """Return the bytes before the values of a float32 matrix (NumPy's format 1.0); their number is always the same."""
    head = 128  # bytes: room for any number of rows
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}"
    return b"\x93NUMPY\x01\x00" + (head - 10).to_bytes(2, "little") + text.ljust(head - 11).encode() + b"\n"
