"""Bindings of the C engine of Wav2Small: weights and samples to outputs."""

import numpy as np
import numpy.typing as npt

from sertool._types import Samples
from sertool.kernel import ISAS, as_samples, check, ffi, floats, isa_error, lib

#: Values of an embedding.
WIDTH = 169


class Engine:
    """A network of the C kernel; its working memory does not depend on the length of the recording.

    ``weights``: a container (sertool.bundle.container), which is referenced, not copied; engines may share it. An
    engine is not thread-safe. isa: a name of sertool.kernel.ISAS. Raises ValueError if the weights are not those of a
    network that the kernel supports, or if the CPU lacks the instruction set.
    """

    def __init__(self, weights: bytes, isa: str = "best") -> None:
        if isa not in ISAS or not lib.ser_isa_available(ISAS[isa]):
            raise isa_error(isa)
        self._weights = ffi.from_buffer(weights)
        size: int = lib.ser_wav2small_size(self._weights, len(weights), ISAS[isa])
        if not size:
            raise ValueError("not the weights of a network that sertool's C engine supports")
        self.memory = size  #: Bytes of working memory, without the weights.
        self._memory = ffi.new("unsigned char[]", size)
        engine = ffi.new("ser_wav2small **")
        check(lib.ser_wav2small_init(self._memory, size, self._weights, len(weights), ISAS[isa], engine))
        self._engine = engine[0]
        self.outputs: int = lib.ser_wav2small_outputs(self._engine)
        self.passes: int = lib.ser_wav2small_passes(self._engine)

    def run(self, samples: npt.ArrayLike) -> Samples:
        """Return float32 [outputs] for float32 [n] at 16 kHz. Raise ValueError on NaN, infinity or n < 33."""
        return self.run_both(samples)[0]

    def run_both(self, samples: npt.ArrayLike) -> tuple[Samples, Samples]:
        """Return (outputs [outputs], ``embedding``) like ``run``."""
        samples = as_samples(samples)
        self.reset()
        for _ in range(self.passes):
            self.push(samples)
            self.next()
        embedding = self.embedding()
        return self.finish(), embedding

    def push(self, samples: npt.ArrayLike) -> None:
        """Process float32 [n]. Push the whole recording ``passes`` times and call ``next`` after each pass.

        Raises ValueError on NaN or infinity, and if a pass has more samples than the first one.
        """
        samples = as_samples(samples)
        check(lib.ser_wav2small_push(self._engine, floats(samples), len(samples)))

    def next(self) -> None:
        """End a pass. Raise ValueError if it was shorter than 33 samples or than the first pass."""
        check(lib.ser_wav2small_next(self._engine))

    def embedding(self) -> Samples:
        """Return the pooled tokens, float32 [169], after the last pass. Raise ValueError before it."""
        out = np.empty(WIDTH, np.float32)
        check(lib.ser_wav2small_embedding(self._engine, floats(out)))
        return out

    def finish(self) -> Samples:
        """Return float32 [outputs] after the last pass and reset the engine. Raise ValueError before the last pass."""
        out = np.empty(self.outputs, np.float32)
        check(lib.ser_wav2small_finish(self._engine, floats(out)))
        return out

    def reset(self) -> None:
        """Discard the pushed samples."""
        lib.ser_wav2small_reset(self._engine)
