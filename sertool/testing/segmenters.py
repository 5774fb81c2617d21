"""Checks of a segmenter."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from sertool._types import Samples
from sertool.plugins import load_plugins
from sertool.segments import Segment
from sertool.testing.clips import sound
from sertool.testing.faults import doing, require

RATE = 16_000


def check(name: str, options: dict[str, Any]) -> None:
    """Check a segmenter; see `sertool.testing.check_segmenter`."""
    segmenter, where = load_plugins().get("segmenters", name), f"segmenter {name!r}"
    with doing(where, "build"):
        segment = segmenter.build(**options)
    require(callable(segment), where, f"build returns {type(segment).__name__}, not a function of blocks")
    for what, samples in (
        ("sound", sound(10 * RATE)),
        ("silence", np.zeros(5 * RATE, np.float32)),
        ("a single sample", np.ones(1, np.float32)),
        ("nothing", np.zeros(0, np.float32)),
    ):
        results = []
        for size in (RATE, 1_234_567):
            with doing(where, f"{what} in blocks of {size} samples"):
                results.append(list(segment(_blocks(samples, size))))
            for found in results[-1]:
                _check_segment(found, len(samples) / RATE, f"{where}: {what}")
        require(results[0] == results[1], where, f"{what}: other blocks of the same samples give other segments")


def _blocks(samples: Samples, size: int) -> Iterator[Samples]:
    for start in range(0, len(samples), size):
        yield samples[start : start + size]


def _check_segment(segment: Segment, length: float, where: str) -> None:
    require(isinstance(segment, Segment), where, f"a segment is a {type(segment).__name__}, not a Segment")
    inside = 0 <= segment.start < segment.end <= length + 1e-6
    require(inside, where, f"a segment from {segment.start} to {segment.end} in a recording of {length} s")
    texts = all(isinstance(text, str) for text in segment.columns.values())
    require(texts, where, f"columns must be text, not {segment.columns!r}")
