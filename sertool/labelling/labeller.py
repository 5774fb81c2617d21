"""Label one recording."""

from collections.abc import Iterable, Iterator
from os import PathLike
from typing import Any

import numpy as np

from sertool import audio
from sertool._about import DEFAULT_MODEL
from sertool._types import Array, Samples
from sertool.errors import AudioError, UsageError
from sertool.labelling.labels import Labels
from sertool.labelling.windows import SHORTEST_REST
from sertool.labelling.windows import windows as cut
from sertool.runtime import Runtime
from sertool.speech.detection import SILENCE, SILENT, peak
from sertool.speech.selection import Speech
from sertool.tasks import TASKS


class Labeller:
    """A model that labels recordings; thread-safe, picklable by name.

    ``model``: a name, a bundle folder or a model file. ``variant``: the name of one of the bundle's variants, by
    default the bundle's default or one for ``runtime``, "onnx" or "native". ``window`` and ``hop`` are in seconds, by
    default the bundle's window without overlap. With ``vad``, windows of a recording longer than one window are cut
    from its speech, and a recording of more than a second without speech raises AudioError unless ``regardless``.
    Raises BundleError or UsageError.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        variant: str | None = None,
        window: float | None = None,
        hop: float | None = None,
        vad: bool = True,
        runtime: str | None = None,
        regardless: bool = False,
    ) -> None:
        self._arguments = (model, variant, window, hop, vad, runtime, regardless)
        self.runtime, self.vad, self.regardless = Runtime(model, variant, runtime=runtime), vad, regardless
        self.bundle = self.runtime.bundle
        self.outputs = self.bundle.outputs
        self.task = TASKS[self.bundle.manifest.task]
        self.columns = self.task.columns(self.outputs)
        self.window = float(self.bundle.manifest.window_s if window is None else window)
        self.hop = float(self.window if hop is None else hop)
        samples, step = self.window * audio.SAMPLE_RATE, self.hop * audio.SAMPLE_RATE
        if not (self.runtime.shortest <= samples < float("inf") and 1 <= step <= samples):
            raise UsageError(
                f"window {self.window:g} s, hop {self.hop:g} s: the window must hold {self.runtime.shortest} samples "
                f"({self.runtime.shortest / audio.SAMPLE_RATE:g} s), the hop must be above 0 and at most the window"
            )

        # A model that cuts its input to a fixed length would discard a rest that is joined to a window.
        self._join = not any(step["step"] == "length" for step in self.bundle.manifest.preprocessing)
        share = 1 + SHORTEST_REST * self._join
        self._whole, longest = int(samples * share), self.runtime.longest
        if longest and samples * share > longest:
            most = int(longest / share / audio.SAMPLE_RATE)
            raise UsageError(f"window {self.window:g} s: {self.bundle.manifest.name} takes at most {most} s at once")

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return Labeller, self._arguments  # the other process loads the model again

    def label(self, recording: str | PathLike[str] | Array, rate: float | None = None) -> Labels:
        """Label a recording as a whole: the mean over its windows, weighted by duration.

        ``recording``: a file, or samples [n] or [n, channels] with their ``rate`` in Hz. Raises AudioError if it cannot
        be read, is silent or contains no speech.
        """
        windows, length = self.rows(self._blocks(recording, rate))
        return self.average(windows, length)

    def windows(self, recording: str | PathLike[str] | Array, rate: float | None = None) -> Iterator[Labels]:
        """Label a recording window by window while reading it; arguments and errors are those of ``label``.

        ``start`` and ``end`` are times in the recording, even if non-speech between them was left out. A silent window
        has an ``error`` and no outputs.
        """
        return self._stream(self._blocks(recording, rate))

    def rows(self, blocks: Iterable[Samples]) -> tuple[list[Labels], float]:
        """Label 16 kHz blocks [n]; return (``windows`` as a list, length of the recording in seconds)."""
        length = 0

        def counted() -> Iterator[Samples]:
            nonlocal length
            for block in blocks:
                length += len(block)
                yield block

        return list(self._stream(counted())), length / audio.SAMPLE_RATE

    def whole(self, blocks: Iterable[Samples]) -> tuple[list[Labels], float]:
        """Label 16 kHz blocks [n] in one piece, without speech detection and windows; return the same as ``rows``."""
        samples = np.concatenate([np.zeros(0, np.float32), *blocks])
        return [self._row(0, len(samples), samples)] if len(samples) else [], len(samples) / audio.SAMPLE_RATE

    def average(self, windows: list[Labels], length: float) -> Labels:
        """Average the windows of a recording of ``length`` seconds, weighted by duration.

        Raises AudioError if no window has outputs.
        """
        labelled = [window for window in windows if window.error is None]
        if not labelled:
            raise AudioError(windows[0].error if windows else "empty: the file holds no audio")
        if len(windows) == 1:
            return windows[0].replace(start=0.0, end=length)
        weights = np.array([window.speech or window.end - window.start for window in labelled])
        values = np.array([[window[name] for name in self.outputs] for window in labelled])
        speech = self.hop * (len(windows) - 1) + windows[-1].speech if self.vad else None
        return self._labels(0.0, length, weights @ values / weights.sum(), speech=speech)

    def _blocks(self, recording: str | PathLike[str] | Array, rate: float | None) -> Iterable[Samples]:
        if isinstance(recording, str | PathLike):
            return audio.blocks(recording)
        if rate is None:
            raise UsageError("an array needs its rate: label(samples, rate)")
        return [audio.mono(recording, rate)]

    def _stream(self, blocks: Iterable[Samples]) -> Iterator[Labels]:
        window, hop = (round(seconds * audio.SAMPLE_RATE) for seconds in (self.window, self.hop))
        if not self.vad:
            for start, samples in cut(blocks, window, hop, self._join):
                yield self._row(start, start + len(samples), samples)
            return
        speech, any_window = Speech(blocks, self._whole), False
        for start, samples in cut(speech, window, hop, self._join):
            any_window = True
            if not (speech.heard or self.regardless):
                raise _no_speech(speech)
            row = self._row(speech.time(start), speech.time(start + len(samples) - 1) + 1, samples)
            yield row.replace(speech=len(samples) / audio.SAMPLE_RATE if speech.cut else speech.seconds)
        if speech.cut and not any_window:
            raise _no_speech(speech)

    def _row(self, start: int, end: int, samples: Samples) -> Labels:
        """Label samples that were cut from ``start`` to ``end`` of a recording, in samples."""
        times = start / audio.SAMPLE_RATE, end / audio.SAMPLE_RATE
        try:
            if peak(samples) < SILENCE:
                raise AudioError(SILENT)
            return self._labels(*times, self.runtime.run(samples))
        except AudioError as error:
            return self._labels(*times, None, error=str(error))

    def _labels(
        self, start: float, end: float, values: Array | None, speech: float | None = None, error: str | None = None
    ) -> Labels:
        outputs = dict.fromkeys(self.columns) if values is None else self.task.row(self.outputs, values)
        return Labels({"start": start, "end": end, **outputs, "speech": speech, "error": error})


def _no_speech(speech: Speech) -> AudioError:
    return AudioError(SILENT if speech.peak < SILENCE else "no speech found; --no-vad labels it anyway")
