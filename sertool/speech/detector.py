"""How likely it is that somebody speaks, every 10 ms; what makes segments of it (segments.py) does not know how."""

import numpy as np

from sertool.kernel import ISAS, as_samples, available_isas, check, ffi, floats, lib

#: Samples a probability stands for: 10 ms.
FRAME = lib.SER_VAD_FRAME


class Vad:
    """Streaming probabilities of speech: push samples as they come, get those of the frames that can be told.

    16 kHz samples in, float32 [frames] between 0 and 1 out, one per 160 samples; ceil(n / 160) in all, the last frame
    may be cut short. The 0.2 s that follow a frame are heard before it is told. Memory does not depend on the length,
    nor the bits on how the samples are cut into pushes, nor what is found on the level. The network: docs/vad.md.

    isa: a name of sertool.kernel.ISAS. Raises ValueError for an instruction set that this processor lacks.
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
