"""The lines of a journal: an append-only log that says of each recording what its rows are.

The first line is an object that describes the run. Before the first recording, and whenever one of them changes, comes
{"columns": names of the values of a row, "base": what begins the paths}. A recording is an array: name, path (null if
it is base + name), stamp, whether it failed, seconds, rows (each an array of values), and in a shard its place in the
whole list. {"complete": number of recordings} ends a run that was not interrupted. Each line ends with a space and its
CRC-32, so a line that was cut or damaged is known as such. That of an array goes on from the CRC-32 of the columns and
base that it needs, which are written three times, so that a damaged line costs no more than itself and its neighbour.
"""

import functools
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

from sertool.errors import UsageError

#: A row of the label table without its file, column -> value.
Row: TypeAlias = dict[str, Any]

_CRC = 9  # characters: a space and eight digits


@dataclass(frozen=True)
class Context:
    """What several recordings share: the ``columns`` of their rows, and how their paths begin."""

    columns: tuple[str, ...]
    base: str

    @functools.cached_property
    def text(self) -> bytes:
        """The JSON of this context."""
        return _json({"columns": list(self.columns), "base": self.base})

    @functools.cached_property
    def crc(self) -> int:
        """The CRC-32 of this context."""
        return zlib.crc32(self.text)

    @property
    def lines(self) -> bytes:
        """The lines of this context: three, alike, because a lost line end costs two."""
        return 3 * line({"columns": list(self.columns), "base": self.base})


@dataclass(frozen=True)
class Entry:
    """A finished recording; ``key`` is its absolute path or URL. Its rows have no column "file"."""

    name: str
    key: str
    stamp: list[int] | None
    failed: bool
    seconds: float
    rows: list[Row]
    place: int | None = None

    def context(self, before: Context | None) -> Context:
        """Return a context that this entry can be written in, the one before if it can."""
        columns = tuple(self.rows[0]) if self.rows else before.columns if before else ()
        if before:
            return before if columns == before.columns else Context(columns, before.base)
        return Context(columns, self.key.removesuffix(self.name) if self.key.endswith(self.name) else "")

    def line(self, context: Context) -> bytes:
        """Return the line of this entry."""
        fields = [
            self.name,
            None if self.key == context.base + self.name else self.key,
            self.stamp,
            int(self.failed),
            self.seconds,
            [[row[name] for name in context.columns] for row in self.rows],
        ]
        return line(fields if self.place is None else [*fields, self.place], context.crc)


@dataclass(frozen=True)
class Found:
    """A line of a log: a ``head`` or other object, or an ``entry`` in its ``context``, at ``offset``."""

    offset: int
    size: int
    thing: dict[str, Any] | Entry
    context: Context | None


def line(thing: Any, seed: int = 0) -> bytes:
    """Return the line of an object or array, whose CRC-32 goes on from ``seed``."""
    text = _json(thing)
    return b"%b %08x\n" % (text, zlib.crc32(text, seed))


def parsed(text: bytes, seed: int = 0) -> Any:
    """Return the object or array of a line without its end; None if it is damaged."""
    body, crc = text[:-_CRC], text[-_CRC:]
    if not body or crc != b" %08x" % zlib.crc32(body, seed):
        return None
    return json.loads(body)


def entry(fields: list[Any], context: Context) -> Entry:
    """Return the entry of an array."""
    name, key, stamp, failed, seconds, rows, *place = fields
    cells = [dict(zip(context.columns, values, strict=True)) for values in rows]
    own = key if key is not None else context.base + name
    return Entry(name, own, stamp, bool(failed), seconds, cells, place[0] if place else None)


def read(path: Path) -> Iterator[Found | None]:
    """Yield the complete lines of a log; None for one that is damaged. Raises UsageError."""
    context, offset = None, 0
    try:
        with open(path, "rb") as stream:
            for text in stream:
                if not text.endswith(b"\n"):
                    return  # what was written when the process died
                if text.startswith(b"["):
                    fields = parsed(text[:-1], context.crc) if context else None
                    yield Found(offset, len(text), entry(fields, context), context) if fields and context else None
                else:
                    thing = parsed(text[:-1])
                    if thing and "base" in thing:
                        new = Context(tuple(thing["columns"]), thing["base"])
                        context = context if new == context else new
                    else:
                        yield Found(offset, len(text), thing, None) if thing else None
                offset += len(text)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None


def read_at(stream: IO[bytes], offset: int, size: int, context: Context) -> Entry:
    """Return the entry at an offset."""
    stream.seek(offset)
    return entry(parsed(stream.read(size)[:-1], context.crc), context)


def _json(thing: Any) -> bytes:
    return json.dumps(thing, separators=(",", ":")).encode()
