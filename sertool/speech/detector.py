"""Probability of speech every 10 ms; segmenter.py turns probabilities into segments, whatever their source."""

import numpy as np
import numpy.typing as npt

from sertool._types import Samples
from sertool.kernel import ISAS, as_samples, check, ffi, floats, isa_error, lib

#: Samples per probability: 10 ms.
FRAME: int = lib.SER_VAD_FRAME


class Vad:
    """Streaming probabilities of speech: push samples as they arrive, get the frames that they complete.

    Input: 16 kHz samples. Output: float32 [frames] between 0 and 1, one per 160 samples, ceil(n / 160) in all; the last
    frame may be shorter. Output is delayed by 0.2 s (look-ahead). Memory does not depend on the length, the bits do not
    depend on how the samples are split into pushes, and the result does not depend on the level. Network: docs/vad.md.

    isa: a name of sertool.kernel.ISAS. Raises ValueError if the CPU lacks the instruction set.
    """

    def __init__(self, isa: str = "best") -> None:
        size = lib.ser_vad_size()
        self._memory = ffi.new("unsigned char[]", size)
        state = ffi.new("ser_vad **")
        if isa not in ISAS or lib.ser_vad_init(self._memory, size, ISAS[isa], state) != lib.SER_OK:
            raise isa_error(isa)
        self._state = state[0]

    def push(self, samples: npt.ArrayLike) -> Samples:
        """Process float32 [n] and return [frames]. Raise ValueError, without effect, on NaN or infinity."""
        samples = as_samples(samples)
        out, written = np.empty(lib.ser_vad_ready(self._state, len(samples)), np.float32), ffi.new("size_t *")
        check(lib.ser_vad_push(self._state, floats(samples), len(samples), floats(out), len(out), written))
        return out

    def finish(self) -> Samples:
        """Return the remaining probabilities [frames] and reset for another recording."""
        out, written = np.empty(lib.SER_VAD_REST, np.float32), ffi.new("size_t *")
        check(lib.ser_vad_finish(self._state, floats(out), len(out), written))
        return out[: written[0]].copy()


def probabilities(samples: npt.ArrayLike) -> Samples:
    """Return probabilities of speech, float32 [ceil(n / 160)], of float32 [n], 16 kHz; same bits as Vad.

    Raises ValueError on NaN or infinity.
    """
    vad = Vad()
    return np.concatenate([vad.push(samples), vad.finish()])
