"""One self-contained HTML file about labelled recordings: a map, a table, and a timeline with a player.

No plotting library is inside. Ten thousand points that can be pointed at, a table of which only the rows in sight
exist, and a timeline are a few hundred lines for a canvas; the small libraries that are well kept (uPlot, Chart.js)
draw lines and bars, and would still need all of that.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sertool._about import __version__
from sertool.errors import UsageError
from sertool.look import indices
from sertool.look.pages import asset, packed, page
from sertool.report.compare import DIFFERENCE, VERDICT, Compared
from sertool.report.rows import PLACES, Labelled, Row
from sertool.report.sound import Sound, link
from sertool.speech.detection import SILENT

__all__ = ["Report", "write"]

_INTERVAL = (".low", ".high")
#: What a row is -> how the report calls several of them.
_PLURALS = {
    "window": "windows",
    "speech-window": "windows",
    "segment": "segments",
    "speaker": "speakers",
    "channel": "channels",
    "row": "rows",
}
_ROUND = 3
_WINDOWS = ("window", "speech-window")
#: Column -> what the page calls it.
_CALLED = {"error": "why it failed"}
_DIMENSIONS = {
    "arousal": "how excited the voice sounds",
    "dominance": "how much in control the voice sounds",
    "valence": "how pleasant the voice sounds",
}
#: Column -> what it holds, for a reader of the page.
_MEANINGS = {
    "start": "where it begins, in seconds",
    "end": "where it ends, in seconds",
    "speech": "seconds of speech in it",
    "confidence": "how many of such labels are right: 0.4 means 40 of 100",
    "typical": "how like the speech that the model knows: below 0.5, do not trust the labels",
    VERDICT: "whether the classes are the same",
}


@dataclass(frozen=True)
class Report:
    """What a report shows: ``table``, or ``compared``, with ``paths`` and ``sounds`` of its files.

    ``by`` is what a row is, one of a plan's kinds, or "" if that is not known. ``title`` is for a person.
    """

    table: Labelled
    paths: Mapping[str, Path | None]
    sounds: Mapping[str, Sound]
    title: str
    made: str
    by: str = ""
    compared: Compared | None = None


def write(report: Report, output: Path) -> int:
    """Write the report; return its bytes without embedded audio. Links to audio are relative to ``output``."""
    sounds = {
        f"a{place}": sound.opus
        for place, sound in enumerate(report.sounds[file] for file in report.table.files)
        if sound.opus
    }
    blocks = {"data": packed(_data(report, output))}
    body = asset("sertool.report", "report.html")
    styles = [asset("sertool.look", "look.css"), asset("sertool.report", "report.css")]
    own = ("report.js", "map.js", "groups.js", "table.js", "recording.js")
    scripts = [
        *(asset("sertool.look", name) for name in ("dom.js", "timeline.js")),
        *(asset("sertool.report", name) for name in own),
    ]
    media = "media-src data: 'self' file:"
    text = page(report.title, body, styles, scripts, blocks | sounds, media)
    part = output.with_name(output.name + ".part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, output)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return len(text) - sum(map(len, sounds.values()))


def _data(report: Report, output: Path) -> dict[str, Any]:
    """Return the data of report.js."""
    table, compared = report.table, report.compared
    files = table.files
    place = {file: number for number, file in enumerate(files)}
    folders = [os.path.dirname(file) for file in files]
    rows = [{**row, "error": _reason(row.get("error"))} for row in table.rows]
    columns = [name for name in table.columns if name != "file"]
    if len(set(folders)) > 1 and "folder" not in columns:
        rows = [{**row, "folder": folders[place[row["file"]]] or "."} for row in rows]
        columns.insert(len(columns) - (columns[-1:] == ["error"]), "folder")
    numbers = set(table.numbers)
    labels = _labels(report)
    seen = {row[one["label"]] for one in labels for row in rows if row.get(one["label"])}
    classes = list(
        dict.fromkeys([*(bare(name, compared) for name in labels[0]["outputs"]), *sorted(seen)]) if labels else []
    )
    outputs = [name for name in table.outputs if name in numbers]
    several = len(rows) > len(files)
    by = report.by if report.by in _PLURALS else next((name for name in PLACES if name in columns), _guess(rows, files))
    return {
        "title": report.title,
        "made": report.made,
        "model": table.model,
        "about": _about(report),
        "meanings": _meanings(report),
        "called": _called(compared),
        "caution": " ".join([_caution(compared), *_about_windows(report)]),
        "files": files,
        "file": [place[row["file"]] for row in rows],
        "columns": _columns(columns, rows, numbers, several, _hidden(table, rows, compared)),
        "row": by.removeprefix("speech-"),
        "rows": _PLURALS.get(by, "rows"),
        "level": "recording" if by in ("window", "speech-window", "row") and len(files) > 1 else "row",
        "labels": labels,
        "colours": dict(zip(classes, indices(classes), strict=True)),
        "lines": _lines(outputs, compared),
        "facts": _facts(outputs, numbers, compared, _hidden(table, rows, compared)),
        "unit": [*_unit([*outputs, *([DIFFERENCE] if compared else ())], rows), "confidence", "typical"],
        "places": table.places,
        "bare": compared.bare if compared else {},
        "compared": list(compared.names) if compared else None,
        "truth": bool(compared and compared.truth),
        "agreement": compared.agreement if compared else None,
        "confusion": _confusion(compared),
        "start": _start(outputs, labels, columns, compared),
        "sounds": [_sound(report.sounds[file], report.paths.get(file), output) for file in files],
    }


def _reason(error: object) -> str | None:
    """Return why a recording failed, in words for somebody who has no command line."""
    if not error:
        return None
    return "silent: there is no sound in it" if error == SILENT else str(error).partition("; --")[0]


def bare(name: str, compared: Compared | None) -> str:
    """Return a column's name without that of its table."""
    return compared.bare.get(name, name) if compared else name


