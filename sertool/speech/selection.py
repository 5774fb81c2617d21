"""Select the audio to label: short recordings whole, speech only in long ones, with its position."""

import itertools
from bisect import bisect_left, bisect_right
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


class SpeechTrack:
    """Streaming segments of speech, (start, end) in samples, in order: push samples, get segments that became certain.

    A segment of more than a minute is passed on in parts. All speech before sample ``certain`` has been returned.
    """

    def __init__(self, parameters: Parameters | None = None) -> None:
        self._vad, self._segmenter = Vad(), Segmenter(parameters or Parameters())
        self._origin = self._frames = self._samples = 0
        self.certain = 0
        self.probabilities = np.zeros(0, np.float32)  # of the frames that the last call completed

    def push(self, samples: Samples) -> list[tuple[int, int]]:
        """Process float32 [n]; return the segments that became certain."""
        self._samples += len(samples)
        result = self._pushed(self._vad.push(samples))
        if self._frames * FRAME - self._segmenter.uncertain > _LONGEST:
            result += self._moved(self._segmenter.finish())
            self._origin, self._frames = self._origin + self._frames * FRAME, 0
        self.certain = self._origin + self._segmenter.uncertain
        return result

    def finish(self) -> list[tuple[int, int]]:
        """Return the remaining segments of the recording."""
        result = self._pushed(self._vad.finish())
        result += self._moved(self._segmenter.finish(self._samples - self._origin))
        self.certain = self._samples
        return result

    def _pushed(self, probabilities: Samples) -> list[tuple[int, int]]:
        self.probabilities = probabilities
        self._frames += len(probabilities)
        return self._moved(self._segmenter.push(probabilities))

    def _moved(self, segments: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return [(self._origin + start, self._origin + end) for start, end in segments]


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
        held, start, passed = np.zeros(0, np.float32), 0, 0  # the undecided samples, from `start` on
        track = SpeechTrack(self._parameters)

        def stretch(begin: int, end: int) -> Samples:
            nonlocal passed
            self._passed.append(passed)
            self._from.append(begin)
            passed += end - begin
            self.seconds += (end - begin) / SAMPLE_RATE
            self.heard = True
            return held[begin - start : end - start]

        for block in self._all(first):
            held = np.concatenate([held, block])
            for begin, end in track.push(block):
                yield stretch(begin, end)
            keep = max(start, track.certain)
            held, start = held[keep - start :], keep
        for begin, end in track.finish():
            yield stretch(begin, end)

    def _all(self, first: list[Samples]) -> Iterator[Samples]:
        for block in itertools.chain(first, self._blocks):
            self.peak = max(self.peak, peak(block))
            yield block


class WindowedSpeech:
    """Blocks of a recording, unchanged, and the speech in windows of it; iterate over it once.

    All is known about windows that end before sample ``certain``. What lies before the last window asked for is
    forgotten, so that memory does not depend on the recording.
    """

    def __init__(self, blocks: Iterable[Samples], parameters: Parameters | None = None) -> None:
        self._blocks, self._lower = blocks, (parameters or Parameters()).lower
        self._track = SpeechTrack(parameters)
        self._segments: list[tuple[int, int]] = []
        self._likely: list[int] = []  # frames that may be speech
        self._frames = self._samples = 0
        self._varies = False  # whether the recording is more than a constant signal
        self.certain = 0

    def __iter__(self) -> Iterator[Samples]:
        for block in self._blocks:
            self._samples += len(block)
            self._take(self._track.push(block))
            yield block
        self._take(self._track.finish())
        self.certain = self._samples

    def within(self, start: int, end: int) -> tuple[float, bool]:
        """Return (seconds of speech, whether there may be speech) in a window, whose start never decreases.

        In a recording of up to a second, any sound may be speech.
        """
        self._segments = [segment for segment in self._segments if segment[1] > start]
        del self._likely[: bisect_left(self._likely, start // FRAME)]
        speech = sum(max(0, min(end, stop) - max(start, begin)) for begin, stop in self._segments) / SAMPLE_RATE
        heard = bool(self._likely) and self._likely[0] * FRAME < end
        return speech, heard or (self._samples <= TELLING and self._varies)

    def _take(self, segments: list[tuple[int, int]]) -> None:
        self._segments += segments
        probabilities = self._track.probabilities
        self._likely += (self._frames + np.flatnonzero(probabilities >= self._lower)).tolist()
        self._varies |= bool((probabilities >= np.finfo(np.float32).tiny).any())
        self._frames += len(probabilities)
        if self._samples > TELLING:  # before, it may be a recording of up to a second
            self.certain = self._track.certain
