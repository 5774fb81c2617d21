"""The C front-end: LogMel and utterance statistics, streaming or in one call."""

from sertool.features.logmel import LogMel, logmel
from sertool.features.statistics import Statistics

__all__ = ["LogMel", "Statistics", "logmel"]