def _labels(report: Report) -> list[dict[str, Any]]:
    """Return the columns with classes, each with the columns of its probabilities."""
    compared = report.compared
    if compared is None:
        own = [{"label": report.table.label, "outputs": list(report.table.outputs)}]
        return own if report.table.label else []
    if compared.labels is None:
        return []
    return [
        {"label": label, "outputs": list(outputs)}
        for label, outputs in zip(compared.labels, compared.outputs, strict=True)
    ]


def _guess(rows: Sequence[Row], files: Sequence[str]) -> str:
    """Return what rows are that nobody has told: windows, if each begins where the one before ended, or earlier."""
    if len(rows) == len(files):
        return "row"
    ends: dict[str, float] = {}
    for row in rows:
        start, end = row.get("start"), row.get("end")
        if not isinstance(start, float) or not isinstance(end, float):
            return "row"
        if start > ends.get(row["file"], start) + 0.001:
            return "segment"
        ends[row["file"]] = end
    return "window"


def _called(compared: Compared | None) -> dict[str, str]:
    own = dict(_CALLED)
    if compared and compared.truth and compared.labels:
        own |= {compared.labels[0]: "the model says", DIFFERENCE: "share of other classes"}
    return own


def _caution(compared: Compared | None) -> str:
    who = "Models" if compared and not compared.truth else "A model"
    hears = "They hear" if who == "Models" else "It hears"
    wrong = "they are" if who == "Models" else "it is"
    text = (
        f"{who} wrote these labels. {hears} how a voice sounds, not what a person feels, and {wrong} often wrong: "
        "listen before you conclude."
    )
    if compared and not compared.truth:
        text += " Neither table is the truth: the page shows where they disagree, not which is right."
    return text


def _hidden(table: Labelled, rows: Sequence[Row], compared: Compared | None) -> set[str]:
    """Return the columns that only the search and the saved table have.

    Two models have too many numbers for a table; a confidence that is the largest probability says nothing new.
    """
    if compared:
        return set(table.outputs) if compared.labels and not compared.truth else set()
    known = [row for row in rows if row.get("confidence") is not None]
    same = table.label and all(
        abs(row["confidence"] - max((row.get(name) or 0.0) for name in table.outputs)) < 2e-3 for row in known
    )
    return {"confidence"} if known and table.outputs and same else set()


def _columns(
    names: Sequence[str], rows: Sequence[Row], numbers: set[str], several: bool, hidden: set[str]
) -> list[dict[str, Any]]:
    """Return the columns as report.js reads them; an interval of constant width is sent as an offset."""
    columns = []
    for name in names:
        values = [row.get(name) for row in rows]
        known = [value for value in values if value is not None]
        if not known or (name == "repeats" and not any(known)):
            continue
        column: dict[str, Any] = {"name": name, "kind": "number" if name in numbers else "text"}
        if name.endswith(_INTERVAL) or name in hidden:
            column["hidden"] = True
        if name in ("start", "end"):
            column["ofRows" if several else "hidden"] = True
        origin = next((name.removesuffix(end) for end in _INTERVAL if name.endswith(end)), "")
        offset = _offset([row.get(origin) for row in rows], values) if name in numbers and origin in names else None
        if offset is not None:
            column |= {"of": origin, "offset": offset}
        elif name in numbers:
            column["values"] = [None if value is None else _rounded(value) for value in values]
        else:
            column["values"] = [None if value is None else str(value) for value in values]
        columns.append(column)
    return columns


def _rounded(value: float) -> float | int:
    short = round(value, _ROUND)
    return int(short) if short == int(short) else short


def _offset(values: Sequence[Any], moved: Sequence[Any]) -> float | None:
    gaps = [b - a for a, b in zip(values, moved, strict=True) if a is not None and b is not None]
    return round(gaps[0], _ROUND) if gaps and max(gaps) - min(gaps) < 2e-5 else None


