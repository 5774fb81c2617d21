"""Label recordings, files or arrays, and write the labels as tables."""

from sertool.labelling.labeller import Labeller
from sertool.labelling.labels import Labels

__all__ = ["Labeller", "Labels"]
