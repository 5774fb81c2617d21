"""Merge the tables of shards, from their journals, in the order of the whole list."""

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sertool._types import Array
from sertool.errors import UsageError
from sertool.labelling import log
from sertool.labelling.log import Context, Entry
from sertool.recordings.recording import Recording, key_of, printable
from sertool.segments import Table

_Head: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Shards:
    """Journals of shards: ``heads`` are their first lines, ``problems`` say why the merged table is not the whole.

    ``index`` are four arrays [n]: shard, offset, bytes and number of the context of each recording's entry, in order of
    the whole list.
    """

    journals: list[Path]
    heads: list[_Head]
    contexts: list[Context]
    index: tuple[Array, ...]
    problems: list[str]

    @property
    def table(self) -> Table:
        """The columns, which all shards have in common."""
        about = self.heads[0]["about"]["table"]
        lists = {name: tuple(about[name]) for name in ("columns", "outputs", "given")}
        return Table(**{**about, **lists})

    @property
    def folder(self) -> str | None:
        """The folder to which names are relative; None if there are several."""
        folder: str | None = self.heads[0]["about"]["folder"]
        return folder

    def entries(self) -> Iterator[tuple[Recording, Entry]]:
        """Yield (recording, its entry, whose rows have the column "file" as well) in order."""
        streams = [open(path, "rb") for path in self.journals]  # noqa: SIM115 (closed below)
        try:
            for shard, offset, size, context in zip(*self.index, strict=True):
                entry = log.read_at(streams[shard], int(offset), int(size), self.contexts[context])
                name = printable(entry.name)
                rows = [{"file": name, **row} for row in entry.rows]
                recording = Recording.of_key(entry.key, entry.name, entry.stamp)
                yield recording, Entry(entry.name, entry.key, entry.stamp, entry.failed, entry.seconds, rows)
        finally:
            for stream in streams:
                stream.close()


def open_shards(tables: list[Path], of: int) -> Shards:
    """Read the journals of the tables of shards; ``of`` is how many there should be.

    Raises UsageError if a journal is missing or damaged, or was made with other settings than the first.
    """
    journals = [table.with_name(table.name + ".journal") for table in tables]
    heads: list[_Head] = []
    contexts: list[Context] = []
    keys, places, good = array("Q"), array("q"), array("b")
    index = (array("H"), array("Q"), array("I"), array("H"))
    problems = []
    for number, journal in enumerate(journals):
        head, complete = None, False
        for found in log.read(journal):
            if found is None:
                continue  # a damaged line
            if isinstance(found.thing, dict):
                head = head or found.thing
                complete = complete or "complete" in found.thing
                continue
            if not contexts or contexts[-1] is not found.context:
                assert found.context is not None
                contexts.append(found.context)
            keys.append(key_of(found.thing.key))
            places.append(found.thing.place or 0)
            for values, value in zip(index, (number, found.offset, found.size, len(contexts) - 1), strict=True):
                values.append(value)
            good.append(not found.thing.failed)
        if head is None:
            raise UsageError(f"{journal} is damaged or empty: label this shard again")
        heads.append(head)
        if not complete:
            problems.append(f"shard {head.get('shard')} is not finished")
    for journal, head in zip(journals, heads, strict=True):
        _require_same(journal, head, heads[0])
    missing = {f"{number}/{of}" for number in range(1, of + 1)} - {head["shard"] for head in heads}
    problems += [f"shard {shard} is missing" for shard in sorted(missing, key=lambda text: int(text.partition("/")[0]))]
    lists = {head["about"]["list"] for head in heads}
    if len(lists) > 1:
        problems.append("the shards saw different lists of recordings: run each of them again, they continue")
    chosen = _chosen(_array(keys), _array(places), _array(good))
    return Shards(journals, heads, contexts, tuple(_array(values)[chosen] for values in index), problems)


def _array(values: "array[int]") -> Array:
    return np.frombuffer(values, values.typecode) if values else np.empty(0, np.int64)


def _chosen(keys: Array, places: Array, good: Array) -> Array:
    """Return the places of the entries that count, in the order of the list.

    Of each recording, that is the last one that did not fail, else the last one.
    """
    order = np.lexsort((np.arange(len(keys)), good, keys))
    own = keys[order]
    last: Array = order[np.append(own[1:] != own[:-1], np.ones(min(len(own), 1), bool))]
    return last[np.lexsort((keys[last], places[last]))]


def _require_same(journal: Path, head: _Head, first: _Head) -> None:
    if "shard" not in head:
        raise UsageError(f"{journal} is not of a shard")
    own = {key: value for key, value in head.items() if key not in ("shard", "about", "paths")}
    other = {key: value for key, value in first.items() if key not in ("shard", "about", "paths")}
    own |= {"columns": head["about"]["table"]["columns"]}
    other |= {"columns": first["about"]["table"]["columns"]}
    for key, value in own.items():
        if other.get(key) != value:
            raise UsageError(
                f"{journal} was made with {key} = {json.dumps(value)}, others {json.dumps(other.get(key))}"
            )
