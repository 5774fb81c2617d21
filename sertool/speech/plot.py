"""Plot the speech in a recording. Needs matplotlib, but no display."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sertool._types import Floats, Samples
from sertool.look import COLOURS
from sertool.look.figures import figure as figure_of
from sertool.look.figures import styled
from sertool.recordings.recording import printable
from sertool.speech.detection import Detected
from sertool.speech.detector import FRAME
from sertool.speech.segmenter import Parameters

_COLUMNS = 2000  # more than the plot's pixels; longer recordings are drawn as minimum and maximum per column


@styled
def plot(path: Path, title: str, blocks: Iterable[Samples], found: Detected, parameters: Parameters) -> None:
    """Plot the waveform above the probabilities with both thresholds, with shaded segments.

    ``found`` must have probabilities; ``blocks`` are the recording, read again, float32 [n], 16 kHz.
    """
    assert found.probabilities is not None

    unit, scale = ("min", 60) if found.seconds > 180 else ("s", 1)
    last = found.seconds / scale
    figure = figure_of(10, 4.6)
    above, below = figure.subplots(2, 1, sharex=True)
    for axes in (above, below):
        spans = [(start * last / found.samples, (end - start) * last / found.samples) for start, end in found.segments]
        axes.broken_barh(spans, (0, 1), transform=axes.get_xaxis_transform(), color=COLOURS[5], alpha=0.3, linewidth=0)
    columns = min(found.samples, _COLUMNS)
    above.fill_between(_middles(columns) * last, *_envelope(blocks, found.samples, columns), color="#8A94A1", lw=0.3)
    above.set(ylabel="amplitude", xlim=(0, last))
    p = found.probabilities
    edges = np.arange(min(len(p), _COLUMNS)) * len(p) // min(len(p), _COLUMNS)
    low, high = np.minimum.reduceat(p, edges), np.maximum.reduceat(p, edges)
    time = _middles(len(edges)) * len(p) * FRAME / found.samples * last
    below.fill_between(time, low, high, color=COLOURS[0], alpha=0.4, linewidth=0)
    below.plot(time, high, color=COLOURS[0], linewidth=0.9)
    for name, value, style in (("threshold", parameters.threshold, "--"), ("lower", parameters.lower, ":")):
        below.axhline(value, color=COLOURS[3], linestyle=style, linewidth=1, label=f"{name} {value:g}")
    below.set(ylabel="probability of speech", ylim=(0, 1), xlabel=f"time ({unit})")
    figure.legend(*below.get_legend_handles_labels(), loc="outside lower right", ncols=2)
    share = found.speech / found.seconds
    title = f"{printable(title)}: {found.speech:.1f} of {found.seconds:.1f} s are speech ({share:.0%})"
    figure.suptitle(title, x=0.01, ha="left")
    figure.savefig(path)


def _middles(columns: int) -> Floats:
    return (np.arange(columns) + 0.5) / columns


def _envelope(blocks: Iterable[Samples], samples: int, columns: int) -> tuple[Samples, Samples]:
    """Return (minimum, maximum), including 0, of each column: float32 [columns]."""
    low, high, at = np.zeros(columns, np.float32), np.zeros(columns, np.float32), 0
    for block in blocks:
        columns_of = np.arange(at, at + len(block)) * columns // samples
        first = np.flatnonzero(np.diff(columns_of, prepend=-1))
        here = columns_of[first]
        low[here] = np.minimum(low[here], np.minimum.reduceat(block, first))
        high[here] = np.maximum(high[here], np.maximum.reduceat(block, first))
        at += len(block)
    return low, high
