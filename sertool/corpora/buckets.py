"""Buckets: pools of audio from which training draws excerpts of any length."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from sertool import audio
from sertool._types import Samples
from sertool.corpora.reading import rows_of
from sertool.corpora.rows import Row
from sertool.errors import AudioError, UsageError

#: Recordings up to this length stay in memory decoded; for longer ones only the excerpt is read.
LONGEST_KEPT_S = 60.0

#: Upper limit of decoded audio per process (that is, per worker), in bytes, for all its buckets together.
KEPT_BYTES = 1 << 30

#: One source: a folder, or a table of a corpus (see `Bucket`).
BucketSource: TypeAlias = str | dict[str, Any]

_T = TypeVar("_T")

_cache: dict[Path, Samples] = {}
_cache_lock = threading.Lock()  # batches are mixed by several threads when they are cached

_TABLE_KEYS = {"root", "corpus", "split", "corpora", "times"}


class Bucket:
    """The recordings of one or several sources.

    ``spec``: a folder, searched recursively; a table ``{root, corpus = "manifest", split = "", corpora = [],
    times = 1}`` for the rows of a labelled corpus, each drawn ``times`` as often; or a list of these. Raises UsageError
    if there are no recordings.
    """

    def __init__(self, spec: BucketSource | list[BucketSource]) -> None:
        self.paths = [path for source in (spec if isinstance(spec, list) else [spec]) for path in _paths(source)]
        self._broken: set[Path] = set()

    def excerpt(self, samples: int, rng: np.random.Generator) -> Samples:
        """Return a random excerpt of a random recording, float32 [samples], 16 kHz; a shorter recording is padded.

        The padding is silence, at a random offset. A recording that cannot be read is reported once on standard error
        and another one is drawn. The result depends on the generator and the files only, not on earlier draws. Raises
        SertoolError if no recording can be read.
        """
        clip, _ = self.stretch(samples, rng)
        return fit(clip, samples, rng.random())

    def stretch(
        self, samples: int, rng: np.random.Generator, before: Callable[[Samples], Samples] = lambda clip: clip
    ) -> tuple[Samples, Path]:
        """Return a random excerpt of a random recording, float32 [at most samples], and the recording's path.

        ``before`` is applied first, to the whole recording, as in `label`; for recordings over a minute it is applied
        to the excerpt only.
        """
        return self._draw(rng, lambda path: (self._stretch(path, samples, rng.random(), before), path))

    def recording(self, rng: np.random.Generator) -> Samples:
        """Return the whole of a random recording, float32 [n], 16 kHz; errors are handled as in ``excerpt``."""
        return self._draw(rng, self._decoded)

    def _draw(self, rng: np.random.Generator, read: Callable[[Path], _T]) -> _T:
        while len(self._broken) < len(self.paths):
            path = self.paths[rng.integers(len(self.paths))]
            try:
                return read(path)
            except AudioError as error:  # retried on the next draw: the result must not depend on earlier draws
                if path not in self._broken:
                    self._broken.add(path)
                    print(f"sertool: skipped: {path}: {error}", file=sys.stderr)
        raise UsageError(f"none of {len(self.paths)} recordings can be read; the first is {self.paths[0]}")

    def _stretch(self, path: Path, samples: int, place: float, before: Callable[[Samples], Samples]) -> Samples:
        if path not in _cache:
            seconds = audio.duration(path)
            if seconds > max(LONGEST_KEPT_S, samples / audio.SAMPLE_RATE):
                start = place * (seconds - samples / audio.SAMPLE_RATE)
                return before(audio.excerpt(path, start, samples))
        clip = before(self._decoded(path))
        return clip if len(clip) <= samples else fit(clip, samples, place)

    def _decoded(self, path: Path) -> Samples:
        decoded = _cache.get(path)
        if decoded is None:
            decoded = audio.read(path)
        with _cache_lock:
            _cache.pop(path, None)
            _cache[path] = decoded  # insertion order is least recently used first
            while sum(samples.nbytes for samples in _cache.values()) > KEPT_BYTES and len(_cache) > 1:
                _cache.pop(next(iter(_cache)))
        return decoded


def fit(samples: Samples, length: int, place: float) -> Samples:
    """Cut a clip, or pad it with silence, to float32 [length]; ``place`` in [0, 1) sets the offset."""
    spare = len(samples) - length
    start = int(place * (abs(spare) + 1))
    return samples[start : start + length] if spare >= 0 else np.pad(samples, (start, -spare - start))


def origins(spec: BucketSource | list[BucketSource]) -> set[tuple[str, str]]:
    """Return the (corpus, licence) pairs in a bucket; a folder counts as a corpus of that name, licence unknown."""
    result: set[tuple[str, str]] = set()
    for source in spec if isinstance(spec, list) else [spec]:
        if isinstance(source, str):
            result.add((Path(source).name, ""))
        else:
            result |= {(row.corpus, row.licence) for row in _rows(source)}
    return result


def _paths(source: BucketSource) -> list[Path]:
    paths = audio.files(source) if isinstance(source, str) else sorted(row.file for row in _rows(source))
    if not paths:
        raise UsageError(f"{source}: no audio files" if isinstance(source, str) else f"bucket {source!r}: no rows")
    times = 1 if isinstance(source, str) else source.get("times", 1)
    if type(times) is not int or times < 1:
        raise UsageError(f"bucket {source!r}: times must be a whole number from 1")
    return paths * times


def _rows(source: dict[str, Any]) -> list[Row]:
    if not (isinstance(source, dict) and "root" in source and source.keys() <= _TABLE_KEYS):
        raise UsageError(
            f"bucket {source!r}: write a folder, or a table with root and optionally corpus, split, corpora, times"
        )
    rows = rows_of(source.get("corpus", "manifest"), Path(source["root"]))
    wanted, split = source.get("corpora", []), source.get("split", "")
    return [row for row in rows if (not split or row.split == split) and (not wanted or row.corpus in wanted)]
