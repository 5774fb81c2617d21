"""Merge the tables of shards, from their journals, in the order of the whole list."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sertool._types import Array
from sertool.errors import UsageError
from sertool.labelling.journal import parsed
from sertool.recordings.scan import Recording
from sertool.segments import Table

_Head: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Shards:
    """Journals of shards: ``heads`` are their first lines, ``problems`` say why the merged table is not the whole.

    ``index`` [n, 3] are shard, offset and bytes of each recording's entry, in the order of the whole list.
    """

    journals: list[Path]
    heads: list[_Head]
    index: Array
    recordings: list[Recording]
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

    def entries(self) -> Iterator[tuple[Recording, dict[str, Any]]]:
        """Yield (recording, entry with rows and seconds) in order."""
        streams = [open(path, "rb") for path in self.journals]  # noqa: SIM115 (closed below)
        try:
            for recording, (shard, offset, size) in zip(self.recordings, self.index.tolist(), strict=True):
                streams[shard].seek(offset)
                entry = parsed(streams[shard].read(size))
                assert entry is not None  # it was, a moment ago
                yield recording, entry
        finally:
            for stream in streams:
                stream.close()


def open_shards(tables: list[Path], of: int) -> Shards:
    """Read the journals of the tables of shards; ``of`` is how many there should be.

    Raises UsageError if a journal is missing or damaged, or was made with other settings than the first.
    """
    journals = [table.with_name(table.name + ".journal") for table in tables]
    heads: list[_Head] = []
    places, spots, names, paths, failed = [], [], [], [], []
    problems = []
    for number, journal in enumerate(journals):
        head, complete = None, False
        for offset, line in _lines(journal):
            entry = parsed(line)
            if entry is None:
                continue  # a damaged line, or the last one of a run that was killed
            if head is None:
                head = entry
            elif "complete" in entry:
                complete = True
            else:
                places.append(entry["place"])
                spots.append((number, offset, len(line)))
                names.append(entry["name"])
                paths.append(entry["path"])
                failed.append(entry["failed"])
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
    chosen = _chosen(paths, failed)
    order = sorted(chosen, key=lambda at: (places[at], names[at]))
    recordings = [Recording(Path(paths[at]), names[at]) for at in order]
    return Shards(journals, heads, np.array([spots[at] for at in order], np.int64).reshape(-1, 3), recordings, problems)


def _lines(journal: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line without its end) of the complete lines of a journal."""
    offset = 0
    try:
        with open(journal, "rb") as stream:
            for line in stream:
                if line.endswith(b"\n"):
                    yield offset, line[:-1]
                offset += len(line)
    except OSError as error:
        raise UsageError(f"{journal}: {error.strerror}") from None


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


def _chosen(paths: list[str], failed: list[bool]) -> list[int]:
    """Return the entry of each recording that counts: the last one that did not fail, else the last one."""
    best: dict[str, int] = {}
    for at, path in enumerate(paths):
        if path not in best or failed[best[path]] or not failed[at]:
            best[path] = at
    return list(best.values())
