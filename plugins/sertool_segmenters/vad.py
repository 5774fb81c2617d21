"""The detector of speech as a segmenter."""

from collections.abc import Callable, Iterable
from typing import Any

from sertool._types import Samples
from sertool.errors import UsageError
from sertool.segments import Segment
from sertool.speech.detection import detect
from sertool.speech.segmenter import Parameters


def build(**options: Any) -> Callable[[Iterable[Samples]], list[Segment]]:
    """Return the detector with the Parameters given as options. Raises UsageError."""
    try:
        parameters = Parameters(**options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"segmenter vad: {error}") from None

    def segment(blocks: Iterable[Samples]) -> list[Segment]:
        return [Segment(start, end) for start, end in detect(blocks, parameters).times]

    return segment
