"""Split a list of recordings into shards that machines label without knowing of each other."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sertool.errors import UsageError
from sertool.recordings.scan import Recording

_NAME = re.compile(r"\.(\d+)-of-(\d+)$")


@dataclass(frozen=True)
class Shard:
    """Part ``number``, from 1, of ``of`` parts."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read "3/48". Raise UsageError for anything else."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--shard {text}: write it as NUMBER/COUNT, such as 1/8 to 8/8")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def path(self, output: Path) -> Path:
        """Return the file of this shard: labels.csv becomes labels.03-of-48.csv."""
        number = f"{self.number:0{len(str(self.of))}d}"
        return output.with_name(f"{output.stem}.{number}-of-{self.of}{output.suffix}")

    def of_list(self, recordings: Sequence[Recording]) -> list[Recording]:
        """Return this shard's recordings, in order, each with its ``place`` in the list.

        Recordings are sorted by a hash of their names and cut into parts of equal bytes, so every machine that sees the
        same list makes the same shards, and a file more or less moves only files next to a cut. A part is larger or
        smaller than the average by at most one file.
        """
        sizes = [max(_size(recording.path), 1) for recording in recordings]
        order = sorted(range(len(recordings)), key=lambda place: _key(recordings[place].name))
        total, before, own = sum(sizes), 0, []
        for place in order:
            middle = 2 * before + sizes[place]
            if middle * self.of // (2 * total) + 1 == self.number:
                own.append(place)
            before += sizes[place]
        return [replace(recordings[place], place=place) for place in sorted(own)]


def digest(recordings: Sequence[Recording]) -> str:
    """Return a hash of a list's names: shards of different lists do not belong together."""
    whole = hashlib.blake2b(digest_size=16)
    for recording in recordings:
        whole.update(_key(recording.name))
    return whole.hexdigest()


def shards_of(output: Path) -> list[Path]:
    """Return the files of an output's shards that exist, by number. Raises UsageError if their counts differ."""
    found: dict[tuple[int, int], Path] = {}
    for path in sorted(output.absolute().parent.glob("*.journal")):
        table = path.with_name(path.name.removesuffix(".journal"))
        match = _NAME.search(table.stem)
        if match and table.stem[: match.start()] == output.stem and table.suffix == output.suffix:
            found[int(match[2]), int(match[1])] = table
    counts = sorted({of for of, _ in found})
    if len(counts) > 1:
        raise UsageError(f"{output}: there are shards of {' and of '.join(map(str, counts))}: delete the old ones")
    return [found[key] for key in sorted(found)]


def _key(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return 0
