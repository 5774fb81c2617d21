"""Files that one process writes at a time, and that are whole after a power cut."""

import contextlib
import errno
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def hold(stream) -> None:
    """Hold a file as long as it is open, where the system can; BlockingIOError if somebody else does."""
    if fcntl is not None:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sync(stream) -> None:
    """Write a stream through to the disk. Do nothing where it has none, as a pipe; OSError if the disk is full."""
    stream.flush()
    try:
        os.fsync(stream.fileno())
    except (ValueError, AttributeError):  # no file behind it
        return
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS, errno.EBADF):
            raise


def move_into_place(beside: Path, path: Path) -> None:
    """Put a file in the place of another: after a power cut, too, there is one of the two, whole."""
    with open(beside, "rb") as stream:
        sync(stream)
    os.replace(beside, path)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        with contextlib.suppress(OSError):  # some network drives know nothing of it
            os.fsync(folder)
        os.close(folder)
