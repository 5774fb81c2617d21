"""Detect speech in a recording: in a file, an array or a stream of blocks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike

import numpy as np

from sertool import audio
from sertool._types import Array, Samples
from sertool.errors import UsageError
from sertool.features.mel import SAMPLE_RATE
from sertool.speech.detector import Vad
from sertool.speech.segmenter import Parameters, Segmenter, split

#: Peak of a silent recording: -80 dB full scale, the level of 16-bit dither.
SILENCE = 1e-4
SILENT = "silent: nothing above -80 dB full scale"


@dataclass(frozen=True)
class Detected:
    """Speech in a recording of ``samples`` samples at 16 kHz: ``segments`` (start, end) in samples, in order.

    A silent recording has no segments. ``probabilities`` are float32 [ceil(samples / 160)], if requested.
    """

    segments: list[tuple[int, int]]
    samples: int
    silent: bool
    probabilities: Samples | None = None

    @property
    def seconds(self) -> float:
        """Return the length of the recording."""
        return self.samples / SAMPLE_RATE

    @property
    def times(self) -> list[tuple[float, float]]:
        """Segments of speech (start, end) in seconds."""
        return [(start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in self.segments]

    @property
    def speech(self) -> float:
        """Return seconds of speech."""
        return sum(end - start for start, end in self.segments) / SAMPLE_RATE


def detect(blocks: Iterable[Samples], parameters: Parameters | None = None, *, probabilities: bool = False) -> Detected:
    """Detect speech in a recording, float32 [n] blocks at 16 kHz, in memory that does not depend on its length.

    With ``probabilities``, the result includes them: 1.4 MB per hour. Errors from decoding propagate.
    """
    parameters = parameters or Parameters()
    vad, segmenter = Vad(), Segmenter(parameters)
    longest = parameters.longest_speech_s * SAMPLE_RATE
    segments: list[tuple[int, int]] = []
    history: list[Samples] = []
    samples, loudest = 0, 0.0

    def take(new: Samples) -> None:
        segments.extend(segmenter.push(new))
        if probabilities or longest < math.inf:
            history.append(new)

    for block in blocks:
        samples, loudest = samples + len(block), max(loudest, peak(block))
        take(vad.push(block))
    take(vad.finish())
    segments += segmenter.finish(samples)
    silent = loudest < SILENCE
    if longest < math.inf:
        every = np.concatenate(history)
        segments = [part for segment in segments for part in split(segment, every, int(longest))]
    return Detected([] if silent else segments, samples, silent, np.concatenate(history) if probabilities else None)


def peak(samples: Samples) -> float:
    """Return the largest absolute value of float32 [n], or 0 if n is 0."""
    return max(float(samples.max(initial=0)), -float(samples.min(initial=0)))


def detect_speech(
    recording: str | PathLike[str] | Array,
    rate: float | None = None,
    parameters: Parameters | None = None,
    *,
    probabilities: bool = False,
) -> Detected:
    """Find speech in a file, or in samples [n] or [n, channels] with their ``rate`` in Hz.

    The result has ``times``, [(start, end)] in seconds, and ``segments``, the same in samples at 16 kHz; with
    ``probabilities`` also one probability of speech every 10 ms. Raises AudioError if the file cannot be read,
    UsageError for an array without a rate.
    """
    if isinstance(recording, str | PathLike):
        blocks = audio.blocks(recording)
    elif rate is None:
        raise UsageError("an array needs its rate: detect_speech(samples, rate)")
    else:
        blocks = iter([audio.mono(recording, rate)])
    return detect(blocks, parameters, probabilities=probabilities)
