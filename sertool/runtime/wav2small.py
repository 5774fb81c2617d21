"""Run native weights with the C engine."""

import threading
from pathlib import Path
from typing import Any

from sertool._types import Samples
from sertool.bundle import container
from sertool.errors import AudioError, BundleError
from sertool.kernel.wav2small import WIDTH, Engine


class Model:
    """One engine per thread, with shared weights; ``embedded`` is the manifest inside the file, or None.

    It computes on the calling thread; ``threads`` has no effect. Raises BundleError if the file is not of a network
    that the engine supports.
    """

    def __init__(self, path: Path, threads: int) -> None:
        content = container.read(path)
        self._path, self._weights = path, content.data
        # Without this constant, the values would differ from those of the same model's other files.
        self.has_tokens = False
        self.width = WIDTH if "lin.bias" in content.shapes else 0
        self.embedded: str | None = content.text
        self._local = threading.local()
        try:
            self._outputs = self._engine().outputs
        except ValueError as error:
            raise BundleError(f"{path}: {error}") from None

    def fit(self, frontend: dict[str, Any], form: str, outputs: int) -> None:
        """Raise BundleError unless its input and output match a manifest."""
        if form != "waveform":
            raise BundleError(f"{self._path}: native weights take the waveform, not {form}")
        if self._outputs != outputs:
            raise BundleError(f"{self._path}: {self._outputs} outputs, not {outputs} as its manifest says")

    def run(self, inputs: Samples, limit_s: float | None = None) -> tuple[Samples, Samples]:
        """Return (outputs [1, k], embedding [1, ``width``]) for samples [n].

        ``limit_s`` has no effect. Raises AudioError for NaN or infinity.
        """
        try:
            outputs, embedding = self._engine().run_both(inputs)
            return outputs[None], embedding[None, : self.width]
        except ValueError as error:
            raise AudioError(str(error)) from None

    def tokens(self, inputs: Samples) -> Samples:
        """Raise BundleError: the engine keeps no tokens, so that its memory does not depend on the length."""
        raise BundleError(f"{self._path}: the C engine keeps no tokens; use --runtime onnx")

    def _engine(self) -> Engine:
        """Return the engine of the calling thread."""
        engine: Engine | None = getattr(self._local, "engine", None)
        if engine is None:
            engine = self._local.engine = Engine(self._weights)
        return engine