def _facts(outputs: Sequence[str], numbers: set[str], compared: Compared | None, hidden: set[str]) -> list[str]:
    """Return the columns with the numbers that are written above the timeline."""
    if compared:
        return [DIFFERENCE, *(() if compared.labels else outputs)]
    return [*outputs, *(["confidence"] if "confidence" in numbers - hidden else [])]


def _lines(outputs: Sequence[str], compared: Compared | None) -> list[dict[str, Any]]:
    """Return the lines of the timeline; of the second table they are dashed."""
    names = list(dict.fromkeys(bare(name, compared) for name in outputs))
    colour = dict(zip(names, indices(names), strict=True))
    second = set(compared.outputs[1]) if compared else set()
    return [{"name": name, "colour": colour[bare(name, compared)], "dash": name in second} for name in outputs]


def _unit(outputs: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Return the outputs that are meant to lie between 0 and 1."""
    inside = []
    for name in outputs:
        values = [row[name] for row in rows if row.get(name) is not None]
        if values and min(values) >= -0.5 and max(values) <= 1.5:
            inside.append(name)
    return inside


def _confusion(compared: Compared | None) -> dict[str, Any] | None:
    if compared is None or compared.labels is None or max(map(len, compared.classes)) > 40:
        return None
    across, down = (0, 1) if compared.truth else (1, 0)
    return {
        "rows": compared.classes[down],
        "columns": compared.classes[across],
        "across": compared.labels[across],
        "down": compared.labels[down],
        "unknown": compared.unknown,
    }


def _start(
    outputs: Sequence[str], labels: Sequence[Mapping[str, Any]], columns: Sequence[str], compared: Compared | None
) -> dict[str, Any]:
    """Return what the page shows first."""
    if compared:
        start: dict[str, Any] = {"value": DIFFERENCE}
        if compared.labels is None:
            start |= {"x": compared.outputs[0][0], "y": compared.outputs[1][0], "sort": DIFFERENCE, "down": True}
        return start
    group = next((name for name in (*PLACES, "folder") if name in columns), None)
    start = {"sort": "file"} | ({"group": group} if group else {})
    if labels:
        return start | {"colour": labels[0]["label"], "value": labels[0]["label"]}
    if "valence" in outputs and "arousal" in outputs:
        start |= {"x": "valence", "y": "arousal", "value": "valence"}
    elif len(outputs) > 1:
        start |= {"x": outputs[0], "y": outputs[1], "value": outputs[0]}
    return start


def _about(report: Report) -> str:
    """Return the text at the end: what this is, for somebody who got the page by mail."""
    parts = []
    names = report.table.outputs
    if report.compared:
        if not report.compared.truth:
            one, other = report.compared.names
            parts.append(f"{report.table.name.replace(' and ', f' is called {one}, ', 1)} is called {other}.")
        parts.append("What is wrong or different comes first, the largest differences before the others.")
        parts += [f"{note}." for note in report.compared.notes]
    elif report.table.label:
        parts.append("The numbers are probabilities: how likely the model finds each class.")
    if not report.table.label and "valence" in {bare(name, report.compared) for name in names}:
        parts.append("0.5 is neutral. Most voices lie between 0 and 1; a model can go a little beyond.")
    if any(name.endswith(".low") for name in report.table.columns):
        parts.append("Bars, bands and numbers in brackets are intervals that contain most true values.")
    parts.append(f"Made by sertool {__version__}; nothing on this page leaves your machine.")
    return " ".join(parts)


def _about_windows(report: Report) -> list[str]:
    """Return what a window is, if the rows are windows."""
    if report.by not in _WINDOWS or report.compared or len(report.table.rows) < 2:
        return []
    first, second = report.table.rows[:2]
    if first["file"] != second["file"] or None in (first.get("start"), first.get("end"), second.get("start")):
        return []
    speakers = "" if report.table.places else " It is not known who speaks in it."
    return [
        f"A window is a piece of {first['end'] - first['start']:.3g} s; one begins every "
        f"{second['start'] - first['start']:.3g} s.{speakers}"
    ]


def _meanings(report: Report) -> dict[str, str]:
    """Return what the columns mean that a reader may not know."""
    known = {name: text for name, text in _MEANINGS.items() if name in report.table.columns}
    if report.compared:
        known[DIFFERENCE] = f"{report.compared.meaning}: 0 is none, 1 is all"
    return known | {
        name: _DIMENSIONS[plain]
        for name in report.table.outputs
        if (plain := bare(name, report.compared)) in _DIMENSIONS
    }


def _sound(sound: Sound, path: Path | None, output: Path) -> dict[str, Any]:
    data: dict[str, Any] = {}
    if sound.seconds is not None:
        data["seconds"] = round(sound.seconds, 2)
    if sound.peaks is not None:
        data["peaks"] = sound.peaks
    if sound.speech is not None:
        data["speech"] = [[round(start, 2), round(end, 2)] for start, end in sound.speech]
    if sound.reason is not None:
        data["reason"] = sound.reason
    if path is not None and sound.opus is None:
        data["src"] = link(path, output)
    return data
