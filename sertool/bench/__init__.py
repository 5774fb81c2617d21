"""What models cost, side by side: arXiv 2408.13920, Table I and Fig. 5."""

import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from sertool import bundle
from sertool._machine import cores
from sertool.errors import BundleError, SertoolError, UsageError
from sertool.features.mel import SAMPLE_RATE
from sertool.measure import cost
from sertool.options import named_options
from sertool.plugins import load_plugins

#: What registered networks are exported as, unless the user says another.
FORMATS = ("onnx", "onnx-int8")

#: What is compared with the smallest model, and what a registered Model's ``published`` may give.
FIGURES = ("parameters", "bytes", "macs", "seconds", "added_bytes", "peak_bytes")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """One file to measure: a variant of a bundle, or a registered network in a format, then with random weights.

    ``model`` is a bundle as Runtime takes it, or what a network is called; ``network`` how that is built,
    NAME:key=value. ``variant`` is the bundle's, or what bundles call such a format. ``published`` are the figures that
    ``source`` gives of it; these and ``parts`` are of registry.Model.
    """

    model: str
    format: str
    variant: str | None
    network: str | None = None
    published: dict[str, float] = field(default_factory=dict)
    source: str = ""
    parts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class How:
    """``repeats`` runs on ``seconds`` of audio after ``warmup`` that do not count, on ``threads`` of one run."""

    seconds: float = 5.0
    repeats: int = 21
    warmup: int = 3
    threads: int = 1


def subjects(models: Sequence[str], formats: Sequence[str] = ()) -> list[Subject]:
    """The files that ``models`` stand for; of none, every registered network that a paper measured, and every bundle.

    A model is a bundle (name, folder or file; NAME:variant=int8 for one file of it) or NAME:key=value, a registered
    network. Of one name the bundle comes first, unless there are ``formats``, which are for networks, or a colon ends
    the name. UsageError says what there is instead.
    """
    if models:
        return [subject for text in models for subject in _of(text, formats)]
    known = (load_plugins().get("models", name) for name in load_plugins().names("models"))
    published = sorted((model for model in known if model.published), key=_size, reverse=True)
    found = [subject for model in published for subject in _of(f"{model.name}:", formats)]
    return found + [subject for name in sorted(bundle.installed()) for subject in _of_bundle(name)]


def pair(models: Sequence[str], formats: Sequence[str] = ()) -> list[Subject]:
    """The two files to put side by side: the default variant or first format of two models, or all of one model."""
    found = [_of(text, formats) for text in models]
    if len(found) == 2:
        return [next((one for one in files if one.variant == _default(one)), files[0]) for files in found]
    if len(found) == 1 and len(found[0]) == 2:
        return found[0]
    listed = ", ".join(f"{one.model} {one.format}" for files in found for one in files) or "none"
    raise UsageError(f"--vs takes two models, or one of two variants or formats; here is {listed}")


def _of(text: str, formats: Sequence[str]) -> list[Subject]:
    networks, path = load_plugins().names("models"), Path(text)
    # A folder that only has a network's name stands for nothing.
    given = path.exists() and (text not in networks or (path / bundle.MANIFEST).is_file())
    name, options = (text, {}) if given else named_options(text)
    there = given or name in bundle.installed() or (name not in networks and Path(name).exists())
    asked = bool(formats) or text.endswith(":")
    if there and (options.keys() == {"variant"} or not (options or (asked and name in networks))):
        return _of_bundle(name, options.get("variant"))
    if name in networks:
        return _of_network(name, text, options, formats or FORMATS)
    bundles = ", ".join(bundle.installed()) or "none installed"
    raise UsageError(f"no model {name!r}: give a bundle ({bundles}) or a network ({', '.join(networks)})")


def _of_bundle(name: str, variant: str | None = None) -> list[Subject]:
    path = bundle.find(name)
    if path.is_file():
        return [Subject(name, path.suffix.lstrip("."), variant)]
    try:
        found = bundle.read(path)
        entries = [found.variant(variant)] if variant else found.manifest["variants"]
    except BundleError:
        return [Subject(name, variant or "-", variant)]  # what is wrong with it shall stand in the table
    student = found.manifest["student"]
    registered = load_plugins().get("models", student) if student in load_plugins().names("models") else None
    return [
        Subject(
            name,
            entry["name"],
            entry["name"],
            parts=registered.parts if registered and entry["input"] == "waveform" and _is_onnx(entry) else {},
        )
        for entry in entries
    ]


