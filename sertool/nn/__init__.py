"""Torch building blocks shared by the student networks; importing this package imports torch."""

from sertool.nn.logmel import LogMel
from sertool.nn.normalise import UtteranceNorm
from sertool.nn.pooling import SoftmaxPool
from sertool.nn.positions import Positions
from sertool.nn.transformer import TransformerLayer

__all__ = ["LogMel", "Positions", "SoftmaxPool", "TransformerLayer", "UtteranceNorm"]
