"""What a server takes, and what it has done."""

import threading
import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass

from sertool.errors import AudioError
from sertool.recordings.pool import Meter

#: Upper ends of the histogram of a request's seconds.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True)
class Limits:
    """What is refused beyond.

    ``bytes`` of a request, ``seconds`` of a recording, ``work_s`` to label it, ``quiet_s`` without a byte from a
    client; requests labelled ``at_once`` and ``waiting`` for that; ``streams`` at a time, and bytes of a ``message``.
    """

    bytes: int = 100_000_000
    seconds: float = 3600
    work_s: float = 120
    quiet_s: float = 20
    at_once: int = 2
    waiting: int = 16
    streams: int = 16
    message: int = 1 << 20


class TooLong(AudioError):
    """A recording is longer than a server takes, or takes too long."""


class Budget(Meter):
    """A meter that ends a job which is too long, or which nobody waits for any more."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits, self._deadline = limits, time.monotonic() + limits.work_s
        self.abandoned = False

    def add(self, seconds: float) -> None:
        """Add seconds of audio. Raise TooLong."""
        super().add(seconds)
        if self.abandoned:
            raise TooLong("the client is gone")
        if self.seconds > self._limits.seconds:
            raise TooLong(f"longer than {self._limits.seconds:g} s")
        if time.monotonic() > self._deadline:
            raise TooLong(f"not labelled within {self._limits.work_s:g} s")


class Counts:
    """Counters for Prometheus; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outcomes: Counter[int] = Counter()
        self._buckets = [0] * (len(_BUCKETS) + 1)
        self._took = self._audio = self._streamed = 0.0
        self.working = self.waiting = self.streams = self.rows = 0

    def request(self, status: int, took: float) -> None:
        """Count a request for labels that was answered after ``took`` seconds."""
        with self._lock:
            self._outcomes[status] += 1
            self._took += took
            self._buckets[bisect_left(_BUCKETS, took)] += 1

    def audio(self, seconds: float) -> None:
        """Count audio that was labelled."""
        with self._lock:
            self._audio += seconds

    def stream(self, seconds: float, rows: int) -> None:
        """Count audio and rows of a stream."""
        with self._lock:
            self._streamed += seconds
            self.rows += rows

    def text(self) -> str:
        """Return the text format of Prometheus, version 0.0.4."""
        lines: list[str] = []

        def metric(name: str, kind: str, help_text: str, *values: tuple[str, float]) -> None:
            lines.append(f"# HELP sertool_{name} {help_text}")
            lines.append(f"# TYPE sertool_{name} {kind}")
            lines.extend(f"sertool_{name}{labels} {value:g}" for labels, value in values)

        with self._lock:
            outcomes = [(f'{{status="{status}"}}', float(count)) for status, count in sorted(self._outcomes.items())]
            metric("requests_total", "counter", "Requests for labels by status.", *outcomes)
            below, values = 0, []
            for end, count in zip((*map(str, _BUCKETS), "+Inf"), self._buckets, strict=True):
                below += count
                values.append((f'_bucket{{le="{end}"}}', float(below)))
            values += [("_sum", self._took), ("_count", float(below))]
            metric("request_seconds", "histogram", "Seconds until a request for labels was answered.", *values)
            metric("audio_seconds_total", "counter", "Seconds of audio labelled by requests.", ("", self._audio))
            metric("stream_seconds_total", "counter", "Seconds of audio of streams.", ("", self._streamed))
            metric("stream_rows_total", "counter", "Rows sent to streams.", ("", float(self.rows)))
            metric("working", "gauge", "Requests that are labelled now.", ("", float(self.working)))
            metric("waiting", "gauge", "Requests that wait for that.", ("", float(self.waiting)))
            metric("streams", "gauge", "Open streams.", ("", float(self.streams)))
        return "\n".join(lines) + "\n"
