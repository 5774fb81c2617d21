"""Emotion labels for audio: ``sertool.load().label("call.mp3")``."""

from .hookspecs import hookimpl
from .registry import Augmentation, Corpus, Exporter, Model, Source

__version__ = "0.1.0"
__all__ = ["DEFAULT_MODEL", "Augmentation", "Corpus", "Exporter", "Model", "Source", "hookimpl", "load"]

#: What labels where nobody says otherwise: the most accurate of the models that ship.
DEFAULT_MODEL = "mobile"


def load(model: str = DEFAULT_MODEL, *, variant: str | None = None, runtime: str | None = None):
    """A labeller for a bundled or installed model's name, a bundle folder or a lone model file.

    ``runtime``, "onnx" or "native", takes a variant that this runs. Raises sertool.errors.BundleError or UsageError.
    See sertool.labelling.Labeller for what it can do.
    """
    from .labelling import Labeller

    return Labeller(model, variant=variant, runtime=runtime)
