"""Limits on the names and sizes of files in bundles, and safe access to those files."""

import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from sertool.errors import BundleError

#: Maximum bytes of bundle.json, SHA256SUMS and expected.csv, and of the manifest inside a model file.
LARGEST_TEXT = 4 << 20
#: Maximum bytes of one file; that of the teacher with 484 M parameters has 1.94e9.
LARGEST_FILE = 4_000_000_000
LARGEST_BUNDLE = 10_000_000_000
MOST_FILES = 1000

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # device names on Windows
_UNSAFE = re.compile(r'^[ .-]|[<>:"/\\|?*]|[ .]$')


def shared_folder() -> Path:
    """Return the folder of files that several bundled models share, such as a frozen encoder."""
    return Path(__file__).parents[1] / "models" / "shared"


def is_plain(name: str) -> bool:
    """Return whether a name is a valid file name on any system and safe to print: no path, no control characters."""
    short = 0 < len(name.encode("utf-8", "surrogatepass")) <= 200
    return short and name.isprintable() and not _UNSAFE.search(name) and not _RESERVED.fullmatch(name)


def is_line(text: str) -> bool:
    """Return whether a string is one printable line."""
    return text.isprintable() and 0 < len(text) <= 500


def check_paths(paths: Iterable[str], source: str) -> None:
    """Raise BundleError unless all are relative paths of plain names that can coexist in a folder on any system."""
    taken: dict[str, str] = {}  # path on a case-insensitive file system -> path
    for path in paths:
        parts = path.split("/")
        if len(parts) > 8 or not all(map(is_plain, parts)):
            raise BundleError(f"{source}: {quoted(path)} is not a valid name of a file in a bundle")
        same = unicodedata.normalize("NFC", path).casefold()
        if same in taken:
            raise BundleError(f"{source}: {quoted(taken[same])} and {quoted(path)} are the same file on some systems")
        taken[same] = path
    for same, path in taken.items():
        for end in (i for i, letter in enumerate(same) if letter == "/"):
            if same[:end] in taken:
                raise BundleError(f"{source}: {quoted(taken[same[:end]])} is a file and the folder of {quoted(path)}")


def regular(folder: Path, name: str) -> Path:
    """Return the path of a regular file in a folder.

    Raises BundleError if it is missing, not a regular file or too large, or if any part of its path is a link.
    """
    path = folder
    for part in name.split("/"):
        path = path / part
        try:
            status = path.lstat()
        except FileNotFoundError:
            raise BundleError(f"{folder / name}: missing") from None
        except (OSError, ValueError) as error:
            raise BundleError(f"{folder / name}: {getattr(error, 'strerror', None) or error}") from None
        if stat.S_ISLNK(status.st_mode):
            raise BundleError(f"{path}: a link; a bundle must contain the file itself")
    _check_status(path, status)
    return path


def lone(path: Path, most: int = LARGEST_FILE) -> Path:
    """Check a file that the user named, following links; raise BundleError if it is not a file or too large."""
    try:
        _check_status(path, path.stat(), most)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    return path


def files(folder: Path) -> list[str]:
    """Return the sorted names of all files below a folder.

    Raises BundleError for a link or a special file such as a pipe, and for more than MOST_FILES entries.
    """
    result, waiting, seen = [], [""], 0
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(folder / here) as entries:
                for entry in entries:
                    seen += 1
                    if seen > MOST_FILES:
                        raise BundleError(f"{folder}: more than {MOST_FILES} files: not a bundle")
                    name = f"{here}/{entry.name}".lstrip("/")
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(name)
                    elif entry.is_file(follow_symlinks=False):
                        result.append(name)
                    else:
                        kind = "a link" if entry.is_symlink() else "not a file"
                        raise BundleError(
                            f"{folder}: {quoted(name)} is {kind}; a bundle must contain the files themselves"
                        )
        except OSError as error:
            raise BundleError(f"{folder / here}: {error.strerror}") from None
    return sorted(result)


def read_text(folder: Path, name: str) -> str:
    """Read a short UTF-8 file of a bundle; raise BundleError if it cannot be read or is too long."""
    path = regular(folder, name)
    try:
        with open(path, "rb") as stream:
            data = stream.read(LARGEST_TEXT + 1)
        if len(data) > LARGEST_TEXT:
            raise BundleError(f"{path}: larger than {LARGEST_TEXT >> 20} MB")
        return data.decode()
    except UnicodeDecodeError:
        raise BundleError(f"{path}: not UTF-8") from None
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None


def quoted(value: object) -> str:
    """Quote an untrusted value for a message: control characters escaped, shortened if long."""
    text = repr(value[:200] if isinstance(value, str) else value)
    return text if len(text) <= 80 else f"{text[:60]}..."


def one_line(message: object, most: int = 300) -> str:
    """Return another library's message, which may quote a file, as one line without control characters."""
    text = "".join(c if c.isprintable() else "?" for c in " ".join(str(message).split()))
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _check_status(path: Path, status: os.stat_result, most: int = LARGEST_FILE) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{path}: not a file")
    if status.st_size > most:
        raise BundleError(f"{path}: larger than {most / 1e9:g} GB")
