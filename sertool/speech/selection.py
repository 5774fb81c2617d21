"""Select the audio to label: short recordings whole, speech only in long ones, with its position."""

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator

import numpy as np

from sertool._types import Samples
from sertool.features.mel import SAMPLE_RATE
from sertool.speech.detection import detect, peak
from sertool.speech.detector import FRAME, Vad
from sertool.speech.segmenter import Parameters, Segmenter

#: Longer recordings are checked for speech with the detector. It misses too many shorter clips of speech (the loudest
#: half second: 5 %, quarter: 24 %): these count as non-speech only if the signal is constant.
TELLING = SAMPLE_RATE
#: Longer segments are passed on in parts, so that memory does not depend on the recording.
_LONGEST = 60 * SAMPLE_RATE


class Speech:
    """Blocks of a recording without non-speech, float32 [n] each, 16 kHz; iterate over it once.

    A recording of up to ``whole`` samples is passed on unchanged. ``seconds`` is the speech found so far, ``time`` maps
    a sample to its position in the recording, ``peak`` is the largest absolute sample so far. ``heard`` is False if
    there cannot be speech: in more than a second, no frame reaches the lower threshold; a shorter recording is a
    constant signal. Memory does not depend on the length.
    """

    def __init__(self, blocks: Iterable[Samples], whole: int, parameters: Parameters | None = None) -> None:
        self._blocks, self._whole = iter(blocks), whole
        self._parameters = parameters or Parameters()
        # For each stretch, the index of its first sample in the output and in the recording.
        self._passed, self._from = [0], [0]
        self.seconds = self.peak = 0.0
        self.cut = False  # whether the recording is longer than `whole`
        self.heard = False

    def __iter__(self) -> Iterator[Samples]:
        first: list[Samples] = []
        for block in self._blocks:
            first.append(block)
            if sum(map(len, first)) > self._whole:
                self.cut = True
                yield from self._stretches(first)
                return
        self._measure(first)
        yield from first

    def time(self, sample: int) -> int:
        """Return the index in the recording of output sample ``sample``."""
        at = bisect_right(self._passed, sample) - 1
        return self._from[at] + sample - self._passed[at]

    def _measure(self, blocks: list[Samples]) -> None:
        detected = detect(blocks, self._parameters, probabilities=True)
        assert detected.probabilities is not None
        least = self._parameters.lower if detected.samples > TELLING else np.finfo(np.float32).tiny
        self.seconds, self.heard = detected.speech, bool((detected.probabilities >= least).any())
        self.peak = max(map(peak, blocks), default=0.0)

    def _stretches(self, first: list[Samples]) -> Iterator[Samples]:
        held, start = np.zeros(0, np.float32), 0  # the undecided samples, from `start` on
        vad, segmenter, origin, frames, passed = Vad(), Segmenter(self._parameters), 0, 0, 0

        def stretch(begin: int, end: int) -> Samples:
            nonlocal passed
            self._passed.append(passed)
            self._from.append(origin + begin)
            passed += end - begin
            self.seconds += (end - begin) / SAMPLE_RATE
            self.heard = True
            return held[origin + begin - start : origin + end - start]

        def pushed(probabilities: Samples) -> list[tuple[int, int]]:
            nonlocal frames
            frames += len(probabilities)
            return segmenter.push(probabilities)

        for block in self._all(first):
            held = np.concatenate([held, block])
            for begin, end in pushed(vad.push(block)):
                yield stretch(begin, end)
            if frames * FRAME - segmenter.uncertain > _LONGEST:
                for begin, end in segmenter.finish():
                    yield stretch(begin, end)
                origin, frames = origin + frames * FRAME, 0
            keep = max(start, origin + segmenter.uncertain)
            held, start = held[keep - start :], keep
        for begin, end in pushed(vad.finish()) + segmenter.finish(start + len(held) - origin):
            yield stretch(begin, end)

    def _all(self, first: list[Samples]) -> Iterator[Samples]:
        for block in itertools.chain(first, self._blocks):
            self.peak = max(self.peak, peak(block))
            yield block
