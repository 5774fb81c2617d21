"""Segments of speech from probabilities every 10 ms, by the C kernel: streaming or at once."""

from dataclasses import dataclass

import numpy as np

from sertool.kernel import check, ffi, floats, lib
from sertool.speech.detector import FRAME

_DEFAULT = lib.ser_vad_parameters_default()
_LONGEST = 1e9  # seconds


@dataclass(frozen=True)
class Parameters:
    """What makes a segment of probabilities: speech begins at ``threshold`` and ends below ``lower``; the rest in s.

    An end counts once ``shortest_silence_s`` have passed since without reaching the threshold again. Segments shorter
    than ``shortest_speech_s`` are dropped, the others lengthened by ``padding_s`` on both sides, at most to the middle
    of a pause. Raises ValueError unless 0 <= lower <= threshold <= 1 and the times are 0 to 1e9.
    """

    threshold: float = _DEFAULT.threshold
    lower: float = _DEFAULT.lower
    shortest_speech_s: float = _DEFAULT.shortest_speech_s
    shortest_silence_s: float = _DEFAULT.shortest_silence_s
    padding_s: float = _DEFAULT.padding_s

    def __post_init__(self):
        if not 0 <= self.lower <= self.threshold <= 1:
            raise ValueError(
                f"thresholds: 0 <= {self.lower} (lower) <= {self.threshold} (threshold) <= 1 does not hold"
            )
        times = (self.shortest_speech_s, self.shortest_silence_s, self.padding_s)
        if not all(0 <= time <= _LONGEST for time in times):
            raise ValueError(f"times must be 0 to {_LONGEST:g} s: {self}")


class Segmenter:
    """Streaming segments of speech, (start, end) in samples: in order, without overlaps, however they are pushed.

    The rules are those of silero-vad's get_speech_timestamps (without its limit on a segment's length): what runs at
    the end of the recording ends there. A segment is given as soon as its end is certain.
    """

    def __init__(self, parameters: Parameters = Parameters()):
        self._state = ffi.new("ser_segmenter *")
        check(lib.ser_segmenter_init(self._state, ffi.new("ser_vad_parameters *", vars(parameters))))

    @property
    def uncertain(self) -> int:
        """The first sample that a segment still to come may have."""
        return lib.ser_segmenter_uncertain(self._state)

    def push(self, probabilities) -> list[tuple[int, int]]:
        """Take [frames] in, return the segments that became certain; ValueError unless each is 0 to 1."""
        probabilities = np.ascontiguousarray(probabilities, np.float32)
        if probabilities.ndim != 1:
            raise ValueError(f"probabilities must be [frames], not {list(probabilities.shape)}")
        n = len(probabilities)
        found, written = ffi.new("ser_segment[]", n // 2 + 2), ffi.new("size_t *")
        check(lib.ser_segmenter_push(self._state, floats(probabilities), n, found, len(found), written))
        return _pairs(found, written)

    def finish(self, length: int | None = None) -> list[tuple[int, int]]:
        """The rest, for a recording of ``length`` samples (left out: whole frames); then ready for another one.

        ValueError if so many samples do not make as many frames as were pushed.
        """
        pushed = self._state.position
        length = pushed if length is None else length
        if -(-length // FRAME) * FRAME != pushed:
            raise ValueError(f"{length} samples are not the {pushed // FRAME} frames pushed")
        found, written = ffi.new("ser_segment[2]"), ffi.new("size_t *")
        check(lib.ser_segmenter_finish(self._state, length, found, written))
        return _pairs(found, written)


def segments(probabilities, parameters: Parameters = Parameters(), samples: int | None = None) -> list[tuple[int, int]]:
    """Segments (start, end) in samples of the probabilities [frames] of a whole recording of so many samples.

    The rules are Segmenter's. Raises ValueError if so many samples do not make as many frames.
    """
    segmenter = Segmenter(parameters)
    return segmenter.push(probabilities) + segmenter.finish(samples)


def _pairs(found, written) -> list[tuple[int, int]]:
    return [(found[i].start, found[i].end) for i in range(written[0])]
