"""Table of `sertool vad` on a terminal."""

from collections.abc import Callable, Sequence

from sertool.audio import SAMPLE_RATE
from sertool.cli.terminal import visible
from sertool.recordings.recording import Recording
from sertool.speech import job
from sertool.speech.detection import SILENT


class Table:
    """Print the segments of a single recording, or one line per recording."""

    def __init__(self, recordings: Sequence[Recording], print_line: Callable[[str], None]) -> None:
        self._file = min(max(4, *(len(visible(recording.name)) for recording in recordings)), 48)
        self._alone, self._print = len(recordings) == 1, print_line
        heads = ("start", "end", "length") if self._alone else ("length", "segments", "speech", "share")
        self._print(f"{'file':<{self._file}}" + "".join(f"{head:>10}" for head in heads))

    def write(self, result: job.Detection) -> None:
        name = visible(result.recording.name)
        name = f"{name if len(name) <= self._file else '…' + name[1 - self._file :]:<{self._file}}"
        if result.failed or result.silent:
            self._print(f"{name}  {visible(result.error or SILENT)}")
        elif self._alone:
            for part in result.parts:
                for start, end, _ in part.segments:
                    times = (sample / SAMPLE_RATE for sample in (start, end, end - start))
                    self._print(name + "".join(f"{time:>10.3f}" for time in times) + f"  {part.place.text}".rstrip())
        else:
            length, count = result.seconds, sum(len(part.segments) for part in result.parts)
            self._print(f"{name}{length:>10.3f}{count:>10}{result.speech:>10.3f}{f'{result.speech / length:.0%}':>10}")
