"""LogMel from the C kernel."""

import numpy as np

from sertool.features.mel import geometry
from sertool.features.statistics import Statistics
from sertool.kernel import ISAS, as_samples, available_isas, check, ffi, floats, lib


class LogMel:
    """Streaming LogMel: push samples as they come, get the frames that they complete.

    16 kHz samples in, frames [frames, n_mels] float32 in dB out; working memory does not depend on the length. The
    frames have the same bits however the samples are cut into pushes. Definition: docs/numerics.md.

    n_fft: 64 (hop 32, 26 mels) or 144 (hop 72, 58 mels). isa: a name of sertool.kernel.ISAS.
    Raises ValueError for an unknown n_fft or an instruction set that this processor lacks.
    """

    def __init__(self, n_fft: int = 64, isa: str = "best"):
        self.geometry = geometry(n_fft)
        size = lib.ser_logmel_size(n_fft)
        self._memory = ffi.new("unsigned char[]", size)
        state = ffi.new("ser_logmel **")
        if isa not in ISAS or lib.ser_logmel_init(self._memory, size, n_fft, ISAS[isa], state) != lib.SER_OK:
            raise ValueError(
                f"instruction set {isa!r} is not to be had here (there are: {', '.join(available_isas())})"
            )
        self._state = state[0]

    def normalise(self, mean: float, scale: float) -> None:
        """Turn what is pushed from now on into (x - mean) * scale; ValueError unless both are finite."""
        check(lib.ser_logmel_normalise(self._state, mean, scale))

    def push(self, samples) -> np.ndarray:
        """Take float32 [n] in, return [frames, n_mels]; ValueError on NaN or infinity, and nothing was taken."""
        samples = as_samples(samples)
        out = self._rows(lib.ser_logmel_ready(self._state, len(samples)))
        self._push(samples, out)
        return out

    def finish(self) -> np.ndarray:
        """The last frame [1, n_mels], which reaches over the end; then ready for another recording.

        ValueError if the recording was shorter than n_fft // 2 + 1 samples; then, too, the next one may begin.
        """
        out = self._rows(1)
        check(lib.ser_logmel_finish(self._state, floats(out)))
        return out

    def _rows(self, frames: int) -> np.ndarray:
        return np.empty((frames, self.geometry.n_mels), np.float32)

    def _push(self, samples: np.ndarray, out: np.ndarray) -> None:
        written = ffi.new("size_t *")
        check(lib.ser_logmel_push(self._state, floats(samples), len(samples), floats(out), len(out), written))


def logmel(samples, n_fft: int = 64, normalise: bool = False, isa: str = "best") -> np.ndarray:
    """LogMel [1 + n // hop, n_mels] in dB of float32 [n], 16 kHz, normalised to unit variance first if asked.

    Raises ValueError on NaN, infinity, or fewer than n_fft // 2 + 1 samples.
    """
    samples, kernel = as_samples(samples), LogMel(n_fft, isa)
    if normalise:
        statistics = Statistics()
        statistics.push(samples)
        kernel.normalise(*statistics.finish())
    out = kernel._rows(kernel.geometry.frames(len(samples)))
    kernel._push(samples, out[:-1])
    check(lib.ser_logmel_finish(kernel._state, floats(out[-1:])))
    return out
