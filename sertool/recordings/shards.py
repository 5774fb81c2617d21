"""Split a list of recordings into shards that machines label without knowing of each other."""

import hashlib
import os
import re
import struct
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sertool.errors import UsageError
from sertool.recordings.listing import Listing
from sertool.recordings.recording import Recording

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

    def of_list(self, recordings: Iterable[Recording]) -> Listing:
        """Return this shard's recordings, in order, each with its ``place`` in the list.

        Recordings are sorted by a hash of their names and cut into parts of equal bytes, so every machine that sees the
        same list makes the same shards, and a file more or less moves only files next to a cut. A part is larger or
        smaller than the average by at most one file.
        """
        # Arrays and not lists: 24 bytes for each of perhaps ten million recordings.
        high, low, sizes = array("Q"), array("Q"), array("q")
        for recording in recordings:
            one, other = struct.unpack(">QQ", _key(recording.name))
            high.append(one)
            low.append(other)
            sizes.append(max(_size(recording), 1))
        if not sizes:
            return Listing(())
        order = np.lexsort((np.frombuffer(low, np.uint64), np.frombuffer(high, np.uint64)))
        sizes_in_order = np.frombuffer(sizes, np.int64)[order].astype(float)  # exact up to 2**53 bytes
        middles = np.cumsum(sizes_in_order) - sizes_in_order / 2
        numbers = np.empty(len(order), np.int64)
        numbers[order] = np.minimum(middles * self.of // sizes_in_order.sum() + 1, self.of)
        return Listing(
            replace(recording, place=place)
            for place, recording in enumerate(recordings)
            if numbers[place] == self.number
        )


def digest(recordings: Iterable[Recording]) -> str:
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


def _size(recording: Recording) -> int:
    if recording.url:
        return recording.stamp[0] if recording.stamp else 0
    try:
        return os.stat(recording.path).st_size
    except (OSError, ValueError):
        return 0
