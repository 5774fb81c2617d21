"""Mean and scale of a recording in one pass."""

import numpy.typing as npt

from sertool.kernel import as_samples, check, ffi, floats, lib


class Statistics:
    """Running mean and scale, so that a second pass can normalise while streaming.

    The result has the same bits however the samples are split into pushes. Definition: docs/numerics.md, utterance
    normalisation.
    """

    def __init__(self) -> None:
        self._state = ffi.new("ser_statistics *")
        lib.ser_statistics_init(self._state)

    def push(self, samples: npt.ArrayLike) -> None:
        """Process float32 [n]. Raise ValueError on NaN or infinity."""
        samples = as_samples(samples)
        check(lib.ser_statistics_push(self._state, floats(samples), len(samples)))

    def finish(self) -> tuple[float, float]:
        """Return (mean, scale): (x - mean) * scale has mean 0, variance 1. Raise ValueError if nothing was pushed."""
        mean, scale = ffi.new("float *"), ffi.new("float *")
        check(lib.ser_statistics_finish(self._state, mean, scale))
        return mean[0], scale[0]
