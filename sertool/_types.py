"""Type aliases."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

#: Audio samples, float32 [n] at 16 kHz unless stated otherwise.
Samples: TypeAlias = npt.NDArray[np.float32]
#: Float64 numbers of any shape.
Floats: TypeAlias = npt.NDArray[np.float64]
#: An array of any type and shape.
Array: TypeAlias = npt.NDArray[Any]
#: progress(stage, done, total)
Progress: TypeAlias = Callable[[str, int, int], None]
