"""Names and sizes that no honest bundle goes beyond, and files that are what they seem."""

import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from sertool.errors import BundleError

#: Bytes of bundle.json, SHA256SUMS and expected.csv, and of the manifest inside an ONNX file.
LARGEST_TEXT = 4 << 20
#: Bytes of any one file: the 484 M teacher's takes 1.94e9.
LARGEST_FILE = 4_000_000_000
LARGEST_BUNDLE = 10_000_000_000
MOST_FILES = 1000

_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices on Windows
_UNSAFE = re.compile(r'^[ .-]|[<>:"/\\|?*]|[ .]$')


def shared_folder() -> Path:
    """Where files lie that several of the shipped models use, as a frozen encoder."""
    return Path(__file__).parents[1] / "models" / "shared"


def is_plain(name: str) -> bool:
    """Whether a name can be a file's on any system, and typed and printed without harm: no path, no control code."""
    short = 0 < len(name.encode("utf-8", "surrogatepass")) <= 200
    return short and name.isprintable() and not _UNSAFE.search(name) and not _RESERVED.fullmatch(name)


def is_line(text: str) -> bool:
    """Whether a text is one printable line."""
    return text.isprintable() and 0 < len(text) <= 500


def check_paths(paths: Iterable[str], source: str) -> None:
    """BundleError unless each is a relative path of plain names, and all of them can stand in one folder anywhere."""
    taken = {}  # as a file system that ignores case sees them -> the path
    for path in paths:
        parts = path.split("/")
        if len(parts) > 8 or not all(map(is_plain, parts)):
            raise BundleError(f"{source}: {quoted(path)} is not a name that a file in a bundle may have")
        same = unicodedata.normalize("NFC", path).casefold()
        if same in taken:
            raise BundleError(f"{source}: {quoted(taken[same])} and {quoted(path)} are one file on some systems")
        taken[same] = path
    for same, path in taken.items():
        for end in (i for i, letter in enumerate(same) if letter == "/"):
            if same[:end] in taken:
                raise BundleError(f"{source}: {quoted(taken[same[:end]])} is a file and the folder of {quoted(path)}")


def regular(folder: Path, name: str) -> Path:
    """Path of a file in a folder; BundleError if it is missing, a link or on the way of one, no file, or too large."""
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
            raise BundleError(f"{path}: a link; a bundle holds its files themselves")
    _check_status(path, status)
    return path


def lone(path: Path, most: int = LARGEST_FILE) -> Path:
    """A file that the user named, links followed; BundleError for what is no file or too large."""
    try:
        _check_status(path, path.stat(), most)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}") from None
    return path


def files(folder: Path) -> list[str]:
    """Names of all files below a folder, sorted; BundleError for a link, a pipe and the like, or far too many."""
    found, waiting, seen = [], [""], 0
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
                        found.append(name)
                    else:
                        kind = "a link" if entry.is_symlink() else "not a file"
                        raise BundleError(f"{folder}: {quoted(name)} is {kind}; a bundle holds its files themselves")
        except OSError as error:
            raise BundleError(f"{folder / here}: {error.strerror}") from None
    return sorted(found)


def read_text(folder: Path, name: str) -> str:
    """A short UTF-8 file of a bundle; BundleError if it cannot be read or is too long."""
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


def quoted(value) -> str:
    """A value that may come from anybody, for a message: in quotes, control codes spelt out, not too long."""
    text = repr(value[:200] if isinstance(value, str) else value)
    return text if len(text) <= 80 else f"{text[:60]}..."


def one_line(text: str, most: int = 300) -> str:
    """A message of another library's, which may quote a file, as one line without control codes."""
    text = "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _check_status(path: Path, status, most: int = LARGEST_FILE) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{path}: not a file")
    if status.st_size > most:
        raise BundleError(f"{path}: larger than {most / 1e9:g} GB")
