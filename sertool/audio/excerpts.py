"""Read stretches of a recording: by seeking where the format allows it exactly, else in one pass."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

from sertool._types import Samples
from sertool.audio.decoders import SAMPLE_RATE, Mixer, Note, Picker, opened, seekable
from sertool.audio.pieces import AnyPath, Piece
from sertool.audio.stream import blocks, check_samples, note_of

#: Samples at 16 kHz that are resampled on both sides of an excerpt and discarded; soxr's filter is shorter.
_MARGIN = SAMPLE_RATE // 20


class Held:
    """Stretches of samples [n] at 16 kHz that are in memory; as Excerpts."""

    seekable = True

    def __init__(self, samples: Samples) -> None:
        self._samples, self.length = samples, len(samples)

    def read(self, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Samples]]:
        """Yield (index, float32 [n]) for spans (start, end) in samples."""
        for index, (start, end) in enumerate(spans):
            yield index, self._samples[start:end]


class Excerpts:
    """Stretches of a recording at 16 kHz, with channels averaged or one ``channel`` (from 1) of one ``track``.

    Uncompressed audio and FLAC are read by seeking, so that the cost depends on the stretches only; other formats are
    decoded once, from beginning to end. ``length`` is the length of the recording in samples at 16 kHz; unless the
    format is ``seekable``, it is known when ``read`` has ended. Raises AudioError.
    """

    def __init__(
        self, path: AnyPath, note: Note | None = None, channel: int | None = None, track: int | None = None
    ) -> None:
        self._path, self._note = Path(path), note or note_of(path)
        self._channel, self._track = channel, track
        self._piece = seekable(self._path, self._note) if track in (None, 1) else None
        self.length = self._length(self._piece) if self._piece else 0

    @property
    def seekable(self) -> bool:
        """Return whether the recording is read by seeking."""
        return self._piece is not None

    def read(self, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Samples]]:
        """Yield (index, float32 [n]) for spans (start, end) in samples at 16 kHz, ordered by start.

        A span that reaches beyond the end of the recording is cut there, or empty.
        """
        order = sorted(range(len(spans)), key=lambda index: spans[index])
        ordered = [(index, *spans[index]) for index in order]
        yield from self._sought(ordered, self._piece) if self._piece else self._passed(ordered)

    def _length(self, piece: Piece) -> int:
        with opened(self._path, piece.parts) as file:
            frames: int = file.frames
            return frames * SAMPLE_RATE // int(file.samplerate)

    def _sought(self, spans: list[tuple[int, int, int]], piece: Piece) -> Iterator[tuple[int, Samples]]:
        noted: list[str] = []

        def note(text: str) -> None:
            if not noted:  # once for a recording
                self._note(text)
            noted.append(text)

        with opened(self._path, piece.parts) as file:
            for index, start, end in spans:
                # A mixer of its own: what is read of a stretch does not depend on the others.
                mixer = Picker(self._channel) if self._channel else Mixer(note, start / SAMPLE_RATE)
                yield index, self._excerpt(file, mixer, start, min(end, self.length))

    def _excerpt(self, file: soundfile.SoundFile, mixer: Mixer, start: int, end: int) -> Samples:
        if start >= end:
            return np.zeros(0, np.float32)
        rate: int = file.samplerate
        # Where this many frames begin, a sample at 16 kHz begins, too: the grid is that of the whole recording.
        grid = rate // math.gcd(rate, SAMPLE_RATE)
        per_grid = SAMPLE_RATE // math.gcd(rate, SAMPLE_RATE)
        margin = 0 if rate == SAMPLE_RATE else _MARGIN
        first = max(0, start - margin) // per_grid
        file.seek(first * grid)
        frames = -(-(end + margin) * rate // SAMPLE_RATE) - first * grid
        native = mixer.mix(file.read(frames, dtype="float32", always_2d=True), rate)
        check_samples(native, first * grid, rate)
        if rate != SAMPLE_RATE:
            native = soxr.resample(native, rate, SAMPLE_RATE, quality="HQ")
        skip = start - first * per_grid
        return np.ascontiguousarray(native[skip : skip + end - start])

    def _passed(self, spans: list[tuple[int, int, int]]) -> Iterator[tuple[int, Samples]]:
        held, first, self.length = np.zeros(0, np.float32), 0, 0  # the samples from `first` on
        waiting = list(reversed(spans))
        for block in blocks(self._path, self._note, self._channel, self._track):
            held = np.concatenate([held, block])
            self.length += len(block)
            while waiting and waiting[-1][2] <= self.length:
                index, start, end = waiting.pop()
                yield index, held[start - first : end - first]
            keep = min(waiting[-1][1], self.length) if waiting else self.length
            held, first = held[keep - first :], keep
        for index, start, end in reversed(waiting):
            yield index, held[max(0, start - first) : max(0, end - first)] if start < self.length else held[:0]
