"""The C front-end: LogMel and utterance statistics, streaming or at once."""

from sertool.features.logmel import LogMel, logmel
from sertool.features.statistics import Statistics

__all__ = ["LogMel", "Statistics", "logmel"]
