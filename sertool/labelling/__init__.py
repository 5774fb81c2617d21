"""The main job: recordings in, one row each out."""

from sertool.labelling.labeller import Labeller

__all__ = ["Labeller"]
