"""A bundle and samples to outputs, through onnxruntime."""

import os
from functools import partial

import numpy as np

# Before the import: onnxruntime (seen with 1.31) otherwise keeps a device id and a usage database in the home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

from . import bundle as bundles
from .bundle import Bundle
from .errors import AudioError, BundleError, UsageError
from .frontend import logmel, steps
from .frontend.filters import GEOMETRIES, Geometry


class Runtime:
    """One variant of a model, ready to run; may be shared by threads, each call uses the thread it came on.

    ``model``: a name, a bundle folder or a lone .onnx file. ``threads`` of one call: whoever labels runs one file a
    core, where more would only get in each other's way. Raises BundleError or UsageError.
    """

    def __init__(self, model: str, variant: str | None = None, threads: int = 1):
        path = bundles.find(model)
        if path.is_dir():
            self.bundle = bundles.read(path)
            self.variant = self.bundle.variant(variant)
            bundles.check_variant(self.bundle, self.variant)
            self._session = _session(self.bundle.file(self.variant), threads)
        else:
            self._session = _session(path, threads)
            text = self._session.get_modelmeta().custom_metadata_map.get(bundles.METADATA_KEY)
            if text is None:
                raise BundleError(f"{path}: no {bundles.METADATA_KEY!r} in its metadata: not a model of sertool's")
            self.bundle = Bundle(path, bundles.parse(text, str(path), embedded=True))
            self.variant = self.bundle.variant(variant)
        try:
            self._prepare = steps.build(self.bundle.manifest["preprocessing"])
        except UsageError as error:
            raise BundleError(f"{path}: {error}") from None
        self.shortest = self.bundle.manifest["shortest_samples"]
        self._features = _frontend(self.bundle) if self.variant["input"] == "logmel" else None
        self._input = self._session.get_inputs()[0].name

    def run(self, samples: np.ndarray) -> np.ndarray:
        """Outputs float32 [k] for float32 [n] at 16 kHz, which the bundle's pre-processing steps are applied to.

        AudioError if what they leave is too short or an output is not finite.
        """
        samples = self._prepare(samples)
        if len(samples) < self.shortest:
            raise AudioError(f"too short: {len(samples)} samples at 16 kHz, the model needs {self.shortest}")
        try:
            features = self._features(samples) if self._features else samples
        except ValueError as error:
            raise AudioError(str(error)) from None
        try:
            outputs = self._session.run(None, {self._input: features[None]})[0][0]
        except Exception as error:  # onnxruntime raises a class of its own for each kind of failure
            raise AudioError(f"onnxruntime failed ({' '.join(str(error).split())[:200]})") from None
        if not np.isfinite(outputs).all():
            raise AudioError("the model's output is not a number")
        return outputs


def _frontend(bundle: Bundle):
    """Samples [n] to what a variant with input "logmel" takes: frames [frames, n_mels] from the C front-end."""
    wanted = bundle.manifest["frontend"]
    geometry = Geometry(wanted["n_fft"], wanted["hop"], wanted["n_mels"])
    if GEOMETRIES.get(geometry.n_fft) != geometry:
        raise BundleError(f"{bundle.path}: the C front-end has no LogMel of {geometry}")
    return partial(logmel, n_fft=geometry.n_fft, normalise=wanted["normalise"])


def _session(path, threads: int):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as in run
        raise BundleError(f"{path}: onnxruntime cannot load it ({' '.join(str(error).split())})") from None
