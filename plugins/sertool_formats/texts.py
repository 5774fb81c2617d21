"""Read text files in the encodings that annotation tools write."""

import codecs
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sertool.errors import UsageError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


#: Characters that XML 1.0 does not allow.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def text_of(path: Path) -> str:
    """Return a file's text with line feeds: UTF-8, or UTF-16 with a byte order mark, else Windows-1252.

    Raises UsageError if the file cannot be read or contains NUL.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            text = data[len(mark) :].decode(encoding, "replace")
            break
    else:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
    if "\0" in text:
        raise UsageError(f"{path}: not a text file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def in_xml(text: str) -> str:
    """Return the text with characters that XML does not allow replaced."""
    return _FORBIDDEN.sub("\ufffd", text)


def bad(path: Path, line: int, reason: object) -> UsageError:
    """Return the error for a line of a file."""
    return UsageError(f"{path}: line {line}: {reason}")


def filled(columns: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns as text, without those that are empty."""
    return {name: str(value).strip() for name, value in columns.items() if value not in (None, "")}