def _is_onnx(entry: dict) -> bool:
    """Whether a variant's file has a graph that can be cut into its parts."""
    return bundle.runtime_of(entry) == "onnx"


def _of_network(name: str, text: str, options: dict, formats: Sequence[str]) -> list[Subject]:
    model, found = load_plugins().get("models", name), []
    meant = model.published.get("network", f"{name}:")
    network = text if options else meant
    for form in formats:
        exporter = load_plugins().get("exporters", named_options(form)[0])
        variant, parts = exporter.variant, model.parts if exporter.runtime == "onnx" else {}
        published = model.published.get("figures", {}).get(variant, {}) if network == meant else {}
        source = model.published["source"] if published else ""
        found.append(Subject(text.removesuffix(":"), form, variant, network, published, source, parts))
    return found


def _size(model) -> float:
    return max((f.get("parameters", 0) for f in model.published["figures"].values()), default=0)


def _default(subject: Subject) -> str | None:
    """The variant that `label` would run; None of a network or a lone file."""
    path = None if subject.network else bundle.find(subject.model)
    return bundle.read(path).manifest["default"] if path and path.is_dir() else None


def table(found: Sequence[Subject], how: How, progress: Progress) -> Iterator[dict]:
    """A row a subject: FIGURES, with "low_s" and "high_s", "load_s", "rtf" and "runs_s"; or "error" in their place."""
    for subject in found:
        yield from _rows(subject, [how], progress, parts=False)


def sweep(found: Sequence[Subject], seconds: Sequence[float], how: How, progress: Progress) -> Iterator[dict]:
    """As ``table``, a row a subject and length of audio.

    "parts" is name -> time, where a network tells its parts and the file is ONNX, which alone can be cut into them.
    """
    for subject in found:
        yield from _rows(subject, [replace(how, seconds=one) for one in seconds], progress, parts=True)


def _rows(subject: Subject, hows: Sequence[How], progress: Progress, parts: bool) -> Iterator[dict]:
    with tempfile.TemporaryDirectory(prefix="sertool-bench-") as folder:
        try:
            place, pieces = _prepare(subject, Path(folder), progress), {}
            if parts and subject.parts:
                pieces = cost.process("cut", subject.model, path=str(_file(*place)), parts=subject.parts, folder=folder)
        except SertoolError as error:
            yield _head(subject, hows[0]) | {"error": str(error)}
            return
        for how in hows:
            row = _head(subject, how)
            try:
                row |= _measure(subject, place, how, progress)
                if pieces:
                    times = cost.process("parts", subject.model, pieces=pieces, **vars(how))
                    row["parts"] = {name: spread(found) for name, found in times.items()}
            except SertoolError as error:
                row["error"] = str(error)
            yield row


def _head(subject: Subject, how: How) -> dict:
    row = {"model": subject.model, "format": subject.format, "variant": subject.variant, "network": subject.network}
    return row | {"audio_s": how.seconds, "published": subject.published, "source": subject.source}


