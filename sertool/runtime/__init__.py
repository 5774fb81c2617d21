"""Run the models of bundles on samples; the backend of a file type is imported on first use."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from sertool import bundle as bundles
from sertool._types import Samples
from sertool.bundle import Bundle, Manifest
from sertool.errors import AudioError, BundleError, UsageError
from sertool.features import steps
from sertool.features.inputs import features

#: Runtime, one of bundle.RUNTIMES -> module of this package.
_MODULES = {"onnx": "onnx", "native": "wav2small"}


class _Model(Protocol):
    """A loaded model file: the class ``Model`` of each backend. ``embedded`` is the manifest inside the file."""

    embedded: str | None
    width: int
    has_tokens: bool

    def fit(self, frontend: dict[str, Any], form: str, outputs: int) -> None: ...

    def run(self, inputs: Samples, limit_s: float | None = None) -> tuple[Samples, Samples]: ...

    def tokens(self, inputs: Samples) -> Samples: ...


class Runtime:
    """One variant of a model, ready to run; thread-safe: each call computes on the calling thread.

    ``model``: a name, a bundle folder or a single file. ``threads``: number per call. ``runtime``, one of
    bundle.RUNTIMES: choose a variant for this runtime. Raises BundleError or UsageError.
    """

    def __init__(self, model: str, variant: str | None = None, threads: int = 1, runtime: str | None = None) -> None:
        path, bundle, kind = locate(model, variant, runtime)
        if bundle:
            self.bundle, self.variant = bundle, bundle.variant(variant, runtime)
            bundles.check_variant(self.bundle, self.variant)
        else:
            bundles.check_lone(path)
        self._model: _Model = backend(kind).Model(path, threads)
        self.embedded = self._model.embedded
        if not bundle:
            if self.embedded is None:
                raise BundleError(f"{path}: no {bundles.METADATA_KEY!r} in its metadata: not a sertool model")
            self.bundle = Bundle(path, Manifest.parse(self.embedded, str(path), embedded=True))
            self.variant = self.bundle.variant(variant, runtime)
            if self.variant.runtime != kind:
                raise BundleError(f"{path}: its manifest says runtime {self.variant.runtime}, it is {kind}")
        manifest, form = self.bundle.manifest, self.variant.input
        self._prepare = steps.build(manifest.preprocessing)
        try:
            self._features = features(manifest.frontend, form)
        except ValueError as error:
            raise BundleError(f"{path}: {error}") from None
        self.longest = manifest.longest_samples
        self.shortest, self._shape = manifest.shortest_samples, (1, len(self.bundle.outputs))
        self._model.fit(manifest.frontend, form, len(self.bundle.outputs))
        self.width = self._model.width  #: Values of an embedding, 0 if the file has none.
        self.input: str = getattr(self._model, "input", form)  # its name in the file, if it has one

    def run(self, samples: Samples, limit_s: float | None = None) -> Samples:
        """Return outputs float32 [k] for float32 [n] at 16 kHz, after applying the bundle's pre-processing steps.

        Raises as ``run_both``.
        """
        return self.run_both(samples, limit_s)[0]

    def run_both(self, samples: Samples, limit_s: float | None = None) -> tuple[Samples, Samples]:
        """Return (outputs, embedding float32 [``width``]) like ``run``.

        Raises AudioError if the result of these steps is too short or too long, an output is not finite or the model
        takes longer than ``limit_s``, BundleError if the number of outputs is wrong.
        """
        outputs, embedding = self._model.run(self._inputs(samples), limit_s)
        if outputs.shape != self._shape:  # a file may not do what it declares
            raise BundleError(f"{self.bundle.path}: outputs of shape {outputs.shape}, but it declares {self._shape}")
        if embedding.shape != (1, self.width):
            raise BundleError(f"{self.bundle.path}: an embedding of shape {embedding.shape}, not (1, {self.width})")
        if not (np.isfinite(outputs).all() and np.isfinite(embedding).all()):
            raise AudioError("the model's output is NaN or infinite")
        return outputs[0], embedding[0]

    def tokens(self, samples: Samples) -> Samples:
        """Return the tokens that are pooled to the embedding, float32 [tokens, width], for samples as in ``run``.

        Raises as ``run``, and UsageError for a file without tokens.
        """
        if not self._model.has_tokens:
            name = self.bundle.manifest.name
            raise UsageError(
                f"{name} ({self.variant.name}) has no tokens: only wav2small in ONNX with an embedding has"
            )
        tokens = self._model.tokens(self._inputs(samples))
        if tokens.ndim != 3 or len(tokens) != 1 or not np.isfinite(tokens).all():
            raise BundleError(f"{self.bundle.path}: tokens of shape {tokens.shape}, or not finite")
        result: Samples = tokens[0]
        return result

    def _inputs(self, samples: Samples) -> Samples:
        """Return the model file's input for samples, after the pre-processing; raise AudioError."""
        samples = self._prepare(samples)
        if len(samples) < self.shortest:
            raise AudioError(f"too short: {len(samples)} samples at 16 kHz, the model needs {self.shortest}")
        if self.longest and len(samples) > self.longest:
            raise AudioError(f"too long: {len(samples)} samples at 16 kHz, the model takes at most {self.longest}")
        try:
            return self._features(samples)
        except ValueError as error:
            raise AudioError(str(error)) from None


def locate(model: str, variant: str | None = None, runtime: str | None = None) -> tuple[Path, Bundle | None, str]:
    """Return (model file, its bundle or None for a single file, its runtime); only the manifest is checked."""
    path = bundles.find(model)
    if not path.is_dir():
        return path, None, "native" if bundles.container.is_container(path) else "onnx"
    bundle = bundles.read(path)
    entry = bundle.variant(variant, runtime)
    return bundle.file(entry), bundle, entry.runtime


def backend(kind: str) -> ModuleType:
    """Import and return the module that runs files of ``kind``, one of bundle.RUNTIMES."""
    return importlib.import_module(f".{_MODULES[kind]}", __name__)
