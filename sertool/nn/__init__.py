"""Torch building blocks that students share; importing this package imports torch."""

from .logmel import LogMel
from .normalise import UtteranceNorm
from .pooling import SoftmaxPool
from .positions import Positions
from .transformer import TransformerLayer

__all__ = ["LogMel", "Positions", "SoftmaxPool", "TransformerLayer", "UtteranceNorm"]
