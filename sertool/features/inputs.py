"""Samples to what a model's file takes."""

from collections.abc import Callable

import numpy as np

from sertool.features.logmel import logmel
from sertool.features.mel import GEOMETRIES, Geometry


def features(frontend: dict, form: str) -> Callable[[np.ndarray], np.ndarray]:
    """From float32 [n] at 16 kHz to a file's input: the samples for "waveform", frames [frames, n_mels] for "logmel".

    ``frontend`` as a bundle names it: n_fft, hop, n_mels, normalise. ValueError for a LogMel that the C kernel lacks;
    the function raises it for samples that LogMel cannot take.
    """
    if form == "waveform":
        return lambda samples: samples
    wanted = Geometry(frontend["n_fft"], frontend["hop"], frontend["n_mels"])
    if GEOMETRIES.get(wanted.n_fft) != wanted:
        raise ValueError(f"the C front-end has no LogMel of {wanted}")
    return lambda samples: logmel(samples, wanted.n_fft, frontend["normalise"])
