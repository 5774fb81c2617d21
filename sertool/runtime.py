"""A bundle and samples to outputs, through onnxruntime."""

import os
import re

import numpy as np

# Before the import: onnxruntime (seen with 1.31) otherwise keeps a device id and a usage database in the home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

from . import bundle as bundles
from .bundle import Bundle
from .bundle.names import one_line, quoted
from .errors import AudioError, BundleError
from .frontend import steps
from .frontend.features import features

_CODES = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .* failed:|/\S*/\S+:\d+ .*?\) ")


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
            path = self.bundle.file(self.variant)
            self._session, self.embedded = _session(path, threads)
        else:
            bundles.check_lone(path)
            self._session, self.embedded = _session(path, threads)
            if self.embedded is None:
                raise BundleError(f"{path}: no {bundles.METADATA_KEY!r} in its metadata: not a model of sertool's")
            self.bundle = Bundle(path, bundles.parse(self.embedded, str(path), embedded=True))
            self.variant = self.bundle.variant(variant)
        manifest, form = self.bundle.manifest, self.variant["input"]
        self._prepare = steps.build(manifest["preprocessing"])
        try:
            self._features = features(manifest["frontend"], form)
        except ValueError as error:
            raise BundleError(f"{path}: {error}") from None
        self.shortest, self._shape = manifest["shortest_samples"], (1, len(self.bundle.outputs))
        _check_end(path, "output", self._session.get_outputs(), self._shape)
        wanted = (1, None) if form == "waveform" else (1, None, manifest["frontend"]["n_mels"])
        self._input = _check_end(path, "input", self._session.get_inputs(), wanted)

    def run(self, samples: np.ndarray) -> np.ndarray:
        """Outputs float32 [k] for float32 [n] at 16 kHz, which the bundle's pre-processing steps are applied to.

        AudioError if what they leave is too short or an output is not finite, BundleError for another number of them.
        """
        samples = self._prepare(samples)
        if len(samples) < self.shortest:
            raise AudioError(f"too short: {len(samples)} samples at 16 kHz, the model needs {self.shortest}")
        try:
            inputs = self._features(samples)
        except ValueError as error:
            raise AudioError(str(error)) from None
        try:
            outputs = self._session.run(None, {self._input: inputs[None]})[0]
        except Exception as error:  # onnxruntime raises a class of its own for each kind of failure
            raise AudioError(f"onnxruntime failed ({_reason(error)})") from None
        if outputs.shape != self._shape:  # what a file declares is a promise, not a fact
            raise BundleError(f"{self.bundle.path}: outputs of shape {outputs.shape}, not {self._shape} as it declares")
        if not np.isfinite(outputs).all():
            raise AudioError("the model's output is not a number")
        return outputs[0]


def _session(path, threads: int):
    """(session, the manifest inside the file or None); BundleError if onnxruntime does not take the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # what it would log comes as an exception too
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return session, session.get_modelmeta().custom_metadata_map.get(bundles.METADATA_KEY)
    except Exception as error:  # as in run
        raise BundleError(f"{path}: onnxruntime {onnxruntime.__version__} cannot load it ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    """What onnxruntime says, without its codes and places in its source."""
    return one_line(_CODES.sub("", str(error)))


def _check_end(path, what: str, ends, wanted: tuple) -> str:
    """Name of a model's one input or output; BundleError unless it is float32 of that shape, None being any length."""
    if len(ends) != 1:
        raise BundleError(f"{path}: {len(ends)} {what}s; a bundle's model has one")
    end = ends[0]
    axes = zip(end.shape, wanted, strict=False)
    fits = all(not isinstance(length, int) or length == right for length, right in axes)
    if end.type != "tensor(float)" or len(end.shape) != len(wanted) or not fits:
        shape = ", ".join("any length" if length is None else str(length) for length in wanted)
        raise BundleError(f"{path}: its {what} is {end.type} {quoted(end.shape)}, not float32 of shape [{shape}]")
    return end.name
