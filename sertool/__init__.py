"""Emotion labels for audio: ``sertool.load().label("call.mp3")``."""

from sertool._about import DEFAULT_MODEL, __version__
from sertool.hookspecs import hookimpl
from sertool.registry import Augmentation, Corpus, Exporter, Model, Source

__all__ = ["DEFAULT_MODEL", "Augmentation", "Corpus", "Exporter", "Model", "Source", "__version__", "hookimpl", "load"]


def load(model: str = DEFAULT_MODEL, *, variant: str | None = None, runtime: str | None = None):
    """A labeller for a bundled or installed model's name, a bundle folder or a lone model file.

    ``runtime``, "onnx" or "native", takes a variant that this runs. Raises sertool.errors.BundleError or UsageError.
    See sertool.labelling.Labeller for what it can do.
    """
    from sertool.labelling import Labeller

    return Labeller(model, variant=variant, runtime=runtime)