def versus(found: Sequence[Subject], how: How, progress: Progress) -> dict:
    """Two subjects turn by turn in one process: {"models": their rows, "ratio": of the second's time to the first's}.

    SertoolError if either cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="sertool-bench-") as folder:
        places, rows = [], []
        for number, subject in enumerate(found):
            (own := Path(folder, str(number))).mkdir()
            places.append(_prepare(subject, own, progress))
        for subject, place in zip(found, places, strict=True):
            rows.append(_head(subject, how) | _measure(subject, place, replace(how, repeats=1), progress))
        progress("side by side")
        names = " against ".join(f"{subject.model} {subject.format}" for subject in found)
        times = cost.process("versus", names, places=places, **vars(how))
    for row, own in zip(rows, times, strict=True):
        row |= {**spread(own), "rtf": float(np.median(own)) / how.seconds, "runs_s": own}
    return {"models": rows, "ratio": spread(np.divide(times[1], times[0]), "")}


def _prepare(subject: Subject, folder: Path, progress: Progress) -> tuple[str, str | None]:
    """(model, variant) as Runtime takes them; a network is exported into ``folder`` by a process of its own."""
    if subject.network is None:
        return subject.model, subject.variant
    path = str(folder / "model")
    progress(f"{subject.model} {subject.format}: exporting")
    cost.process(
        "export", subject.model, module="sertool.bench.network", network=subject.network, form=subject.format, path=path
    )
    return path, None


def _measure(subject: Subject, place: tuple[str, str | None], how: How, progress: Progress) -> dict:
    """What the file holds and takes; the time is the median, between the 10th and the 90th percentile."""
    progress(f"{subject.model} {subject.format}: {how.seconds:g} s")
    try:
        found = cost.fresh(*place, how.seconds, how.repeats, how.threads, how.warmup)
        counts = cost.process("count", subject.model, path=str(_file(*place)), samples=round(how.seconds * SAMPLE_RATE))
    except SertoolError as error:  # of a file that the user has never seen
        raise SertoolError(str(error).replace(f"{place[0]}: ", "") if subject.network else str(error)) from None
    memory = {"peak_bytes": found.peak_bytes, "added_bytes": found.added_bytes}
    times = {"load_s": found.load_s, **spread(found.seconds), "rtf": float(np.median(found.seconds)) / how.seconds}
    return counts | times | memory | {"runs_s": found.seconds}


def _file(model: str, variant: str | None) -> Path:
    path = bundle.find(model)
    if path.is_file():
        return path
    found = bundle.read(path)
    return found.file(found.variant(variant))


def spread(times: Sequence[float], unit: str = "_s") -> dict[str, float]:
    """Median, 10th and 90th percentile: {"seconds", "low_s", "high_s"}, or of a ratio {"median", "low", "high"}."""
    low, middle, high = (float(value) for value in np.percentile(times, [10, 50, 90]))
    return {"seconds" if unit else "median": middle, f"low{unit}": low, f"high{unit}": high}


def relative(rows: Sequence[dict]) -> tuple[str | None, list[dict]]:
    """The smallest published model among the rows, and each row's figures as multiples of that one's.

    Figure -> (ours, the paper's or None); the other row is the one of the same format or, for bundles, of the same
    variant. A row without one is left out.
    """
    told = [row for row in rows if "error" not in row]
    published = [row for row in told if row["published"].get("parameters")]
    if not published:
        return None, []
    name = min(published, key=lambda row: row["published"]["parameters"])["model"]
    own = [row for row in published if row["model"] == name]
    found = []
    for row in told:
        unit = next((one for key in ("format", "variant") for one in own if one[key] == row[key]), None)
        if unit:
            multiples = {figure: (row[figure] / unit[figure], _paper(row, unit, figure)) for figure in FIGURES}
            found.append({"model": row["model"], "format": row["format"], **multiples})
    return name, found


def _paper(row: dict, unit: dict, figure: str) -> float | None:
    ours, theirs = row["published"].get(figure), unit["published"].get(figure)
    return ours / theirs if ours and theirs else None


def conditions(how: How | None = None, packages: Sequence[str] = ("onnxruntime", "numpy")) -> dict:
    """What a statement about speed must say: commit, versions, processor, threads, runs."""
    versions = {}
    for package in ("sertool", *packages):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "missing"
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    machine = {"processor": _processor(), "cores": cores(), "system": platform.system(), "load": load}
    found = {"commit": _commit(), "versions": versions, "python": platform.python_version(), **machine}
    return found | {"date": time.strftime("%Y-%m-%d"), **(vars(how) if how else {})}


def headline(found: dict) -> str:
    """``conditions`` in a line or two."""
    versions = ", ".join(f"{package} {number}" for package, number in found["versions"].items())
    commit = f" (commit {found['commit']})" if found["commit"] else ""
    lines = [f"{versions}{commit}, Python {found['python']}"]
    load = "" if found["load"] is None else f", load {found['load']:g} at the start"
    lines.append(f"{found['processor']}, {found['cores']} cores, {found['system']}{load}; {found['date']}")
    return "\n".join(lines)


def _commit() -> str | None:
    """Of the checkout that this file is part of; None where it is installed."""
    here = Path(__file__)
    try:
        for command in (["ls-files", "--error-unmatch", here.name], ["describe", "--always", "--dirty"]):
            done = subprocess.run(["git", *command], cwd=here.parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine()])[0]
