"""Label one recording."""

import collections
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from typing import Any, TypeAlias

import numpy as np

from sertool import audio
from sertool._about import DEFAULT_MODEL
from sertool._types import Array, Samples
from sertool.errors import AudioError, UsageError
from sertool.labelling.answers import Answers, Vectors
from sertool.labelling.labels import Labels
from sertool.labelling.windows import SHORTEST_REST
from sertool.labelling.windows import spans as cut_span
from sertool.labelling.windows import windows as cut
from sertool.runtime import Runtime
from sertool.segments import Segment
from sertool.speech.detection import SILENCE, SILENT, peak
from sertool.speech.selection import Speech, WindowedSpeech
from sertool.tasks import TASKS

#: Start and end in samples of the recording, samples, seconds of speech if they are known, whether any was heard.
_Piece: TypeAlias = tuple[int, int, Samples, float | None, bool]
#: Labels pieces, in their order: itertools.starmap, or what does it in several threads.
Spread: TypeAlias = Callable[[Callable[..., Labels], Iterable[tuple[Any, ...]]], Iterator[Labels]]

#: Samples of the shortest segment that is repeated: less than 10 ms would become a buzz.
_SHORTEST = audio.SAMPLE_RATE // 100
#: Seconds of a segment that is more likely a wrong unit, or the rest of the recording.
_LONG_S = 3600
#: Error of a recording or a window in which the detector finds nothing.
NO_SPEECH = "no speech found; --no-vad labels it anyway"


