"""Run ONNX files with onnxruntime."""

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Before the import: onnxruntime (seen in 1.31) otherwise stores a device id and a usage database in the home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime

from sertool import bundle as bundles
from sertool._types import Samples
from sertool.bundle import graph
from sertool.bundle.names import one_line, quoted
from sertool.errors import AudioError, BundleError

#: Names of further outputs that a file may have: what the last layers take, and the tokens that it is pooled from.
EMBEDDING, TOKENS = "embedding", "tokens"
_CODES = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .* failed:|/\S*/\S+:\d+ .*?\) ")


class Model:
    """An onnxruntime session; ``embedded`` is the manifest inside the file, or None.

    Raises BundleError if onnxruntime cannot load the file. `label` runs one recording per core, so more ``threads``
    would only compete with each other.
    """

    def __init__(self, path: Path | str, threads: int) -> None:
        self._path, options = path, onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4  # errors are raised as exceptions anyway
        self._shared = _bring_shared(options, Path(path))
        try:
            # After a failure, its fallback to the same provider would print a banner into the results.
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            self.embedded: str | None = self._session.get_modelmeta().custom_metadata_map.get(bundles.METADATA_KEY)
        except Exception as error:  # onnxruntime has a different class for each kind of failure
            version = onnxruntime.__version__
            raise BundleError(f"{path}: onnxruntime {version} cannot load it ({_reason(error)})") from None

    def fit(self, frontend: dict[str, Any], form: str, outputs: int) -> None:
        """Raise BundleError unless its input and output match a manifest."""
        ends = self._session.get_outputs()
        more = {end.name: end for end in ends[1:] if end.name in (EMBEDDING, TOKENS)}
        name = _check_end(self._path, "output", [end for end in ends if end.name not in more], (1, outputs))
        self.width = _width(self._path, more[EMBEDDING]) if EMBEDDING in more else 0
        self.has_tokens = TOKENS in more
        self._fetched = [name, *([EMBEDDING] if self.width else [])]
        wanted = (1, None) if form == "waveform" else (1, None, frontend["n_mels"])
        self.input = _check_end(self._path, "input", self._session.get_inputs(), wanted)

    def run(self, inputs: Samples, limit_s: float | None = None) -> tuple[Samples, Samples]:
        """Return (outputs [1, k], embedding [1, ``width``]) for samples [n] or frames [frames, n_mels].

        Raises AudioError if onnxruntime fails or takes longer than ``limit_s``.
        """
        outputs, *embedding = self._fetch(self._fetched, inputs, limit_s)
        return outputs, embedding[0] if embedding else np.zeros((1, 0), np.float32)

    def tokens(self, inputs: Samples) -> Samples:
        """Return the tokens that are pooled to the embedding, [1, tokens, width]; arguments and errors as ``run``."""
        return self._fetch([TOKENS], inputs, None)[0]

    def _fetch(self, names: list[str], inputs: Samples, limit_s: float | None) -> list[Samples]:
        options = onnxruntime.RunOptions()
        watch = threading.Timer(limit_s or 0, setattr, (options, "terminate", True))
        if limit_s:
            watch.daemon = True
            watch.start()
        try:
            fetched: list[Samples] = self._session.run(names, {self.input: inputs[None]}, options)
            return fetched
        except Exception as error:  # as above
            if options.terminate:
                raise AudioError(f"the model did not finish within {limit_s:g} s") from None
            raise AudioError(f"onnxruntime failed ({_reason(error)})") from None
        finally:
            watch.cancel()


def _bring_shared(options: Any, path: Path) -> list[bytes]:
    """Pass external data that is not in the file's folder to onnxruntime, which looks nowhere else.

    The caller must keep the result as long as the session, which does not copy it.
    """
    away = [name for name in sorted(graph.external_files(path)) if not os.path.lexists(path.parent / name)]
    data = [bundles.place(path.parent, name).read_bytes() for name in away]
    if away:
        options.add_external_initializers_from_files_in_memory(away, data, [len(part) for part in data])
    return data


def _reason(error: Exception) -> str:
    """Return onnxruntime's message without its error codes and source locations."""
    return one_line(_CODES.sub("", str(error)))


def _width(path: Path | str, end: Any) -> int:
    """Return the number of values of an embedding; raise BundleError unless it is float32 [1, width]."""
    if end.type != "tensor(float)" or len(end.shape) != 2 or end.shape[0] != 1 or not isinstance(end.shape[1], int):
        raise BundleError(f"{path}: its embedding is {end.type} {quoted(end.shape)}, not float32 of shape [1, width]")
    width: int = end.shape[1]
    return width


def _check_end(path: Path | str, what: str, ends: Sequence[Any], wanted: tuple[int | None, ...]) -> str:
    """Return the name of a model's only input or output.

    Raises BundleError unless it is float32 of shape ``wanted``, where None is any length.
    """
    if len(ends) != 1:
        raise BundleError(f"{path}: {len(ends)} {what}s; a bundle's model has one")
    end = ends[0]
    axes = zip(end.shape, wanted, strict=False)
    fits = all(not isinstance(length, int) or length == size for length, size in axes)
    if end.type != "tensor(float)" or len(end.shape) != len(wanted) or not fits:
        shape = ", ".join("any length" if length is None else str(length) for length in wanted)
        raise BundleError(f"{path}: its {what} is {end.type} {quoted(end.shape)}, not float32 of shape [{shape}]")
    name: str = end.name
    return name
