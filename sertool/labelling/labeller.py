"""One recording to its rows."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sertool import audio
from sertool._about import DEFAULT_MODEL
from sertool.errors import AudioError, UsageError
from sertool.labelling.windows import SHORTEST_REST
from sertool.labelling.windows import windows as cut
from sertool.runtime import Runtime
from sertool.speech.detect import SILENCE, SILENT, peak
from sertool.speech.selection import Speech
from sertool.tasks import TASKS


class Labeller:
    """Emotion labels from one model.

    ``model``: a name, a bundle folder or a model file; ``variant``: one of the bundle's, by default its own choice, or
    the one that it has for ``runtime``, "onnx" or "native". ``window`` and ``hop`` in seconds; the bundle's own window,
    end to end, by default. With ``vad`` the windows of a recording longer than one are cut from its speech. One of
    more than a second in which nothing sounds like speech has no label then, unless it is labelled ``regardless``.
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
    ):
        self._made_with = (model, variant, window, hop, vad, runtime, regardless)
        self.runtime, self.vad, self.regardless = Runtime(model, variant, runtime=runtime), vad, regardless
        self.bundle = self.runtime.bundle
        self.outputs = self.bundle.outputs
        self.task = TASKS[self.bundle.manifest["task"]]
        self.columns = self.task.columns(self.outputs)
        self.window = float(self.bundle.manifest["window_s"] if window is None else window)
        self.hop = float(self.window if hop is None else hop)
        samples, step = self.window * audio.SAMPLE_RATE, self.hop * audio.SAMPLE_RATE
        if not (self.runtime.shortest <= samples < float("inf") and 1 <= step <= samples):
            raise UsageError(
                f"window {self.window:g} s, hop {self.hop:g} s: the window must hold {self.runtime.shortest} samples "
                f"({self.runtime.shortest / audio.SAMPLE_RATE:g} s), the hop must be above 0 and at most the window"
            )

        # A model that cuts what it hears to a length of its own would not hear a rest that joins a window.
        self._join = not any(step["step"] == "length" for step in self.bundle.manifest["preprocessing"])
        share = 1 + SHORTEST_REST * self._join
        self._whole, longest = int(samples * share), self.runtime.longest
        if longest and samples * share > longest:
            most = int(longest / share / audio.SAMPLE_RATE)
            raise UsageError(f"window {self.window:g} s: {self.bundle.manifest['name']} takes at most {most} s at once")

    def __reduce__(self):
        """To another process it goes by what it was made with, which loads the model there."""
        return Labeller, self._made_with

    def label(self, recording, rate: float | None = None, *, windows: bool = False) -> dict | list[dict]:
        """Labels of a file, or of an array [samples] or [samples, channels] with its ``rate`` in Hz.

        Returns a dict with start, end (seconds), the model's outputs under their names (of a categorical model the
        probabilities, and the likeliest class as emotion), speech (seconds, None without VAD) and error (None); with
        ``windows=True`` a list of such dicts, in which a silent window has an error and no outputs. Raises AudioError.
        """
        if isinstance(recording, (str, Path)):
            blocks = audio.blocks(recording)
        elif rate is None:
            raise UsageError("an array needs its rate: label(samples, rate)")
        else:
            blocks = [audio.mono(recording, rate)]
        rows, seconds = self.rows(blocks)
        return rows if windows else self.average(rows, seconds)

    def rows(self, blocks: Iterable[np.ndarray]) -> tuple[list[dict], float]:
        """(a row a window, length of the recording in seconds); a silent window has an ``error`` and no outputs.

        ``start`` and ``end`` are places in the recording, even where non-speech between them was left out. AudioError
        if a long recording has no speech; what decoding raises passes through.
        """
        window, hop = (round(seconds * audio.SAMPLE_RATE) for seconds in (self.window, self.hop))
        length, rows = 0, []

        def counted():
            nonlocal length
            for block in blocks:
                length += len(block)
                yield block

        if not self.vad:
            pieces = cut(counted(), window, hop, self._join)
            rows = [self._row(start, start + len(samples), samples) for start, samples in pieces]
            return rows, length / audio.SAMPLE_RATE
        speech = Speech(counted(), self._whole)
        for start, samples in cut(speech, window, hop, self._join):
            row = self._row(speech.time(start), speech.time(start + len(samples) - 1) + 1, samples)
            rows.append(row | {"speech": len(samples) / audio.SAMPLE_RATE if speech.cut else speech.seconds})
        if (speech.cut and not rows) or (rows and not speech.heard and not self.regardless):
            raise AudioError(SILENT if speech.peak < SILENCE else "no speech found; --no-vad labels it all the same")
        return rows, length / audio.SAMPLE_RATE

    def whole(self, blocks: Iterable[np.ndarray]) -> tuple[list[dict], float]:
        """As ``rows``, but one row of all of the recording, however long: neither detector nor windows."""
        samples = np.concatenate([np.zeros(0, np.float32), *blocks])
        return [self._row(0, len(samples), samples)] if len(samples) else [], len(samples) / audio.SAMPLE_RATE

    def average(self, rows: list[dict], seconds: float) -> dict:
        """One row for a recording of so many seconds from the rows of its windows, weighted by duration.

        AudioError if no window has outputs.
        """
        labelled = [row for row in rows if row["error"] is None]
        if not labelled:
            raise AudioError(rows[0]["error"] if rows else "empty: the file holds no audio")
        if len(rows) == 1:
            return rows[0] | {"start": 0.0, "end": seconds}
        weights = np.array([row["speech"] or row["end"] - row["start"] for row in labelled])
        values = np.array([[row[name] for name in self.outputs] for row in labelled])
        means = weights @ values / weights.sum()
        return {
            "start": 0.0,
            "end": seconds,
            **self.task.row(self.outputs, means),
            "speech": self.hop * (len(rows) - 1) + rows[-1]["speech"] if self.vad else None,
            "error": None,
        }

    def _row(self, start: int, end: int, samples: np.ndarray) -> dict:
        row = {
            "start": start / audio.SAMPLE_RATE,
            "end": end / audio.SAMPLE_RATE,
            **dict.fromkeys(self.columns),
            "speech": None,
            "error": None,
        }
        try:
            if peak(samples) < SILENCE:
                raise AudioError(SILENT)
            row |= self.task.row(self.outputs, self.runtime.run(samples))
        except AudioError as error:
            row["error"] = str(error)
        return row
