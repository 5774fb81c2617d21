"""Bindings of the C kernel's LogMel."""

import numpy as np
import numpy.typing as npt

from sertool._types import Samples
from sertool.features.mel import geometry
from sertool.features.statistics import Statistics
from sertool.kernel import ISAS, as_samples, check, ffi, floats, isa_error, lib


class LogMel:
    """Streaming LogMel: push samples as they arrive, get the frames that they complete.

    Input: 16 kHz samples. Output: frames [frames, n_mels] float32 in dB. Working memory does not depend on the length.
    The frames have the same bits however the samples are split into pushes. Definition: docs/numerics.md.

    n_fft: 64 (hop 32, 26 mels) or 144 (hop 72, 58 mels). isa: a name of sertool.kernel.ISAS.
    Raises ValueError if n_fft is unknown or the CPU lacks the instruction set.
    """

    def __init__(self, n_fft: int = 64, isa: str = "best") -> None:
        self.geometry = geometry(n_fft)
        size = lib.ser_logmel_size(n_fft)
        self._memory = ffi.new("unsigned char[]", size)
        state = ffi.new("ser_logmel **")
        if isa not in ISAS or lib.ser_logmel_init(self._memory, size, n_fft, ISAS[isa], state) != lib.SER_OK:
            raise isa_error(isa)
        self._state = state[0]

    def normalise(self, mean: float, scale: float) -> None:
        """Apply (x - mean) * scale to samples pushed from now on. Raise ValueError unless both are finite."""
        check(lib.ser_logmel_normalise(self._state, mean, scale))

    def push(self, samples: npt.ArrayLike) -> Samples:
        """Process float32 [n] and return [frames, n_mels]. Raise ValueError, without effect, on NaN or infinity."""
        samples = as_samples(samples)
        out = self._rows(lib.ser_logmel_ready(self._state, len(samples)))
        self._push(samples, out)
        return out

    def finish(self) -> Samples:
        """Return the last frame [1, n_mels], which extends beyond the end, and reset for another recording.

        Raises ValueError if the recording was shorter than n_fft // 2 + 1 samples; this resets too.
        """
        out = self._rows(1)
        check(lib.ser_logmel_finish(self._state, floats(out)))
        return out

    def _rows(self, frames: int) -> Samples:
        return np.empty((frames, self.geometry.n_mels), np.float32)

    def _push(self, samples: Samples, out: Samples) -> None:
        written = ffi.new("size_t *")
        check(lib.ser_logmel_push(self._state, floats(samples), len(samples), floats(out), len(out), written))


def logmel(samples: npt.ArrayLike, n_fft: int = 64, normalise: bool = False, isa: str = "best") -> Samples:
    """Return LogMel [1 + n // hop, n_mels] in dB of float32 [n], 16 kHz, optionally normalised to unit variance first.

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
