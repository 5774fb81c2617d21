"""Buckets: piles of audio from which training draws excerpts of any length."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sertool import audio
from sertool.corpora.reading import rows_of
from sertool.errors import AudioError, UsageError

#: Recordings up to this long are kept decoded; of longer ones only the excerpt is read.
LONGEST_KEPT_S = 60.0

#: Most that a process (so: each worker) keeps decoded, in bytes, for all its buckets together.
KEPT_BYTES = 1 << 30

_kept: dict[Path, np.ndarray] = {}
_keeping = threading.Lock()  # threads mix at once where batches are kept

_TABLE_KEYS = {"root", "corpus", "split", "corpora", "times"}


class Bucket:
    """The recordings of one source, or of several.

    ``spec``: a folder, searched all the way down; a table ``{root, corpus = "manifest", split = "", corpora = [],
    times = 1}`` for the rows of a labelled corpus, each drawn so many times as often; or a list of these. Raises
    UsageError where nothing is found.
    """

    def __init__(self, spec):
        self.paths = [path for source in (spec if isinstance(spec, list) else [spec]) for path in _paths(source)]
        self._broken: set[Path] = set()

    def excerpt(self, samples: int, rng) -> np.ndarray:
        """float32 [samples], 16 kHz: a random stretch of a random recording, a short one somewhere in silence.

        A recording that cannot be read is named once on standard error and another one drawn. The result depends on
        the generator and the files alone, not on what was drawn before. SertoolError if nothing can be read.
        """
        clip, _ = self.stretch(samples, rng)
        return fit(clip, samples, rng.random())

    def stretch(self, samples: int, rng, before: Callable = lambda clip: clip) -> tuple[np.ndarray, Path]:
        """float32 [at most samples], a random stretch of a random recording after ``before``, and that recording.

        ``before`` hears the whole recording, as in `label`; of one longer than a minute the stretch alone.
        """
        return self._drawn(rng, lambda path: (self._stretch(path, samples, rng.random(), before), path))

    def recording(self, rng) -> np.ndarray:
        """float32 [n], 16 kHz: the whole of a random recording; else as ``excerpt``."""
        return self._drawn(rng, self._decoded)

    def _drawn(self, rng, read):
        while len(self._broken) < len(self.paths):
            path = self.paths[rng.integers(len(self.paths))]
            try:
                return read(path)
            except AudioError as error:  # tried again next time: what is drawn must not depend on what was
                if path not in self._broken:
                    self._broken.add(path)
                    print(f"sertool: passed over: {path}: {error}", file=sys.stderr)
        raise UsageError(f"none of {len(self.paths)} recordings can be read, the first being {self.paths[0]}")

    def _stretch(self, path: Path, samples: int, place: float, before: Callable) -> np.ndarray:
        if path not in _kept:
            seconds = audio.duration(path)
            if seconds > max(LONGEST_KEPT_S, samples / audio.SAMPLE_RATE):
                start = place * (seconds - samples / audio.SAMPLE_RATE)
                return before(audio.excerpt(path, start, samples))
        clip = before(self._decoded(path))
        return clip if len(clip) <= samples else fit(clip, samples, place)

    def _decoded(self, path: Path) -> np.ndarray:
        decoded = _kept.get(path)
        if decoded is None:
            decoded = audio.read(path)
        with _keeping:
            _kept.pop(path, None)
            _kept[path] = decoded  # the last to be used comes last
            while sum(samples.nbytes for samples in _kept.values()) > KEPT_BYTES and len(_kept) > 1:
                _kept.pop(next(iter(_kept)))
        return decoded


def fit(samples: np.ndarray, length: int, place: float) -> np.ndarray:
    """float32 [length]: a stretch of a longer clip, or a shorter one in silence; ``place`` in [0, 1) says where."""
    spare = len(samples) - length
    start = int(place * (abs(spare) + 1))
    return samples[start : start + length] if spare >= 0 else np.pad(samples, (start, -spare - start))


def origins(spec) -> set[tuple[str, str]]:
    """(corpus, licence) of what is in a bucket; a folder counts under its name, its licence unknown."""
    found = set()
    for source in spec if isinstance(spec, list) else [spec]:
        if isinstance(source, str):
            found.add((Path(source).name, ""))
        else:
            found |= {(row.corpus, row.licence) for row in _rows(source)}
    return found


def _paths(source) -> list[Path]:
    paths = audio.files(source) if isinstance(source, str) else sorted(row.file for row in _rows(source))
    if not paths:
        raise UsageError(f"{source}: no audio files" if isinstance(source, str) else f"bucket {source!r}: no rows")
    times = 1 if isinstance(source, str) else source.get("times", 1)
    if type(times) is not int or times < 1:
        raise UsageError(f"bucket {source!r}: times is a whole number from 1")
    return paths * times


def _rows(source):
    if not (isinstance(source, dict) and "root" in source and source.keys() <= _TABLE_KEYS):
        raise UsageError(
            f"bucket {source!r}: write a folder, or a table of root and any of corpus, split, corpora, times"
        )
    rows = rows_of(source.get("corpus", "manifest"), Path(source["root"]))
    wanted, split = source.get("corpora", []), source.get("split", "")
    return [row for row in rows if (not split or row.split == split) and (not wanted or row.corpus in wanted)]
