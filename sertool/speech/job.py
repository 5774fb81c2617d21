"""Detect speech in many recordings, several at a time."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sertool.errors import AudioError, UsageError
from sertool.features.mel import SAMPLE_RATE
from sertool.recordings.fetch import on_disk
from sertool.recordings.places import Choice, Place, parts
from sertool.recordings.pool import FAULTS, Meter, decoded, each, reason
from sertool.recordings.recording import Recording, printable
from sertool.segments import Segment
from sertool.segments.given import Given
from sertool.speech.detection import Detected, detect
from sertool.speech.detector import FRAME
from sertool.speech.segmenter import Parameters


@dataclass(frozen=True)
class Part:
    """The speech ``found`` in a channel of a track; ``limits`` are the segments within which it was looked for."""

    place: Place
    found: Detected
    limits: list[Segment] | None

    @property
    def segments(self) -> list[tuple[int, int, Segment | None]]:
        """Speech (start, end) in samples, within the limits, in their order, each with its limit."""
        if self.limits is None:
            return [(start, end, None) for start, end in self.found.segments]
        result: list[tuple[int, int, Segment | None]] = []
        for limit in self.limits:
            first, last = round(limit.start * SAMPLE_RATE), min(limit.end * SAMPLE_RATE, self.found.samples)
            for start, end in self.found.segments:
                if max(start, first) < min(end, round(last)):
                    result.append((max(start, first), min(end, round(last)), limit))
        return result


@dataclass(frozen=True)
class Detection:
    """Result for a recording: its ``parts``, or the ``error`` that made it unreadable."""

    recording: Recording
    parts: tuple[Part, ...] = ()
    error: str | None = None
    notes: tuple[str, ...] = ()
    taken_over: ClassVar[bool] = False

    @property
    def failed(self) -> bool:
        return not self.parts

    @property
    def seconds(self) -> float:
        return max((part.found.seconds for part in self.parts), default=0.0)

    @property
    def silent(self) -> bool:
        """Whether all parts are silent."""
        return all(part.found.silent for part in self.parts)

    @property
    def speech(self) -> float:
        """Seconds of speech, the mean of the parts."""
        samples = sum(_union((start, end) for start, end, _ in part.segments) for part in self.parts)
        return samples / SAMPLE_RATE / max(1, len(self.parts))

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row per segment, with file, place, start, end and the columns of its limit."""
        for part in self.parts:
            for start, end, limit in part.segments:
                yield {
                    "file": printable(self.recording.name),
                    **(limit.columns if limit else {}),
                    **part.place.columns,
                    "start": round(start / SAMPLE_RATE, 6),
                    "end": round(end / SAMPLE_RATE, 6),
                }

    def probability_rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each 10 ms, with its probability of speech."""
        for part in self.parts:
            assert part.found.probabilities is not None
            for frame, probability in enumerate(part.found.probabilities.tolist()):
                yield {
                    "file": printable(self.recording.name),
                    **part.place.columns,
                    "start": round(frame * FRAME / SAMPLE_RATE, 6),
                    "end": round(min((frame + 1) * FRAME, part.found.samples) / SAMPLE_RATE, 6),
                    "probability": round(probability, 6),
                }


def detect_all(
    recordings: Sequence[Recording],
    parameters: Parameters,
    *,
    jobs: int,
    channel: Choice = None,
    track: Choice = None,
    segments: Given | None = None,
    probabilities: bool = False,
    stop: threading.Event | None = None,
    meter: Meter | None = None,
) -> Iterator[Detection]:
    """Detect speech in each of ``recordings``; yield results in order. ``stop`` as in label_all.

    ``channel`` and ``track`` choose what is searched; ``segments`` limit the speech to themselves.
    """
    meter = meter or Meter()

    def work(recording: Recording) -> Detection:
        notes: dict[str, None] = {}
        try:
            limits = _limits(segments, recording)
            result = []
            with on_disk(recording) as there:
                for place in parts(there, channel, track):
                    blocks = decoded(there, lambda text: notes.update({text: None}), place.channel, place.track)
                    found = detect(meter.count(blocks), parameters, probabilities=probabilities)
                    result.append(Part(place, found, limits))
                    if found.silent and place.columns:
                        notes[f"{place.text} is silent"] = None
            return Detection(recording, tuple(result), notes=tuple(notes))
        except FAULTS as fault:
            return Detection(recording, error=reason(fault))

    return each(work, recordings, jobs=jobs, ordered=True, stop=stop)


def _union(segments: Iterable[tuple[int, int]]) -> int:
    """Return how many samples are in at least one segment."""
    samples, last = 0, 0
    for start, end in sorted(segments):
        samples += max(0, end - max(start, last))
        last = max(last, end)
    return samples


def _limits(segments: Given | None, recording: Recording) -> list[Segment] | None:
    try:
        return segments.of(recording) if segments else None
    except UsageError as error:
        raise AudioError(str(error)) from None
