"""The main job: recordings in, one row each out."""

from .labeller import Labeller

__all__ = ["Labeller"]
