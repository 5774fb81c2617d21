"""What the bindings share: the compiled kernel, its status codes as exceptions, numpy arrays as pointers."""

import numpy as np

from sertool.kernel._kernel import ffi, lib

#: Instruction set by name; "best" is the widest that this processor has.
ISAS = {
    "best": lib.SER_ISA_BEST,
    "plain": lib.SER_ISA_PLAIN,
    "128": lib.SER_ISA_128,
    "avx2": lib.SER_ISA_AVX2,
    "avx512": lib.SER_ISA_AVX512,
}


def available_isas() -> list[str]:
    """Names of the instruction sets that can be used here, "best" first."""
    return [name for name, isa in ISAS.items() if lib.ser_isa_available(isa)]


def check(status: int) -> None:
    """Raise ValueError with the kernel's own words unless the status is SER_OK."""
    if status != lib.SER_OK:
        raise ValueError(ffi.string(lib.ser_status_text(status)).decode())


def as_samples(samples) -> np.ndarray:
    """The caller's samples as contiguous float32 [n]; ValueError unless one-dimensional."""
    samples = np.ascontiguousarray(samples, dtype=np.float32)
    if samples.ndim != 1:
        raise ValueError(f"samples must be [n], not {list(samples.shape)}")
    return samples


def floats(array: np.ndarray):
    """Pointer to a float32 array, which must outlive it."""
    return ffi.cast("float *", ffi.from_buffer(array))
