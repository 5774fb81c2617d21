"""Put files of csrc/ into one text."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: In this folder in a wheel, at the root of a checkout.
CSRC = next(folder for folder in (HERE / "csrc", HERE.parents[1] / "csrc") if folder.is_dir())

#: The public header. It is left out; the text around the files has what they need of it.
_HEADER = "sertool.h"

_INCLUDE = re.compile(r'^#include "(.+)"\n', re.MULTILINE)


def amalgamate(names: Iterable[str]) -> str:
    """Return the files of csrc/ with these names, each once and after those that it includes.

    Nothing is edited: only the lines that include a file of csrc/, at the top of each file, are left out.
    """
    done = {_HEADER}
    return "\n\n".join(part for name in names for part in _parts(name, done))


def structure(name: str) -> str:
    """Return the definition of a struct in sertool.h."""
    text = (CSRC / _HEADER).read_text(encoding="utf-8")
    end = f"}} {name};"
    return text[text.index(f"typedef struct {name} {{") : text.index(end) + len(end)]


def _parts(name: str, done: set[str]) -> Iterator[str]:
    """Yield a file's text, under its name, and before it those of its includes, without what is done already."""
    if name in done:
        return
    done.add(name)
    text = (CSRC / name).read_text(encoding="utf-8")
    for included in _INCLUDE.findall(text):
        yield from _parts(included, done)
    code = re.sub(r"\n{3,}", "\n\n", _INCLUDE.sub("", text)).strip()
    yield f"/* ==== {name} */\n\n{code}"
