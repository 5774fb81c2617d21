"""What is heard of a recording: all of a short one, of a long one the speech, and when that was."""

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator

import numpy as np

from sertool.features.mel import SAMPLE_RATE
from sertool.speech.detect import detect, peak
from sertool.speech.detector import FRAME, Vad
from sertool.speech.segments import Parameters, Segmenter

#: Samples beyond which the detector can tell whether anybody speaks. Of shorter clips of speech it misses too many
#: (the loudest half of a second: 5 %, a quarter: 24 %): of these only what stands still is known to be none.
TELLING = SAMPLE_RATE
#: A segment that runs for longer is passed on in parts, so that memory does not depend on the recording.
_LONGEST = 60 * SAMPLE_RATE


class Speech:
    """Blocks of a recording, float32 [n] each, 16 kHz, without what nobody says; iterate over it once.

    A recording of up to ``whole`` samples is passed on as it is. ``seconds`` is the speech found so far, ``time`` says
    where in the recording a sample came from, ``peak`` the largest sample so far. ``heard`` is False if nobody can have
    spoken: of more than a second, not a moment sounds like it; a shorter one stands still. Memory does not depend on
    the length.
    """

    def __init__(self, blocks: Iterable[np.ndarray], whole: int, parameters: Parameters | None = None):
        self._blocks, self._whole = iter(blocks), whole
        self._parameters = parameters or Parameters()
        self._passed, self._from = [0], [0]  # sample passed on -> sample of the recording, where each stretch begins
        self.seconds = self.peak = 0.0
        self.cut = False  # whether the recording is a long one
        self.heard = False

    def __iter__(self) -> Iterator[np.ndarray]:
        first = []
        for block in self._blocks:
            first.append(block)
            if sum(map(len, first)) > self._whole:
                self.cut = True
                yield from self._stretches(first)
                return
        self._measure(first)
        yield from first

    def time(self, sample: int) -> int:
        """The recording's sample that the one passed on as number ``sample`` was."""
        at = bisect_right(self._passed, sample) - 1
        return self._from[at] + sample - self._passed[at]

    def _measure(self, blocks: list[np.ndarray]) -> None:
        found = detect(blocks, self._parameters, probabilities=True)
        least = self._parameters.lower if found.samples > TELLING else np.finfo(np.float32).tiny
        self.seconds, self.heard = found.speech, bool((found.probabilities >= least).any())
        self.peak = max(map(peak, blocks), default=0.0)

    def _stretches(self, first: list[np.ndarray]) -> Iterator[np.ndarray]:
        held, start = np.zeros(0, np.float32), 0  # the samples from `start` on, of which nothing is certain yet
        vad, segmenter, origin, frames, passed = Vad(), Segmenter(self._parameters), 0, 0, 0

        def stretch(begin: int, end: int) -> np.ndarray:
            nonlocal passed
            self._passed.append(passed)
            self._from.append(origin + begin)
            passed += end - begin
            self.seconds += (end - begin) / SAMPLE_RATE
            self.heard = True
            return held[origin + begin - start : origin + end - start]

        def pushed(probabilities):
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

    def _all(self, first: list[np.ndarray]) -> Iterator[np.ndarray]:
        for block in itertools.chain(first, self._blocks):
            self.peak = max(self.peak, peak(block))
            yield block
