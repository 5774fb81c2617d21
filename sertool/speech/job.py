"""Detect speech in many recordings, several at a time."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from sertool.recordings.pool import FAULTS, Meter, decoded, each, reason
from sertool.recordings.scan import Recording
from sertool.speech.detection import Detected, detect
from sertool.speech.segmenter import Parameters


@dataclass(frozen=True)
class Detection:
    """Result for a recording: the speech ``found``, or the ``error`` that made it unreadable."""

    recording: Recording
    found: Detected | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    taken_over: ClassVar[bool] = False

    @property
    def failed(self) -> bool:
        return self.found is None

    @property
    def seconds(self) -> float:
        return self.found.seconds if self.found else 0.0


def detect_all(
    recordings: list[Recording],
    parameters: Parameters,
    *,
    jobs: int,
    probabilities: bool = False,
    stop: threading.Event | None = None,
    meter: Meter | None = None,
) -> Iterator[Detection]:
    """Detect speech in each of ``recordings``; yield results in order. ``stop`` as in label_all."""
    meter = meter or Meter()

    def work(recording: Recording) -> Detection:
        notes: list[str] = []
        try:
            blocks = meter.count(decoded(recording, notes.append))
            speech = detect(blocks, parameters, probabilities=probabilities)
            return Detection(recording, speech, notes=tuple(notes))
        except FAULTS as fault:
            return Detection(recording, error=reason(fault))

    return each(work, recordings, jobs=jobs, ordered=True, stop=stop)
