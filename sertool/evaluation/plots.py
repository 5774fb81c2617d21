"""Plots of an evaluation, in the style of arXiv 2408.13920 and 2512.23435. Needs matplotlib, but no display."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sertool._types import Array, Floats
from sertool.evaluation.metrics import BINS, row_shares
from sertool.look import COLOURS, GREY, MARKERS, colours, indices
from sertool.look.figures import GRID, styled
from sertool.look.figures import figure as figure_of


@styled
def scatter(path: Path, outputs: dict[str, Array], classes: list[str], title: str) -> None:
    """Draw recordings in the arousal-valence plane, coloured by class, a panel per model (2408.13920, Fig. 1).

    ``outputs`` are name -> [n, 2] of arousal and valence; ``classes`` [n], empty if unknown. The large markers are the
    class means.
    """
    values = np.concatenate(list(outputs.values()))
    low, high = min(0, values.min()) - 0.02, max(1, values.max()) + 0.02
    labels = np.array(classes, str)
    # Frequent classes first, so that they get the most distinct colours.
    names, counts = np.unique(labels[labels != ""], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    chosen = indices([str(names[k]) for k in order])
    looks = [
        (
            f"{names[k]} ({counts[k]})",
            labels == names[k],
            {"color": COLOURS[chosen[i]], "marker": MARKERS[chosen[:i].count(chosen[i]) % 9]},
        )
        for i, k in enumerate(order)
    ]
    figure = figure_of(4.2 * len(outputs) + 1.8, 4.6)
    panels = figure.subplots(1, len(outputs), sharex=True, sharey=True, squeeze=False)[0]
    size = float(np.clip(9000 / max(len(labels), 1), 7, 36))
    for axes, (model, points) in zip(panels, outputs.items(), strict=True):
        _neutral(axes, both=True)
        unknown = points[labels == ""]
        axes.scatter(*unknown.T, s=size, c=GREY, alpha=0.5, linewidths=0, label="no class" if len(unknown) else None)
        for _, inside, look in looks:
            axes.scatter(*points[inside].T, s=size, alpha=0.6, linewidths=0, **look)
        for label, inside, look in looks:  # above all points
            axes.scatter(*points[inside].mean(axis=0), s=80, edgecolors="black", linewidths=1.1, label=label, **look)
        axes.set(
            title=model, xlabel="arousal (0 to 1, 0.5 neutral)", xlim=(low, high), ylim=(low, high), aspect="equal"
        )
    panels[0].set_ylabel("valence (0 to 1, 0.5 neutral)")
    if len(panels[0].get_legend_handles_labels()[0]):
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    figure.suptitle(title)
    figure.savefig(path)


@styled
def course(path: Path, courses: dict[str, dict[str, Any]], names: list[str], title: str) -> None:
    """Draw models' outputs over the time of a recording, a panel per output (2408.13920, Fig. 3); silence is a gap.

    ``courses`` are name -> result of evaluation.run.course; a window's output is drawn at its middle.
    """
    last, unit, scale = _duration(courses)
    figure = figure_of(10, 1.0 + 1.8 * len(names))
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(panels, names, strict=True):
        _neutral(axes)
        for colour, (model, course) in zip(COLOURS, courses.items(), strict=False):
            middle, values = _middles(course) / scale, _values(course, name)
            marker = "." if len(values) < 100 else None
            axes.plot(middle, values, color=colour, marker=marker, linewidth=1.3, label=model)
        low, high = axes.get_ylim()
        axes.set(ylabel=f"{name}\n(0 to 1)", ylim=(min(0, low), max(1, high)), xlim=(0, last / scale))
    panels[-1].set_xlabel(f"time ({unit})")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    figure.suptitle(_windows(title, courses), x=0.01, ha="left")
    figure.savefig(path)


@styled
def probabilities(path: Path, courses: dict[str, dict[str, Any]], names: list[str], title: str) -> None:
    """Draw class probabilities over the time of a recording, stacked to 1, a panel per model; silence is a gap.

    Arguments as ``course``; a window's probabilities extend from its middle half-way to the neighbours' middles.
    """
    last, unit, scale = _duration(courses)
    figure = figure_of(10, 1.3 + 1.9 * len(courses))
    panels = figure.subplots(len(courses), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (model, course) in zip(panels, courses.items(), strict=True):
        middles = _middles(course)
        edges = np.concatenate([course["start"][:1], (middles[1:] + middles[:-1]) / 2, course["end"][-1:]]) / scale
        below = np.zeros(len(middles))
        for i, name in enumerate(names):
            above = below + np.nan_to_num(_values(course, name))
            axes.stairs(above, edges, baseline=below, fill=True, color=colours(names)[i], label=name)
            below = above
        axes.set(ylabel=f"{model}\nprobability", ylim=(0, 1), xlim=(0, last / scale))
    panels[-1].set_xlabel(f"time ({unit})")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=8)
    figure.suptitle(_windows(title, courses), x=0.01, ha="left")
    figure.savefig(path)


@styled
def confusion(path: Path, confusions: dict[str, tuple[list[str], list[list[int]]]], title: str) -> None:
    """Draw confusion matrices, as shares of the true class and as clips, a panel per model (2512.23435, Fig. 1).

    ``confusions`` are name -> (classes, counts [k, k] with a row per true class). Rows without clips are grey.
    """
    from matplotlib import colormaps

    colours = colormaps["Blues"].with_extremes(bad="#E6E6E6")
    size = max(3.2, 1.0 + 0.8 * max(len(classes) for classes, _ in confusions.values()))
    figure = figure_of((size + 0.7) * len(confusions) + 0.9, size + 0.9)
    panels = figure.subplots(1, len(confusions), squeeze=False)[0]
    for axes, (model, (classes, counts)) in zip(panels, confusions.items(), strict=True):
        shares, places = row_shares(counts), range(len(classes))
        image = axes.imshow(shares, cmap=colours, vmin=0, vmax=1)
        for row, column in np.ndindex(shares.shape):
            share = shares[row, column]
            ink = {"ha": "center", "color": "white" if share > 0.6 else "black"}
            axes.text(column, row, "-" if np.isnan(share) else f"{share:.2f}", va="bottom", fontsize=12, **ink)
            axes.text(column, row + 0.06, counts[row][column], va="top", fontsize=8, **ink)
        axes.set(title=model, xlabel="predicted class", xticks=places, xticklabels=classes)
        axes.set(ylabel="true class", yticks=places, yticklabels=classes)
        axes.tick_params(length=0)
    figure.colorbar(image, ax=list(panels), shrink=0.8, label="share of the true class's clips")
    figure.suptitle(title)
    figure.savefig(path)


@styled
def reliability(path: Path, bins: dict[str, dict[str, Array]], title: str) -> None:
    """Draw reliability diagrams (Guo et al. 2017): accuracy against confidence, and the share of clips, by bin.

    ``bins`` are name -> result of metrics.reliability; a panel per model. The gap to perfect calibration is hatched.
    """
    width, centres = 1 / BINS, (np.arange(BINS) + 0.5) / BINS
    figure = figure_of(4.2 * len(bins) + 0.6, 5.8)
    panels = figure.subplots(2, len(bins), sharex=True, sharey="row", squeeze=False, height_ratios=[3, 1])
    for (above, below), (model, values) in zip(panels.T, bins.items(), strict=True):
        filled = values["clips"] > 0
        clips, confidence, accuracy = (values[name][filled] for name in ("clips", "confidence", "accuracy"))
        error = clips @ np.abs(accuracy - confidence) / clips.sum()
        above.bar(centres[filled], accuracy, width, color=COLOURS[5], edgecolor="white", label="accuracy")
        above.bar(
            centres[filled],
            confidence - accuracy,
            width,
            bottom=accuracy,
            color="none",
            edgecolor=COLOURS[3],
            hatch="////",
            linewidth=0.8,
            label="gap to confidence",
        )
        above.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--", label="no gap")
        above.text(0.04, 0.95, f"ECE {error:.3f}\n{clips.sum()} clips", va="top", transform=above.transAxes)
        above.set(title=model, xlim=(0, 1), ylim=(0, 1))
        below.bar(centres[filled], clips / clips.sum(), width, color=GREY, edgecolor="white")
        below.set(xlabel="confidence (largest probability)")
    panels[0, 0].set_ylabel("accuracy")
    panels[1, 0].set_ylabel("share of clips")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle(title)
    figure.savefig(path)


@styled
def bars(path: Path, reports: dict[str, dict[str, Any]], title: str) -> None:
    """Draw the main measures by model with 95 % intervals, a panel per measure (2408.13920, Fig. 2 and 4).

    CCC of each output, or AUC if there are only classes; WA and UA for models of classes, with a line at the chance
    level of UA. Bars are for all recordings and, if there are several corpora, for each corpus.
    """
    from matplotlib.patches import Patch

    measures = _measures(reports)
    corpora = list(next(iter(reports.values()))["groups"]["corpus"])
    measured = [c for c in corpora if any(m in _group(r, c)["measures"] for r in reports.values() for m in measures)]
    groups = ["all", *measured] if len(corpora) > 1 else ["all"]
    figure = figure_of(max(5.5, 2.0 + 0.28 * len(groups) * (len(reports) + 1)), 1.2 + 2.1 * len(measures))
    panels = figure.subplots(len(measures), 1, sharex=True, squeeze=False)[:, 0]
    width = 0.8 / max(2, len(reports))
    corner = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right", "fontsize": 8}
    for axes, measure in zip(panels, measures, strict=True):
        chance = 0.5 if measure.endswith("AUC") else 0
        for i, report in enumerate(reports.values()):
            figures = [_group(report, group)["measures"].get(measure) for group in groups]
            shift = (i - (len(reports) - 1) / 2) * width
            for place, figure_of_group in enumerate(figures):
                if figure_of_group:
                    value, low, high = (figure_of_group[key] for key in ("value", "low", "high"))
                    axes.bar(place + shift, value - chance, width * 0.92, bottom=chance, color=COLOURS[i % 8])
                    if low is not None:
                        axes.vlines(place + shift, low, high, color="black", linewidth=1.2)
        axes.axhline(chance, color="black", linewidth=0.8)
        if measure == "UA":
            for classes in {len(report["overall"]["confusion"]) for report in reports.values()}:
                axes.axhline(1 / classes, color="black", linewidth=0.8, linestyle="--")
                axes.annotate("chance", (1, 1 / classes), (-3, 2), **corner)
        low = 0 if measure in ("WA", "UA") else min(axes.get_ylim()[0], chance - 0.1)
        axes.set(ylabel=measure, ylim=(low, 1), xticks=range(len(groups)), xticklabels=groups)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    panels[-1].tick_params(axis="x", rotation=20 if len(groups) > 4 else 0)
    patches = [Patch(color=COLOURS[i % 8], label=model) for i, model in enumerate(reports)]
    columns = max(1, min(4, 50 // max(map(len, reports))))
    figure.legend(handles=patches, loc="outside lower center", ncols=columns)
    figure.suptitle(title)
    figure.savefig(path)


@styled
def sweep(path: Path, rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Draw time, and the memory that a model adds, over the audio length, a line per model (2408.13920, Fig. 5).

    ``rows`` are those of bench.sweep. If rows have the times of a model's parts, they are drawn in a third panel.
    """
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    measured = [row for row in rows if "error" not in row]
    names = list(dict.fromkeys((row["model"], row["format"]) for row in measured))
    parts = [name for name in names if any("parts" in row for row in measured if (row["model"], row["format"]) == name)]
    seconds = sorted({row["audio_s"] for row in measured})
    figure = figure_of(4.6 * (3 if parts else 2), 4.4)
    panels = figure.subplots(1, 3 if parts else 2)
    for i, name in enumerate(names):
        of_model = [row for row in measured if (row["model"], row["format"]) == name]
        look = {"color": COLOURS[i % 8], "marker": MARKERS[i // 8 % 9], "markersize": 4, "linewidth": 1.3}
        audio = [row["audio_s"] for row in of_model]
        panels[0].plot(audio, [row["seconds"] for row in of_model], label=" ".join(name), **look)
        panels[0].fill_between(
            audio,
            [row["low_s"] for row in of_model],
            [row["high_s"] for row in of_model],
            color=look["color"],
            alpha=0.2,
        )
        panels[1].plot(audio, [row["added_bytes"] / 1e6 for row in of_model], **look)
        for part, line in zip(of_model[0].get("parts", {}) if name in parts else (), ("-", "--", ":"), strict=False):
            times = [row["parts"][part]["seconds"] for row in of_model]
            label = f"{' '.join(name)}: {part}"
            panels[2].plot(audio, times, linestyle=line, label=label, **look)
    titles = ("time of one run (s)", "memory added to the runtime (MB)", "time of its parts (s)")
    for axes, label in zip(panels, titles, strict=False):
        axes.set(xscale="log", yscale="log", xlabel="audio (s)", ylabel=label)
        axes.set_xticks(seconds, [f"{one:g}" for one in seconds])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    if parts:
        panels[2].legend(fontsize=8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle(title)
    figure.savefig(path)


def _measures(reports: dict[str, dict[str, Any]]) -> list[str]:
    """Return the CCC of each output, or AUC if there is no CCC; WA and UA for models of classes."""
    available = list(dict.fromkeys(name for report in reports.values() for name in report["overall"]["measures"]))
    return [n for n in available if n.endswith("CCC")] or [n for n in available if n.endswith(("AUC", "WA", "UA"))]


def _group(report: dict[str, Any], group: str) -> dict[str, Any]:
    result: dict[str, Any] = report["overall"] if group == "all" else report["groups"]["corpus"][group]
    return result


def _duration(courses: dict[str, dict[str, Any]]) -> tuple[float, str, int]:
    """Return the seconds of the recording, the unit of the time axis and that unit's seconds."""
    last = max(course["end"][-1] for course in courses.values())
    return (last, "min", 60) if last > 180 else (last, "s", 1)


def _middles(course: dict[str, Any]) -> Floats:
    return (np.array(course["start"], np.float64) + np.array(course["end"], np.float64)) / 2


def _values(course: dict[str, Any], name: str) -> Floats:
    return np.array(course.get(name, [None] * len(course["start"])), np.float64)


def _windows(title: str, courses: dict[str, dict[str, Any]]) -> str:
    window = next(iter(courses.values()))
    return f"{title}: windows of {window['window']:g} s, {window['hop']:g} s apart"


def _neutral(axes: Any, both: bool = False) -> None:
    """Draw thin lines through 0.5, the neutral point."""
    axes.axhline(0.5, color=GREY, linewidth=0.8, zorder=0)
    if both:
        axes.axvline(0.5, color=GREY, linewidth=0.8, zorder=0)
