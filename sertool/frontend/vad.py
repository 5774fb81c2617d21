"""Where somebody speaks: a probability every 10 ms, and segments from probabilities.

Two calls, each streaming or at once: what finds the probabilities can be replaced without touching the segments.
"""

from dataclasses import dataclass

import numpy as np

from .filters import SAMPLE_RATE
from .kernel import ISAS, as_samples, available_isas, check, ffi, floats, lib

#: Samples a probability stands for: 10 ms.
FRAME = lib.SER_VAD_FRAME


class Vad:
    """Streaming probabilities of speech: push samples as they come, get those of the frames that can be told.

    16 kHz samples in, float32 [frames] between 0 and 1 out, one per 160 samples; ceil(n / 160) in all, the last frame
    may be cut short. The 0.2 s that follow a frame are heard before it is told. Memory does not depend on the length,
    nor the bits on how the samples are cut into pushes, nor what is found on the level. The network: docs/vad.md.

    isa: a name of sertool.frontend.kernel.ISAS. Raises ValueError for an instruction set that this processor lacks.
    """

    def __init__(self, isa: str = "best"):
        size = lib.ser_vad_size()
        self._memory = ffi.new("unsigned char[]", size)
        state = ffi.new("ser_vad **")
        if isa not in ISAS or lib.ser_vad_init(self._memory, size, ISAS[isa], state) != lib.SER_OK:
            raise ValueError(
                f"instruction set {isa!r} is not to be had here (there are: {', '.join(available_isas())})"
            )
        self._state = state[0]

    def push(self, samples) -> np.ndarray:
        """Take float32 [n] in, return [frames]; ValueError on NaN or infinity, and nothing was taken."""
        samples = as_samples(samples)
        out, written = np.empty(lib.ser_vad_ready(self._state, len(samples)), np.float32), ffi.new("size_t *")
        check(lib.ser_vad_push(self._state, floats(samples), len(samples), floats(out), len(out), written))
        return out

    def finish(self) -> np.ndarray:
        """The probabilities [frames] still missing; then ready for another recording."""
        out, written = np.empty(lib.SER_VAD_REST, np.float32), ffi.new("size_t *")
        check(lib.ser_vad_finish(self._state, floats(out), len(out), written))
        return out[: written[0]].copy()


def probabilities(samples) -> np.ndarray:
    """Probabilities of speech, float32 [ceil(n / 160)], of float32 [n], 16 kHz: those of Vad, bit for bit.

    Raises ValueError on NaN or infinity.
    """
    vad = Vad()
    return np.concatenate([vad.push(samples), vad.finish()])


@dataclass(frozen=True)
class Parameters:
    """What makes a segment of probabilities: speech begins at ``threshold`` and ends below ``lower``; the rest in s.

    An end counts once ``shortest_silence_s`` have passed since without reaching the threshold again. Segments shorter
    than ``shortest_speech_s`` are dropped, the others lengthened by ``padding_s`` on both sides, at most to the middle
    of a pause. Raises ValueError unless 0 <= lower <= threshold <= 1 and no time is negative.
    """

    threshold: float = 0.5
    lower: float = 0.35
    shortest_speech_s: float = 0.25
    shortest_silence_s: float = 0.1
    padding_s: float = 0.03

    def __post_init__(self):
        if not 0 <= self.lower <= self.threshold <= 1:
            raise ValueError(
                f"thresholds: 0 <= {self.lower} (lower) <= {self.threshold} (threshold) <= 1 does not hold"
            )
        if not min(self.shortest_speech_s, self.shortest_silence_s, self.padding_s) >= 0:
            raise ValueError(f"times must be 0 or more: {self}")


class Segmenter:
    """Streaming segments of speech, (start, end) in samples: in order, without overlaps, however they are pushed.

    The rules are those of silero-vad's get_speech_timestamps (without its limit on a segment's length): what runs at
    the end of the recording ends there. A segment is given as soon as its end is certain.
    """

    def __init__(self, parameters: Parameters = Parameters()):
        self.parameters = parameters
        times = (parameters.shortest_speech_s, parameters.shortest_silence_s, parameters.padding_s)
        self._speech, self._silence, self._padding = (round(time * SAMPLE_RATE) for time in times)
        self._reset()

    def _reset(self) -> None:
        self._position = 0
        self._start = self._end = None  # of the segment that runs; its end is set while it is not certain
        self._held = None  # the last segment, as long as the next may begin too near for all of its padding

    @property
    def uncertain(self) -> int:
        """The first sample that a segment still to come may have."""
        if self._held:
            return self._held[0]
        return max(0, (self._position if self._start is None else self._start) - self._padding)

    def push(self, probabilities) -> list[tuple[int, int]]:
        """Take [frames] in, return the segments that became certain."""
        done = []
        for probability in np.asarray(probabilities).tolist():
            if probability >= self.parameters.threshold:
                self._end = None
                if self._start is None:
                    self._start = self._position
            elif probability < self.parameters.lower and self._start is not None:
                if self._end is None:
                    self._end = self._position
                if self._position - self._end >= self._silence:
                    done += self._close(self._end)
            self._position += FRAME
        if self._held:
            start, end = self._held
            if (self._position if self._start is None else self._start) - end >= 2 * self._padding:
                done.append((start, end + self._padding))
                self._held = None
        return done

    def finish(self, length: int | None = None) -> list[tuple[int, int]]:
        """The rest, for a recording of ``length`` samples (left out: whole frames); then ready for another one.

        ValueError if so many samples do not make as many frames as were pushed.
        """
        length = self._position if length is None else length
        if -(-length // FRAME) * FRAME != self._position:
            raise ValueError(f"{length} samples are not the {self._position // FRAME} frames pushed")
        done = self._close(length) if self._start is not None else []
        if self._held:
            start, end = self._held
            done.append((start, min(length, end + self._padding)))
        self._reset()
        return done

    def _close(self, end: int) -> list[tuple[int, int]]:
        """End the segment that runs; the one before it, if it was held."""
        start, self._start, self._end = self._start, None, None
        if end - start < self._speech:
            return []
        if self._held is None:
            self._held = max(0, start - self._padding), end
            return []
        held_start, held_end = self._held
        margin = min(self._padding, (start - held_end) // 2)
        self._held = start - margin, end
        return [(held_start, held_end + margin)]


def segments(probabilities, parameters: Parameters = Parameters(), samples: int | None = None) -> list[tuple[int, int]]:
    """Segments (start, end) in samples of the probabilities [frames] of a whole recording of so many samples.

    The rules are Segmenter's. Raises ValueError if so many samples do not make as many frames.
    """
    segmenter = Segmenter(parameters)
    return segmenter.push(probabilities) + segmenter.finish(samples)
