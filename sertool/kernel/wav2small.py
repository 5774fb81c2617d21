"""Wav2Small in C: weights and samples to outputs."""

import numpy as np

from sertool.kernel import ISAS, as_samples, available_isas, check, ffi, floats, lib


class Engine:
    """A network of the C kernel; working memory does not depend on the length of the recording.

    ``weights``: a container (sertool.bundle.container), which is kept and not copied; engines may share it. One thread
    at a time may use an engine. isa: a name of sertool.kernel.ISAS. Raises ValueError for weights of no
    network that the kernel has, and for an instruction set that this processor lacks.
    """

    def __init__(self, weights: bytes, isa: str = "best"):
        if isa not in ISAS or not lib.ser_isa_available(ISAS[isa]):
            raise ValueError(
                f"instruction set {isa!r} is not to be had here (there are: {', '.join(available_isas())})"
            )
        self._weights = ffi.from_buffer(weights)
        size = lib.ser_wav2small_size(self._weights, len(weights), ISAS[isa])
        if not size:
            raise ValueError("not the weights of a network that this sertool has in C")
        self.memory = size  #: Bytes that it works in, beside the weights.
        self._memory = ffi.new("unsigned char[]", size)
        engine = ffi.new("ser_wav2small **")
        check(lib.ser_wav2small_init(self._memory, size, self._weights, len(weights), ISAS[isa], engine))
        self._engine = engine[0]
        self.outputs, self.passes = lib.ser_wav2small_outputs(self._engine), lib.ser_wav2small_passes(self._engine)

    def run(self, samples) -> np.ndarray:
        """Outputs float32 [outputs] for float32 [n] at 16 kHz; ValueError on NaN, infinity, or below 33 samples."""
        samples, out = as_samples(samples), np.empty(self.outputs, np.float32)
        check(lib.ser_wav2small_run(self._engine, floats(samples), len(samples), floats(out)))
        return out

    def push(self, samples) -> None:
        """Take float32 [n] in. A recording is pushed ``passes`` times, whole, with a ``next`` after each time.

        ValueError on NaN or infinity, and for more samples than there were the first time.
        """
        samples = as_samples(samples)
        check(lib.ser_wav2small_push(self._engine, floats(samples), len(samples)))

    def next(self) -> None:
        """End a pass; ValueError if it was shorter than 33 samples or than the first."""
        check(lib.ser_wav2small_next(self._engine))

    def finish(self) -> np.ndarray:
        """Outputs float32 [outputs] after the last pass; then ready for another recording. ValueError before that."""
        out = np.empty(self.outputs, np.float32)
        check(lib.ser_wav2small_finish(self._engine, floats(out)))
        return out

    def reset(self) -> None:
        """Forget what was pushed."""
        lib.ser_wav2small_reset(self._engine)
