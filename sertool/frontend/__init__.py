"""The C front-end: LogMel and utterance statistics, streaming or at once."""

from .logmel import LogMel, logmel
from .statistics import Statistics

__all__ = ["LogMel", "Statistics", "logmel"]
