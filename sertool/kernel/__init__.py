"""Shared parts of the bindings: the compiled kernel, status codes as exceptions, numpy arrays as pointers."""

from typing import Any

import numpy as np
import numpy.typing as npt

from sertool._types import Samples
from sertool.kernel._kernel import ffi, lib

__all__ = ["ISAS", "as_samples", "available_isas", "check", "ffi", "floats", "isa_error", "lib"]

#: Instruction set by name; "best" is the widest that this CPU supports.
ISAS: dict[str, int] = {
    "best": lib.SER_ISA_BEST,
    "plain": lib.SER_ISA_PLAIN,
    "128": lib.SER_ISA_128,
    "avx2": lib.SER_ISA_AVX2,
    "avx512": lib.SER_ISA_AVX512,
}


def available_isas() -> list[str]:
    """Return the names of the instruction sets that this CPU supports, "best" first."""
    return [name for name, isa in ISAS.items() if lib.ser_isa_available(isa)]


def isa_error(isa: str) -> ValueError:
    """Return the error for an instruction set that is unknown or that this CPU lacks."""
    return ValueError(
        f"instruction set {isa!r} is not available on this CPU (available: {', '.join(available_isas())})"
    )


def check(status: int) -> None:
    """Raise ValueError with the kernel's message unless the status is SER_OK."""
    if status != lib.SER_OK:
        raise ValueError(ffi.string(lib.ser_status_text(status)).decode())


def as_samples(samples: npt.ArrayLike) -> Samples:
    """Return samples as contiguous float32 [n]. Raise ValueError if they are not one-dimensional."""
    array = np.ascontiguousarray(samples, dtype=np.float32)
    if array.ndim != 1:
        raise ValueError(f"samples must be [n], not {list(array.shape)}")
    return array


def floats(array: Samples) -> Any:
    """Return a cffi pointer to a float32 array. The caller must keep the array alive."""
    return ffi.cast("float *", ffi.from_buffer(array))
