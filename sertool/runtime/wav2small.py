"""Native weights, through the engine in C."""

import threading

import numpy as np

from sertool.bundle import container
from sertool.errors import AudioError, BundleError
from sertool.kernel.wav2small import Engine


class Model:
    """An engine a thread over the same weights, ``embedded`` being the manifest inside the file or None.

    It computes on the thread that calls, whatever ``threads`` says. BundleError for a file of no network it has.
    """

    def __init__(self, path, threads: int):
        found = container.read(path)
        self._path, self._weights, self.embedded = path, found.data, found.text
        self._local = threading.local()
        try:
            self._outputs = self._engine().outputs
        except ValueError as error:
            raise BundleError(f"{path}: {error}") from None

    def fit(self, frontend: dict, form: str, outputs: int) -> None:
        """BundleError unless it takes and gives what a manifest says of it."""
        if form != "waveform":
            raise BundleError(f"{self._path}: native weights take the waveform, not {form}")
        if self._outputs != outputs:
            raise BundleError(f"{self._path}: {self._outputs} outputs, not {outputs} as its manifest says")

    def run(self, inputs: np.ndarray, limit_s: float | None = None) -> np.ndarray:
        """Outputs [1, k] for samples [n]; AudioError for NaN or infinity."""
        try:
            return self._engine().run(inputs)[None]
        except ValueError as error:
            raise AudioError(str(error)) from None

    def _engine(self) -> Engine:
        """This thread's."""
        if not hasattr(self._local, "engine"):
            self._local.engine = Engine(self._weights)
        return self._local.engine
