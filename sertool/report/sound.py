"""What a report shows and plays of a recording: its waveform, its speech, and a copy in Opus."""

import base64
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
import soundfile

from sertool import audio
from sertool._types import Samples
from sertool.recordings.pool import FAULTS, reason
from sertool.speech.detection import detect

#: Characters for waveforms in a report of many recordings, and the columns of one waveform.
BUDGET, FEWEST, MOST = 350_000, 32, 800
_FRAME = 160  # samples of a peak
_LEVELS = 31


@dataclass(frozen=True)
class Sound:
    """A recording: ``seconds``, ``peaks`` as text, ``speech`` in seconds; or the ``reason`` why they are missing."""

    seconds: float | None = None
    peaks: str | None = None
    speech: list[tuple[float, float]] | None = None
    reason: str | None = None
    opus: str | None = None


def columns_for(recordings: int) -> int:
    """Return the columns of each waveform, so that all of them stay within BUDGET."""
    return int(np.clip(BUDGET // max(recordings, 1), FEWEST, MOST))


def listen(path: Path | None, columns: int, embed: bool = False) -> Sound:
    """Read a recording once: its peaks in ``columns`` columns, its speech, and a copy in Opus if ``embed``.

    Memory grows by 1.5 MB an hour. A recording that cannot be read has a reason.
    """
    if path is None:
        return Sound(reason="the recording was not found")
    copy = io.BytesIO()
    peaks: list[Samples] = []
    try:
        with _opus(copy) if embed else _Nothing() as opus:
            found = detect(_watched(audio.blocks(path, note=lambda text: None), peaks, opus))
    except FAULTS as fault:
        return Sound(reason=reason(fault))
    text = base64.b64encode(copy.getvalue()).decode() if embed else None
    return Sound(found.seconds, _drawn(np.concatenate(peaks), columns), found.times, opus=text)


def link(path: Path, page: Path) -> str:
    """Return the address of a recording relative to the folder of ``page``, or absolute on another drive."""
    try:
        relative = os.path.relpath(path.resolve(), page.resolve().parent)
    except ValueError:  # another drive, on Windows
        return path.resolve().as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")))


class _Nothing:
    """In place of the copy in Opus that nobody asked for."""

    def __enter__(self) -> "_Nothing":
        return self

    def __exit__(self, *exception: object) -> None:
        """Close nothing."""

    def write(self, samples: Samples) -> None:
        """Keep nothing."""


def _opus(target: io.BytesIO) -> soundfile.SoundFile:
    return soundfile.SoundFile(target, "w", audio.SAMPLE_RATE, 1, format="OGG", subtype="OPUS", compression_level=0.9)


def _watched(
    blocks: Iterable[Samples], peaks: list[Samples], opus: "soundfile.SoundFile | _Nothing"
) -> Iterator[Samples]:
    """Yield blocks unchanged; add the peak of every 10 ms to ``peaks``, and the samples to ``opus``."""
    held = np.zeros(0, np.float32)
    for block in blocks:
        opus.write(np.clip(block, -1, 1))
        held = np.concatenate([held, np.abs(block)])
        whole = len(held) // _FRAME * _FRAME
        peaks.append(held[:whole].reshape(-1, _FRAME).max(axis=1))
        held = held[whole:]
        yield block
    peaks.append(held.max(keepdims=True) if len(held) else held)


def _drawn(peaks: Samples, columns: int) -> str:
    """Return the peaks of ``columns`` equal parts, relative to the largest, as characters from "0" on."""
    edges = np.arange(min(columns, len(peaks))) * len(peaks) // min(columns, len(peaks))
    levels = np.round(np.maximum.reduceat(peaks, edges) / max(peaks.max(), 1e-9) * _LEVELS).astype(int)
    return "".join(chr(48 + level) for level in levels)
