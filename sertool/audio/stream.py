"""Stream a recording at 16 kHz."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soxr

from sertool._types import Samples
from sertool.audio.decoders import SAMPLE_RATE, Note, native_blocks
from sertool.audio.pieces import AnyPath
from sertool.errors import AudioError, AudioWarning

#: Largest absolute sample value of a plausible recording.
LARGEST = 1e12


def blocks(
    path: AnyPath, note: Note | None = None, channel: int | None = None, track: int | None = None
) -> Iterator[Samples]:
    """Yield the recording as float32 blocks of about 10 s, 16 kHz, in constant memory.

    Channels are averaged, or ``channel`` is taken. ``track`` is an audio track of a container, by default the one
    marked as default. Both count from 1. Times are those of a player: gaps in the time stamps become silence.
    Remarks about a recording that is read nevertheless (it has other tracks, say) go to ``note``, or without one become
    an AudioWarning.

    Raises AudioError, with an actionable reason, if the file is not a complete recording of finite samples.
    """
    path = Path(path)
    stream = Resampled(SAMPLE_RATE)
    seconds, any_samples = 0.0, False
    for rate, native in native_blocks(path, note or note_of(path), channel, track):
        check_samples(native, round(seconds * rate), rate)
        seconds += len(native) / rate
        any_samples |= len(native) > 0
        if rate != stream.rate:
            yield from stream.finish()
            stream = Resampled(rate)
        yield from stream.push(native)
    yield from stream.finish()
    if not any_samples:
        raise AudioError("empty: the file holds no audio")


def check_samples(native: Samples, start: int, rate: int) -> None:
    """Raise AudioError if samples [n], the first of which is frame ``start``, are not finite or implausibly large."""
    if not np.isfinite(native).all():
        raise AudioError(f"NaN or infinity at {(start + int(np.argmin(np.isfinite(native)))) / rate:.3f} s")
    if np.abs(native).max(initial=0) > LARGEST:
        at = int(np.argmax(np.abs(native) > LARGEST))
        raise AudioError(f"a sample of {native[at]:g} at {(start + at) / rate:.3f} s: full scale is 1")


class Resampled:
    """Resample blocks to 16 kHz; the output is never longer than the input."""

    def __init__(self, rate: int) -> None:
        self.rate, self._taken, self._given = rate, 0, 0
        self._stream: soxr.ResampleStream | None = None
        if rate != SAMPLE_RATE:
            self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")

    def push(self, block: Samples) -> Iterator[Samples]:
        self._taken += len(block)
        yield from self._passed(block if self._stream is None else self._stream.resample_chunk(block))

    def finish(self) -> Iterator[Samples]:
        if self._stream is not None:
            rest = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
            yield from self._passed(rest[: max(0, self._taken * SAMPLE_RATE // self.rate - self._given)])

    def _passed(self, block: Samples) -> Iterator[Samples]:
        self._given += len(block)
        if len(block):
            yield block


def warn(text: str) -> None:
    warnings.warn(text, AudioWarning, stacklevel=4)


def note_of(path: AnyPath) -> Note:
    """Return a receiver of remarks about a file that turns them into an AudioWarning."""
    return lambda text: warn(f"{path}: {text}")
