"""A bundle and samples to outputs: what runs a file is imported when such a file is to be run."""

import importlib
from pathlib import Path

import numpy as np

from sertool import bundle as bundles
from sertool.bundle import Bundle
from sertool.errors import AudioError, BundleError
from sertool.features import steps
from sertool.features.inputs import features

#: Kind of file, one of bundle.RUNTIMES -> the module here that runs it.
_MODULES = {"onnx": "onnx", "native": "wav2small"}


class Runtime:
    """One variant of a model, ready to run; may be shared by threads, each call uses the thread it came on.

    ``model``: a name, a bundle folder or a lone file. ``threads`` of one call. ``runtime``, one of bundle.RUNTIMES: of
    the bundle's variants one that this runs. Raises BundleError or UsageError.
    """

    def __init__(self, model: str, variant: str | None = None, threads: int = 1, runtime: str | None = None):
        path, found, kind = locate(model, variant, runtime)
        if found:
            self.bundle, self.variant = found, found.variant(variant, runtime)
            bundles.check_variant(self.bundle, self.variant)
        else:
            bundles.check_lone(path)
        self._model = backend(kind).Model(path, threads)
        self.embedded = self._model.embedded
        if not found:
            if self.embedded is None:
                raise BundleError(f"{path}: no {bundles.METADATA_KEY!r} in its metadata: not a model of sertool's")
            self.bundle = Bundle(path, bundles.parse(self.embedded, str(path), embedded=True))
            self.variant = self.bundle.variant(variant, runtime)
            if bundles.runtime_of(self.variant) != kind:
                raise BundleError(f"{path}: its manifest says runtime {bundles.runtime_of(self.variant)}, it is {kind}")
        manifest, form = self.bundle.manifest, self.variant["input"]
        self._prepare = steps.build(manifest["preprocessing"])
        try:
            self._features = features(manifest["frontend"], form)
        except ValueError as error:
            raise BundleError(f"{path}: {error}") from None
        self.longest = manifest.get("longest_samples")
        self.shortest, self._shape = manifest["shortest_samples"], (1, len(self.bundle.outputs))
        self._model.fit(manifest["frontend"], form, len(self.bundle.outputs))
        self.input = getattr(self._model, "input", form)  # its name in the file, where that has one

    def run(self, samples: np.ndarray, limit_s: float | None = None) -> np.ndarray:
        """Outputs float32 [k] for float32 [n] at 16 kHz, which the bundle's pre-processing steps are applied to.

        AudioError if what they leave is too short or too long, an output is not finite or the model takes longer than
        ``limit_s``, BundleError for another number of them.
        """
        samples = self._prepare(samples)
        if len(samples) < self.shortest:
            raise AudioError(f"too short: {len(samples)} samples at 16 kHz, the model needs {self.shortest}")
        if self.longest and len(samples) > self.longest:
            raise AudioError(f"too long in one piece: {len(samples)} samples at 16 kHz, the model takes {self.longest}")
        try:
            inputs = self._features(samples)
        except ValueError as error:
            raise AudioError(str(error)) from None
        outputs = self._model.run(inputs, limit_s)
        if outputs.shape != self._shape:  # what a file declares is a promise, not a fact
            raise BundleError(f"{self.bundle.path}: outputs of shape {outputs.shape}, not {self._shape} as it declares")
        if not np.isfinite(outputs).all():
            raise AudioError("the model's output is not a number")
        return outputs[0]


def locate(model: str, variant: str | None = None, runtime: str | None = None) -> tuple[Path, Bundle | None, str]:
    """(model file, its bundle or None of a lone file, what runs it), nothing checked beyond the manifest."""
    path = bundles.find(model)
    if not path.is_dir():
        return path, None, "native" if bundles.container.is_container(path) else "onnx"
    found = bundles.read(path)
    entry = found.variant(variant, runtime)
    return found.file(entry), found, bundles.runtime_of(entry)


def backend(kind: str):
    """Import and return the module that runs files of ``kind``, one of bundle.RUNTIMES."""
    return importlib.import_module(f".{_MODULES[kind]}", __name__)
