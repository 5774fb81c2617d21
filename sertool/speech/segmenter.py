"""Turn probabilities every 10 ms into segments of speech with the C kernel, streaming or in one call."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sertool._types import Samples
from sertool.kernel import check, ffi, floats, lib
from sertool.speech.detector import FRAME

_DEFAULT = lib.ser_vad_parameters_default()
_LONGEST = 1e9  # seconds


@dataclass(frozen=True)
class Parameters:
    """Segmentation rules: speech begins at probability ``threshold`` and ends below ``lower``; times in seconds.

    An end counts once ``shortest_silence_s`` have passed without reaching the threshold again. Segments shorter than
    ``shortest_speech_s`` are dropped, the others are extended by ``padding_s`` on both sides, at most to the middle of
    a pause. ``detect`` splits segments longer than ``longest_speech_s``, where speech is least probable. Raises
    ValueError unless 0 <= lower <= threshold <= 1, the times are 0 to 1e9 and the longest speech is at least 0.1 s.
    """

    threshold: float = _DEFAULT.threshold
    lower: float = _DEFAULT.lower
    shortest_speech_s: float = _DEFAULT.shortest_speech_s
    shortest_silence_s: float = _DEFAULT.shortest_silence_s
    padding_s: float = _DEFAULT.padding_s
    longest_speech_s: float = math.inf

    def __post_init__(self) -> None:
        if not 0 <= self.lower <= self.threshold <= 1:
            raise ValueError(
                f"thresholds must be 0 <= lower <= threshold <= 1; lower is {self.lower}, threshold {self.threshold}"
            )
        times = (self.shortest_speech_s, self.shortest_silence_s, self.padding_s)
        if not all(0 <= time <= _LONGEST for time in times):
            raise ValueError(f"times must be 0 to {_LONGEST:g} s: {self}")
        if not self.longest_speech_s >= 0.1:
            raise ValueError(f"the longest speech must be at least 0.1 s, not {self.longest_speech_s:g}")


class Segmenter:
    """Streaming segments of speech, (start, end) in samples, in order, without overlaps.

    The result does not depend on how the probabilities are split into pushes. The rules are those of silero-vad's
    get_speech_timestamps, without its limit on a segment's length: speech at the end of the recording ends there. A
    segment is returned as soon as its end is certain.
    """

    def __init__(self, parameters: Parameters = Parameters()) -> None:
        self._state = ffi.new("ser_segmenter *")
        values = {name: value for name, value in vars(parameters).items() if name != "longest_speech_s"}
        check(lib.ser_segmenter_init(self._state, ffi.new("ser_vad_parameters *", values)))

    @property
    def uncertain(self) -> int:
        """Return the earliest sample that a future segment may contain."""
        sample: int = lib.ser_segmenter_uncertain(self._state)
        return sample

    def push(self, probabilities: npt.ArrayLike) -> list[tuple[int, int]]:
        """Process [frames] and return the segments that became certain. Raise ValueError unless each is 0 to 1."""
        array = np.ascontiguousarray(probabilities, np.float32)
        if array.ndim != 1:
            raise ValueError(f"probabilities must be [frames], not {list(array.shape)}")
        n = len(array)
        result, written = ffi.new("ser_segment[]", n // 2 + 2), ffi.new("size_t *")
        check(lib.ser_segmenter_push(self._state, floats(array), n, result, len(result), written))
        return _pairs(result, written)

    def finish(self, length: int | None = None) -> list[tuple[int, int]]:
        """Return the remaining segments of a recording of ``length`` samples (default: whole frames), and reset.

        Raises ValueError if ``length`` does not match the number of frames pushed.
        """
        pushed: int = self._state.position
        length = pushed if length is None else length
        if -(-length // FRAME) * FRAME != pushed:
            raise ValueError(f"{length} samples do not match the {pushed // FRAME} frames pushed")
        result, written = ffi.new("ser_segment[2]"), ffi.new("size_t *")
        check(lib.ser_segmenter_finish(self._state, length, result, written))
        return _pairs(result, written)


def segments(
    probabilities: npt.ArrayLike, parameters: Parameters = Parameters(), samples: int | None = None
) -> list[tuple[int, int]]:
    """Return segments (start, end) in samples for the probabilities [frames] of a recording of ``samples`` samples.

    The rules are those of Segmenter. Raises ValueError if ``samples`` does not match the number of frames.
    """
    segmenter = Segmenter(parameters)
    return segmenter.push(probabilities) + segmenter.finish(samples)


def split(segment: tuple[int, int], probabilities: Samples, longest: int) -> list[tuple[int, int]]:
    """Split a segment (start, end) in samples into parts of at most ``longest`` samples.

    ``probabilities`` are those of the recording, [frames]. Each part but the last ends in the second half of the
    longest time, at the frame in which speech is least probable (the latest of several), averaged over 0.1 s. The last
    two are at least a quarter of the longest time.
    """
    start, end = segment
    parts = []
    while end - start > longest:
        least, most = start + longest // 2, start + longest
        if end - start < longest * 3 // 2:
            least, most = max(start + longest // 4, end - longest), min(most, end - longest // 4)
        first, last = least // FRAME + 1, most // FRAME
        wide = probabilities[max(0, first - 5) : last + 5]
        smooth = np.convolve(wide, np.full(10, 0.1, np.float32), "same")[first - max(0, first - 5) :][: last - first]
        cut = (first + len(smooth) - 1 - int(np.argmin(smooth[::-1]))) * FRAME if len(smooth) else start + longest
        parts.append((start, cut))
        start = cut
    return [*parts, (start, end)]


def _pairs(array: Any, written: Any) -> list[tuple[int, int]]:
    return [(array[i].start, array[i].end) for i in range(written[0])]