class Labeller:
    """A model that labels recordings; thread-safe, picklable by name.

    ``model``: a name, a bundle folder or a model file. ``variant``: the name of one of the bundle's variants, by
    default the bundle's default or one for ``runtime``, "onnx" or "native". ``window`` and ``hop`` are in seconds, by
    default the bundle's window without overlap. With ``vad``, windows of a recording longer than one window are cut
    from its speech, and a recording of more than a second without speech raises AudioError unless ``regardless``.
    With ``unsure``, 0 to 1, the emotion of a calibrated model of classes is "unsure" where its confidence is lower, and
    "other" where the audio is unlike anything that the model was trained on. ``vectors`` gives numbers in place of
    labels: "embedding" the embedding, "both" the model's outputs before it. Raises BundleError or UsageError.
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
        unsure: float | None = None,
        vectors: str = "",
    ) -> None:
        self.arguments: tuple[Any, ...] = (model, variant, window, hop, vad, runtime, regardless, unsure, vectors)
        self.runtime, self.vad, self.regardless = Runtime(model, variant, runtime=runtime), vad, regardless
        self.bundle = self.runtime.bundle
        self.outputs = self.bundle.outputs
        self.task = TASKS[self.bundle.manifest.task]
        self._answers = Vectors(self.runtime, vectors) if vectors else Answers(self.runtime, unsure)
        self.columns, self.label_column = self._answers.columns, self._answers.label
        if vectors:
            self.outputs = self.columns
        # A model that cuts its input to a fixed length would discard a rest that is joined to a window.
        self._join = not any(step["step"] == "length" for step in self.bundle.manifest.preprocessing)
        self._set_windows(window, hop)

    def cut(self, window: float | None, hop: float | None, vad: bool) -> "Labeller":
        """Return a labeller with other windows that shares the model. Raises UsageError."""
        other = Labeller.__new__(Labeller)  # a copy would load the model again
        vars(other).update(vars(self))
        model, variant, _, _, _, *rest = self.arguments
        other.vad, other.arguments = vad, (model, variant, window, hop, vad, *rest)
        other._set_windows(window, hop)
        return other

    def _set_windows(self, window: float | None, hop: float | None) -> None:
        self.window = float(self.bundle.manifest.window_s if window is None else window)
        self.hop = float(self.window if hop is None else hop)
        samples, step = self.window * audio.SAMPLE_RATE, self.hop * audio.SAMPLE_RATE
        if not (self.runtime.shortest <= samples < float("inf") and 1 <= step <= samples):
            raise UsageError(
                f"window {self.window:g} s, hop {self.hop:g} s: the window must hold {self.runtime.shortest} samples "
                f"({self.runtime.shortest / audio.SAMPLE_RATE:g} s), the hop must be above 0 and at most the window"
            )
        share = 1 + SHORTEST_REST * self._join
        self._whole, longest = int(samples * share), self.runtime.longest
        if longest and samples * share > longest:
            most = int(longest / share / audio.SAMPLE_RATE)
            raise UsageError(f"window {self.window:g} s: {self.bundle.manifest.name} takes at most {most} s at once")

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return Labeller, self.arguments  # the other process loads the model again

    def label(self, recording: str | PathLike[str] | Array, rate: float | None = None) -> Labels:
        """Label a recording as a whole: the mean over its windows, weighted by duration.

        ``recording``: a file, or samples [n] or [n, channels] with their ``rate`` in Hz. Raises AudioError if it cannot
        be read, is silent or contains no speech.
        """
        windows, length = self.rows(self._blocks(recording, rate))
        return self.average(windows, length)

    def windows(self, recording: str | PathLike[str] | Array, rate: float | None = None) -> Iterator[Labels]:
        """Label a window every ``hop`` of a recording while reading it; arguments and errors are those of ``label``.

        A window is labelled as it is, with its pauses; ``speech`` is the speech in it. A silent window or one without
        speech has an ``error`` and no outputs.
        """
        return self._hops(self._blocks(recording, rate))

    def speech_windows(self, recording: str | PathLike[str] | Array, rate: float | None = None) -> Iterator[Labels]:
        """Label windows of speech while reading a recording: those that ``label`` averages.

        ``start`` and ``end`` are times in the recording, even if non-speech between them was left out. A silent window
        has an ``error`` and no outputs.
        """
        return self._stream(self._blocks(recording, rate))

    def rows(self, blocks: Iterable[Samples], spread: Spread = itertools.starmap) -> tuple[list[Labels], float]:
        """Label 16 kHz blocks [n]; return (``speech_windows`` as a list, length of the recording in seconds).

        ``spread`` labels the windows, as itertools.starmap does it, in their order.
        """
        return _listed(functools.partial(self._stream, spread=spread), blocks)

    def window_rows(self, blocks: Iterable[Samples], spread: Spread = itertools.starmap) -> tuple[list[Labels], float]:
        """Label 16 kHz blocks [n]; return (``windows`` as a list, length of the recording in seconds); see ``rows``."""
        return _listed(functools.partial(self._hops, spread=spread), blocks)

    def segments(
        self,
        recording: str | PathLike[str] | Array,
        segments: Sequence[Segment | tuple[float, float]],
        rate: float | None = None,
        short: str = "repeat",
    ) -> list[Labels]:
        """Label segments of a recording, given as (start, end) in seconds or as Segment; return one Labels for each.

        A segment longer than 9/8 windows is cut into windows, which are averaged. One that is shorter than the model
        takes is repeated (``repeats`` says how often it was added) or has an error, as ``short`` says; below 10 ms it
        always has an error. A segment that
        ends behind the recording is cut there. An empty or silent segment, or one outside the recording, has an error.
        Only what is labelled is read, if the format of the file allows it. Raises AudioError and UsageError as
        ``label``.
        """
        if isinstance(recording, str | PathLike):
            excerpts: audio.Excerpts | audio.Held = audio.Excerpts(recording)
        elif rate is None:
            raise UsageError("an array needs its rate: segments(samples, segments, rate)")
        else:
            excerpts = audio.Held(audio.mono(recording, rate))
        given = [segment if isinstance(segment, Segment) else Segment(*segment) for segment in segments]
        return self.segment_rows(excerpts, given, short)[0]

    def segment_rows(
        self,
        recording: audio.Excerpts | audio.Held,
        segments: Sequence[Segment],
        short: str = "repeat",
        spread: Spread = itertools.starmap,
    ) -> tuple[list[Labels], float]:
        """Label ``segments``; return (one Labels for each, length of the recording in seconds); see ``rows``."""
        rate = audio.SAMPLE_RATE
        window, hop = round(self.window * rate), round(self.hop * rate)
        known = recording.seekable
        if not known and any(segment.end - segment.start > _LONG_S for segment in segments):
            for _ in recording.read([]):  # decodes it, to find its length
                pass
            known = True
        owners: list[int] = []
        spans: list[tuple[int, int]] = []
        for number, segment in enumerate(segments):
            start = max(0, round(segment.start * rate))
            last = recording.length if known else math.inf
            end = round(min(segment.end * rate, last)) if segment.start * rate < last else start
            if segment.start >= 0:
                for span in cut_span(start, end, window, hop, self._join):
                    owners.append(number)
                    spans.append(span)
        parts: list[list[Labels]] = [[] for _ in segments]
        order: list[int] = []  # owners of the pieces
        begun = [False] * len(segments)

        def pieces() -> Iterator[tuple[int, Samples, str]]:
            for index, samples in recording.read(spans):
                (start, end), own = spans[index], owners[index]
                small = len(samples) < window * SHORTEST_REST and end - start >= window * SHORTEST_REST
                fragment = begun[own] and small  # what the recording's end leaves of a window
                if len(samples) and not fragment:
                    begun[own] = True
                    order.append(own)
                    yield start, samples, short

        for place, row in enumerate(spread(self._repeated, pieces())):
            parts[order[place]].append(row)
        length = recording.length / rate
        return [self._segment(segment, own, length) for segment, own in zip(segments, parts, strict=True)], length

    def _repeated(self, start: int, samples: Samples, short: str) -> Labels:
        end, repeats = start + len(samples), 0
        if len(samples) < self.runtime.shortest and short == "repeat" and len(samples) >= _SHORTEST:
            repeats = -(-self.runtime.shortest // len(samples)) - 1
            samples = np.tile(samples, repeats + 1)
        return self.labelled(start, end, samples).replace(repeats=repeats)

    def _segment(self, segment: Segment, parts: list[Labels], length: float) -> Labels:
        start, end = segment.start, min(segment.end, length) if segment.start < length else segment.end
        error = None
        if start < 0:
            error = "the segment begins before the recording"
        elif end <= start:
            error = "the segment has no length"
        elif start >= length:
            error = f"the segment is outside the recording, which ends at {length:.3f} s"
        elif not parts:
            error = "the segment has no length"
        if error:
            return self._labels(start, end, None, error=error).replace(repeats=None)
        whole = parts[0] if len(parts) == 1 else self._mean(start, end, parts)
        return whole.replace(start=start, end=end, speech=end - start, repeats=parts[0]["repeats"])

    def whole(self, blocks: Iterable[Samples]) -> tuple[list[Labels], float]:
        """Label 16 kHz blocks [n] in one piece, without speech detection and windows; return the same as ``rows``."""
        samples = np.concatenate([np.zeros(0, np.float32), *blocks])
        return [self.labelled(0, len(samples), samples)] if len(samples) else [], len(samples) / audio.SAMPLE_RATE

    def average(self, windows: list[Labels], length: float) -> Labels:
        """Average the windows of a recording of ``length`` seconds, weighted by duration.

        Raises AudioError if no window has outputs.
        """
        self._require_outputs(windows)
        if len(windows) == 1:
            return windows[0].replace(start=0.0, end=length)
        speech = self.hop * (len(windows) - 1) + windows[-1].speech if self.vad else None
        return self._mean(0.0, length, windows).replace(speech=speech)

    def merge(self, rows: list[Labels]) -> Labels:
        """Average segments, weighted by duration: from the first start to the last end, with all their speech.

        Raises AudioError if no segment has outputs.
        """
        self._require_outputs(rows)
        labelled = [row for row in rows if row.error is None]
        merged = self._mean(min(row.start for row in rows), max(row.end for row in rows), labelled)
        return merged.replace(speech=sum(row.end - row.start for row in labelled))

    def _require_outputs(self, rows: list[Labels]) -> None:
        if all(row.error is not None for row in rows):
            raise AudioError(rows[0].error if rows else "empty: the file holds no audio")

    def _mean(self, start: float, end: float, rows: list[Labels]) -> Labels:
        labelled = [row for row in rows if row.error is None]
        if not labelled:
            return self._labels(start, end, None, error=rows[0].error)
        weights = np.array([row.speech or row.end - row.start for row in labelled])
        values = np.array([self._answers.values(row) for row in labelled])
        return self._labels(start, end, weights @ values / weights.sum())

    def _blocks(self, recording: str | PathLike[str] | Array, rate: float | None) -> Iterable[Samples]:
        if isinstance(recording, str | PathLike):
            return audio.blocks(recording)
        if rate is None:
            raise UsageError("an array needs its rate: label(samples, rate)")
        return [audio.mono(recording, rate)]

    def _stream(self, blocks: Iterable[Samples], spread: Spread = itertools.starmap) -> Iterator[Labels]:
        return spread(self._row, self._pieces_of_speech(blocks) if self.vad else self._pieces(blocks))

    def _hops(self, blocks: Iterable[Samples], spread: Spread = itertools.starmap) -> Iterator[Labels]:
        return spread(self._row, self._pieces_with_pauses(blocks) if self.vad else self._pieces(blocks))

    def _row(self, start: int, end: int, samples: Samples, speech: float | None, heard: bool) -> Labels:
        """Label a piece: samples, the time of the recording that they are from, and what is known of speech in it."""
        row = self.labelled(start, end, samples)
        if not (heard or self.regardless) and row.error is None:
            row = self._labels(row.start, row.end, None, error=NO_SPEECH)
        return row.replace(speech=speech)

    @property
    def _cut(self) -> tuple[int, int, bool]:
        window, hop = (round(seconds * audio.SAMPLE_RATE) for seconds in (self.window, self.hop))
        return window, hop, self._join

    def _pieces(self, blocks: Iterable[Samples]) -> Iterator[_Piece]:
        for start, samples in cut(blocks, *self._cut):
            yield start, start + len(samples), samples, None, True

    def _pieces_of_speech(self, blocks: Iterable[Samples]) -> Iterator[_Piece]:
        speech, any_window = Speech(blocks, self._whole), False
        for start, samples in cut(speech, *self._cut):
            any_window = True
            if not (speech.heard or self.regardless):
                raise _no_speech(speech)
            seconds = len(samples) / audio.SAMPLE_RATE if speech.cut else speech.seconds
            yield speech.time(start), speech.time(start + len(samples) - 1) + 1, samples, seconds, True
        if speech.cut and not any_window:
            raise _no_speech(speech)

    def _pieces_with_pauses(self, blocks: Iterable[Samples]) -> Iterator[_Piece]:
        speech = WindowedSpeech(blocks)
        waiting: collections.deque[tuple[int, Samples]] = collections.deque()

        def decided(last: bool) -> Iterator[_Piece]:
            while waiting and (last or waiting[0][0] + len(waiting[0][1]) <= speech.certain):
                start, samples = waiting.popleft()
                seconds, heard = speech.within(start, start + len(samples))
                yield start, start + len(samples), samples, seconds, heard

        for pair in cut(speech, *self._cut):
            waiting.append(pair)
            yield from decided(last=False)
        yield from decided(last=True)

    def failed(self, start: int, end: int, error: str) -> Labels:
        """Return a row without outputs about ``start`` to ``end`` of a recording, in samples."""
        return self._labels(start / audio.SAMPLE_RATE, end / audio.SAMPLE_RATE, None, error=error)

    def labelled(self, start: int, end: int, samples: Samples) -> Labels:
        """Label samples that were cut from ``start`` to ``end`` of a recording, in samples."""
        times = start / audio.SAMPLE_RATE, end / audio.SAMPLE_RATE
        try:
            if peak(samples) < SILENCE:
                raise AudioError(SILENT)
            return self._labels(*times, self._answers.of(samples))
        except AudioError as error:
            return self._labels(*times, None, error=str(error))

    def _labels(
        self, start: float, end: float, values: Array | None, speech: float | None = None, error: str | None = None
    ) -> Labels:
        outputs = dict.fromkeys(self.columns) if values is None else self._answers.row(values)
        return Labels({"start": start, "end": end, **outputs, "speech": speech, "error": error})


def _listed(
    label: Callable[[Iterable[Samples]], Iterator[Labels]], blocks: Iterable[Samples]
) -> tuple[list[Labels], float]:
    length = 0

    def counted() -> Iterator[Samples]:
        nonlocal length
        for block in blocks:
            length += len(block)
            yield block

    rows = list(label(counted()))
    return rows, length / audio.SAMPLE_RATE


def _no_speech(speech: Speech) -> AudioError:
    return AudioError(SILENT if speech.peak < SILENCE else NO_SPEECH)
