"""Convert samples to the input of a model file."""

from collections.abc import Callable, Mapping
from typing import Any

from sertool._types import Samples
from sertool.features.logmel import logmel
from sertool.features.mel import GEOMETRIES, Geometry


def features(frontend: Mapping[str, Any], form: str) -> Callable[[Samples], Samples]:
    """Return a function from float32 [n] at 16 kHz to the input of a model file.

    The input is the samples for "waveform", frames [frames, n_mels] for "logmel". ``frontend`` is a bundle's: n_fft,
    hop, n_mels, normalise. Raises ValueError if the C kernel does not support that LogMel; the function raises
    ValueError for samples that LogMel does not accept.
    """
    if form == "waveform":
        return lambda samples: samples
    wanted = Geometry(frontend["n_fft"], frontend["hop"], frontend["n_mels"])
    if GEOMETRIES.get(wanted.n_fft) != wanted:
        raise ValueError(f"the C front-end has no LogMel of {wanted}")
    return lambda samples: logmel(samples, wanted.n_fft, frontend["normalise"])
