"""ONNX files, through onnxruntime."""

import os
import re
import threading
from pathlib import Path

import numpy as np

# Before the import: onnxruntime (seen with 1.31) otherwise keeps a device id and a usage database in the home folder.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

from sertool import bundle as bundles
from sertool.bundle import graph
from sertool.bundle.names import one_line, quoted
from sertool.errors import AudioError, BundleError

_CODES = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .* failed:|/\S*/\S+:\d+ .*?\) ")


class Model:
    """A session, ``embedded`` being the manifest inside the file or None; BundleError if onnxruntime does not take it.

    Whoever labels runs one file a core, where more ``threads`` would only get in each other's way.
    """

    def __init__(self, path, threads: int):
        self._path, options = path, onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4  # what it would log comes as an exception too
        self._shared = _bring_shared(options, Path(path))
        try:
            # Its fallback to the processor on which it failed would print a banner among the results.
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            self.embedded = self._session.get_modelmeta().custom_metadata_map.get(bundles.METADATA_KEY)
        except Exception as error:  # onnxruntime raises a class of its own for each kind of failure
            version = onnxruntime.__version__
            raise BundleError(f"{path}: onnxruntime {version} cannot load it ({_reason(error)})") from None

    def fit(self, frontend: dict, form: str, outputs: int) -> None:
        """BundleError unless it takes and gives what a manifest says of it."""
        _check_end(self._path, "output", self._session.get_outputs(), (1, outputs))
        wanted = (1, None) if form == "waveform" else (1, None, frontend["n_mels"])
        self.input = _check_end(self._path, "input", self._session.get_inputs(), wanted)

    def run(self, inputs: np.ndarray, limit_s: float | None = None) -> np.ndarray:
        """Outputs [1, k] for samples [n] or frames [frames, n_mels]; AudioError if onnxruntime fails or is too slow."""
        options = onnxruntime.RunOptions()
        watch = threading.Timer(limit_s or 0, setattr, (options, "terminate", True))
        if limit_s:
            watch.daemon = True
            watch.start()
        try:
            return self._session.run(None, {self.input: inputs[None]}, options)[0]
        except Exception as error:  # as above
            if options.terminate:
                raise AudioError(f"the model did not come to an end within {limit_s:g} s") from None
            raise AudioError(f"onnxruntime failed ({_reason(error)})") from None
        finally:
            watch.cancel()


def _bring_shared(options, path: Path) -> list[bytes]:
    """Hand over the external data that does not lie beside a file: onnxruntime looks nowhere else.

    What is returned must live as long as the session, which does not copy it.
    """
    away = [name for name in sorted(graph.external_files(path)) if not os.path.lexists(path.parent / name)]
    data = [bundles.place(path.parent, name).read_bytes() for name in away]
    if away:
        options.add_external_initializers_from_files_in_memory(away, data, [len(part) for part in data])
    return data


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
