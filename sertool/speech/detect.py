"""When somebody speaks in a recording."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from sertool.features.mel import SAMPLE_RATE
from sertool.speech.detector import Vad
from sertool.speech.segments import Parameters, Segmenter

#: Peak below which there is nothing to label: -80 dB under full scale, where 16-bit dither lives.
SILENCE = 1e-4
SILENT = "silent: nothing above -80 dB full scale"


@dataclass(frozen=True)
class Detected:
    """Speech in a recording of so many ``samples`` at 16 kHz: ``segments`` (start, end), in order, in samples.

    Of a silent one there are none. ``probabilities`` are float32 [ceil(samples / 160)], if they were asked for.
    """

    segments: list[tuple[int, int]]
    samples: int
    silent: bool
    probabilities: np.ndarray | None = None

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.samples / SAMPLE_RATE

    @property
    def speech(self) -> float:
        """Seconds of speech."""
        return sum(end - start for start, end in self.segments) / SAMPLE_RATE


def detect(
    blocks: Iterable[np.ndarray], parameters: Parameters | None = None, *, probabilities: bool = False
) -> Detected:
    """Speech in a recording, float32 [n] blocks at 16 kHz, in memory that does not depend on its length.

    With ``probabilities`` these are kept: 1.4 MB an hour. What decoding raises passes through.
    """
    vad, segmenter = Vad(), Segmenter(parameters or Parameters())
    segments, course, samples, loudest = [], [], 0, 0.0

    def take(told: np.ndarray) -> None:
        segments.extend(segmenter.push(told))
        if probabilities:
            course.append(told)

    for block in blocks:
        samples, loudest = samples + len(block), max(loudest, peak(block))
        take(vad.push(block))
    take(vad.finish())
    segments += segmenter.finish(samples)
    silent = loudest < SILENCE
    return Detected([] if silent else segments, samples, silent, np.concatenate(course) if probabilities else None)


def peak(samples: np.ndarray) -> float:
    """The largest absolute value of float32 [n]; 0 of none."""
    return max(float(samples.max(initial=0)), -float(samples.min(initial=0)))
