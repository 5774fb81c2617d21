"""Labels as a figure: over the time of one recording, or a map of several. Needs matplotlib, but no display."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sertool.look import GREY, colours
from sertool.look.figures import GRID, figure, styled
from sertool.report.rows import Labelled, Row
from sertool.report.sound import MOST, Sound, listen

#: Corners of the plane of valence and arousal.
_CORNERS = {
    (0, 1): "tense, angry",
    (1, 1): "excited, happy",
    (0, 0): "sad, tired",
    (1, 0): "calm, content",
}


@styled
def draw(table: Labelled, paths: Mapping[str, Path | None], path: Path, title: str) -> None:
    """Draw a table of one recording over time, of several recordings as a map."""
    if len(table.files) == 1:
        picture = _course(table, listen(paths.get(table.files[0]), MOST), title)
    elif table.label:
        picture = _shares(table, title)
    else:
        picture = _map(table, title)
    picture.savefig(path)


def _course(table: Labelled, sound: Sound, title: str) -> Any:
    """Draw the waveform with its speech, above the outputs with their intervals."""
    rows = [row for row in table.rows if not row.get("error")]
    last = sound.seconds or max((row.get("end") or 0 for row in table.rows), default=0) or 1
    unit, scale = ("min", 60) if last > 180 else ("s", 1)
    result = figure(10, 4.4)
    above, below = result.subplots(2, 1, sharex=True, height_ratios=[1, 2.4])
    for axes in (above, below):
        spans = [(start / scale, (end - start) / scale) for start, end in sound.speech or ()]
        axes.broken_barh(spans, (0, 1), transform=axes.get_xaxis_transform(), color="#E3EFFB", linewidth=0)
    if sound.peaks:
        heights = np.array([ord(c) - 48 for c in sound.peaks]) / 31
        times = (np.arange(len(heights)) + 0.5) / len(heights) * last / scale
        above.fill_between(times, -heights, heights, color="#8A94A1", linewidth=0.3)
    else:
        above.text(0.01, 0.5, sound.reason or "no audio", transform=above.transAxes, va="center")
    above.set(yticks=[], ylim=(-1.05, 1.05), xlim=(0, last / scale), ylabel="waveform")
    above.spines["left"].set_visible(False)
    for name, colour in zip(table.outputs, colours(table.outputs), strict=True):
        _line(below, [row for row in rows if row.get(name) is not None], name, colour, scale)
    low, high = below.get_ylim()
    below.set(ylim=(min(0, low), max(1, high)), xlabel=f"time ({unit})", ylabel="probability" if table.label else "")
    below.grid(axis="y", color=GRID, linewidth=0.8)
    below.set_axisbelow(True)
    result.legend(*below.get_legend_handles_labels(), loc="outside upper right", ncols=8)
    what = f"; {table.rows[0]['error']}" if not rows else f"; {rows[0][table.label]}" if _single(table, rows) else ""
    result.suptitle(f"{title}{what}", x=0.01, ha="left")
    return result


def _single(table: Labelled, rows: Sequence[Row]) -> bool:
    return bool(table.label) and len(rows) == 1


def _line(axes: Any, rows: Sequence[Row], name: str, colour: str, scale: int) -> None:
    """Draw an output: the span of each row, or a line through their middles if they overlap."""
    starts, ends, values = (np.array([row[column] for row in rows], np.float64) for column in ("start", "end", name))
    starts, ends = starts / scale, ends / scale
    overlap = bool((starts[1:] < ends[:-1] - 1e-3).any())
    if overlap:
        axes.plot((starts + ends) / 2, values, color=colour, linewidth=1.6, label=name)
    else:
        axes.hlines(values, starts, ends, color=colour, linewidth=2.2, label=name)
        axes.plot((starts + ends) / 2, values, color=colour, linewidth=0.8, alpha=0.4)
    if all(row.get(f"{name}.low") is not None for row in rows):
        for row, start, end in zip(rows, starts, ends, strict=True):
            axes.fill_between([start, end], row[f"{name}.low"], row[f"{name}.high"], color=colour, alpha=0.1, lw=0)


def _map(table: Labelled, title: str) -> Any:
    """Draw recordings in the plane of valence and arousal, or of the first two outputs."""
    x, y = ("valence", "arousal") if {"valence", "arousal"} <= set(table.outputs) else (table.outputs * 2)[:2]
    rows = [row for row in table.rows if row.get(x) is not None and row.get(y) is not None]
    result = figure(6.2, 5.6)
    axes = result.subplots()
    points = np.array([(row[x], row[y]) for row in rows], np.float64).reshape(-1, 2)
    axes.scatter(
        *points.T, s=float(np.clip(9000 / max(len(rows), 1), 7, 36)), color=colours(["valence"])[0], alpha=0.6, lw=0
    )
    low, high = min(0, points.min(initial=0)) - 0.02, max(1, points.max(initial=1)) + 0.02
    axes.set(xlabel=x, ylabel=y, xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.axhline(0.5, color=GREY, linewidth=0.8, zorder=0)
    axes.axvline(0.5, color=GREY, linewidth=0.8, zorder=0)
    for (right, top), text in _CORNERS.items() if (x, y) == ("valence", "arousal") else ():
        sides = {"ha": "right" if right else "left", "va": "top" if top else "bottom"}
        axes.text(
            0.98 if right else 0.02, 0.98 if top else 0.02, text, transform=axes.transAxes, color="#5B6470", **sides
        )
    failed = len(table.rows) - len(rows)
    result.suptitle(f"{title}: {len(rows)} labelled" + (f", {failed} failed" if failed else ""))
    return result


def _shares(table: Labelled, title: str) -> Any:
    """Draw how often each class won, and how probable it was."""
    rows = [row for row in table.rows if row.get(table.label)]
    names = list(dict.fromkeys([*table.outputs, *sorted({row[table.label] for row in rows})]))
    result = figure(7.2, 1.2 + 0.5 * len(names))
    axes = result.subplots()
    counts = [sum(row[table.label] == name for row in rows) for name in names]
    places = np.arange(len(names))
    axes.barh(places, counts, color=colours(names))
    for place, count in zip(places, counts, strict=True):
        axes.text(count, place, f" {count} ({count / max(len(rows), 1):.0%})", va="center")
    axes.set(yticks=places, yticklabels=names, xlabel="recordings", xlim=(0, max(counts, default=1) * 1.18 or 1))
    axes.invert_yaxis()
    failed = len(table.rows) - len(rows)
    result.suptitle(f"{title}: {len(rows)} labelled" + (f", {failed} failed" if failed else ""))
    return result
