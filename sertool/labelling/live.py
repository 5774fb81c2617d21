"""Label audio while it comes: a row every hop, or for each stretch of speech as soon as it has ended."""

import numpy as np

from sertool._types import Samples
from sertool.audio import SAMPLE_RATE
from sertool.errors import UsageError
from sertool.labelling.labeller import NO_SPEECH, Labeller
from sertool.labelling.labels import Labels
from sertool.segments import Segment
from sertool.speech.detection import SILENCE, SILENT, peak
from sertool.speech.detector import FRAME, Vad
from sertool.speech.segmenter import Parameters
from sertool.speech.selection import SpeechTrack

#: Seconds of a live window, of a hop, and of the first row.
SHORTEST_S, LONGEST_S, SHORTEST_HOP_S, FIRST_S = 1.0, 30.0, 0.05, 1.0


class LiveWindows:
    """A row every ``hop`` seconds about the last ``labeller.window`` seconds, from the first second on.

    ``push`` takes float32 [n] at 16 kHz and returns the rows that became due, in order. A row has the labels of its
    window as `Labeller.label` gives them without speech detection, or the reason why it has none; ``speech`` is the
    speech in it. Memory does not grow. Times count samples, so they do not drift. Raises UsageError for a window
    that is not 1 to 30 s.
    """

    def __init__(self, labeller: Labeller) -> None:
        if not SHORTEST_S <= labeller.window <= LONGEST_S:
            raise UsageError(f"--window {labeller.window:g}: live windows have {SHORTEST_S:g} to {LONGEST_S:g} s")
        if labeller.hop < SHORTEST_HOP_S:
            raise UsageError(f"--hop {labeller.hop:g}: at least {SHORTEST_HOP_S:g} s")
        self._labeller, self._hop = labeller, round(labeller.hop * SAMPLE_RATE)
        self._held = np.zeros(round(labeller.window * SAMPLE_RATE), np.float32)
        self._parameters = Parameters()
        self._vad = Vad() if labeller.vad else None
        self._frames = np.zeros(-(-len(self._held) // FRAME), np.float32)
        self._known = 0  # frames of them that are probabilities
        self.samples = 0  #: Samples so far.
        self._due = max(self._hop, round(FIRST_S * SAMPLE_RATE))

    def push(self, samples: Samples) -> list[Labels]:
        """Process float32 [n] at 16 kHz; return the rows that became due."""
        rows = []
        while len(samples):
            part, samples = np.split(samples, [min(self._due - self.samples, len(self._held))])
            _shift(self._held, part)
            if self._vad:
                found = self._vad.push(part)
                _shift(self._frames, found)
                self._known = min(self._known + len(found), len(self._frames))
            self.samples += len(part)
            if self.samples == self._due:
                rows.append(self._row())
                self._due += self._hop
        return rows

    def finish(self) -> list[Labels]:
        """Return the rows of the end of the input: none."""
        return []

    def _row(self) -> Labels:
        length = min(self.samples, len(self._held))
        start, samples = self.samples - length, self._held[len(self._held) - length :].copy()
        if self._vad is None:
            return self._labeller.labelled(start, self.samples, samples)
        frames = self._frames[len(self._frames) - self._known :]
        speech = float((frames >= self._parameters.threshold).sum()) * FRAME / SAMPLE_RATE
        if not (frames >= self._parameters.lower).any():
            error = SILENT if peak(samples) < SILENCE else NO_SPEECH
            return self._labeller.failed(start, self.samples, error).replace(speech=speech)
        return self._labeller.labelled(start, self.samples, samples).replace(speech=speech)


class LiveSegments:
    """A row for each stretch of speech, as soon as its end is certain: 0.3 s after it, or more after a short pause.

    Methods as LiveWindows. A stretch of more than a minute has a row for each minute; the last one ends with the input.
    Only the speech that is not decided yet is held.
    """

    def __init__(self, labeller: Labeller) -> None:
        self._labeller, self._track = labeller, SpeechTrack()
        self._held, self._from = np.zeros(0, np.float32), 0
        self.samples = 0

    def push(self, samples: Samples) -> list[Labels]:
        """Process float32 [n] at 16 kHz; return the rows of speech that has ended."""
        self._held = np.concatenate([self._held, samples])
        self.samples += len(samples)
        rows = [self._row(*segment) for segment in self._track.push(samples)]
        drop = max(0, self._track.certain - self._from)
        self._held, self._from = self._held[drop:], self._from + drop
        return rows

    def finish(self) -> list[Labels]:
        """Return the row of speech that the end of the input cut off, if there is any."""
        return [self._row(*segment) for segment in self._track.finish()]

    def _row(self, start: int, end: int) -> Labels:
        samples = self._held[start - self._from : end - self._from]
        (row,) = self._labeller.segments(samples, [Segment(0.0, len(samples) / SAMPLE_RATE)], SAMPLE_RATE)
        return row.replace(start=start / SAMPLE_RATE, end=end / SAMPLE_RATE)


def _shift(array: Samples, values: Samples) -> None:
    """Move the values of an array forward, and put new ones at its end."""
    values = values[max(0, len(values) - len(array)) :]
    if len(values):
        array[: len(array) - len(values)] = array[len(values) :].copy()
        array[len(array) - len(values) :] = values
