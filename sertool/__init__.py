"""Emotion labels for audio.

>>> import sertool
>>> model = sertool.load()
>>> labels = model.label("call.mp3")
>>> labels.arousal, labels.valence
>>> for result in sertool.label_all(model, sertool.scan("interviews/"), jobs=4):
...     print(result.name, result.error or result.labels[0])

docs/api.md describes every name. Submodules are loaded when a name is first used.
"""

import importlib
from os import PathLike
from typing import TYPE_CHECKING, Any

from sertool._about import DEFAULT_MODEL, __version__
from sertool.errors import AudioError, BundleError, SertoolError, UsageError
from sertool.hookspecs import hookimpl
from sertool.registry import Augmentation, Corpus, Decoder, Exporter, Format, Loss, Model, Segmenter, Source

if TYPE_CHECKING:
    from sertool.exporting.pipeline import export
    from sertool.labelling.frame import to_frame
    from sertool.labelling.job import Result, label_all
    from sertool.labelling.labeller import Labeller
    from sertool.labelling.labels import Labels
    from sertool.labelling.plan import Plan
    from sertool.labelling.relative import Relative
    from sertool.packaging.bundle import Bundle
    from sertool.recordings.recording import Recording
    from sertool.recordings.scan import scan
    from sertool.segments.given import Given
    from sertool.segments.segment import Segment
    from sertool.speech.detection import Detected, detect_speech
    from sertool.speech.segmenter import Parameters

__all__ = [
    "DEFAULT_MODEL",
    "AudioError",
    "Augmentation",
    "Bundle",
    "BundleError",
    "Corpus",
    "Decoder",
    "Detected",
    "Exporter",
    "Format",
    "Given",
    "Labeller",
    "Labels",
    "Loss",
    "Model",
    "Parameters",
    "Plan",
    "Recording",
    "Relative",
    "Result",
    "Segment",
    "Segmenter",
    "SertoolError",
    "Source",
    "UsageError",
    "__version__",
    "detect_speech",
    "export",
    "hookimpl",
    "label_all",
    "load",
    "scan",
    "to_frame",
]

#: Public name -> the module that defines it.
_LAZY = {
    "Bundle": "packaging.bundle",
    "Detected": "speech.detection",
    "Given": "segments.given",
    "Labeller": "labelling.labeller",
    "Labels": "labelling.labels",
    "Parameters": "speech.segmenter",
    "Plan": "labelling.plan",
    "Recording": "recordings.recording",
    "Relative": "labelling.relative",
    "Result": "labelling.job",
    "Segment": "segments.segment",
    "detect_speech": "speech.detection",
    "export": "exporting.pipeline",
    "label_all": "labelling.job",
    "scan": "recordings.scan",
    "to_frame": "labelling.frame",
}


def load(
    model: str | PathLike[str] = DEFAULT_MODEL,
    *,
    variant: str | None = None,
    runtime: str | None = None,
    **options: Any,
) -> "Labeller":
    """Load a model: the name of a bundled or installed model, a bundle folder or a model file.

    ``variant``: the name of one of the bundle's variants. ``runtime``, "onnx" or "native": choose a variant for this
    runtime. ``options`` are those of Labeller: ``window`` and ``hop`` in seconds, ``vad``, ``regardless``. Raises
    BundleError or UsageError.
    """
    labeller: type[Labeller] = __getattr__("Labeller")
    return labeller(str(model), variant=variant, runtime=runtime, **options)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'sertool' has no attribute {name!r}")
    try:
        value = getattr(importlib.import_module(f"sertool.{_LAZY[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise UsageError(f"sertool.{name} needs torch: pip install 'sertool[train]'") from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
