"""Compare the cost of models, as in arXiv 2408.13920, Table I and Fig. 5."""

import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from sertool import bundle
from sertool._machine import cores
from sertool.errors import BundleError, SertoolError, UsageError
from sertool.features.mel import SAMPLE_RATE
from sertool.measure import cost
from sertool.options import named_options
from sertool.plugins import load_plugins
from sertool.registry import Model

#: Default formats that registered networks are exported to.
FORMATS = ("onnx", "onnx-int8")

#: Values that are compared with the smallest model, and that a registered Model's ``published`` may have.
FIGURES = ("parameters", "bytes", "macs", "seconds", "added_bytes", "peak_bytes")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """One file to measure: a variant of a bundle, or a registered network with random weights in a format.

    ``model`` is a bundle as Runtime takes it, or the name of a network; ``network`` is how the network is built,
    NAME:key=value. ``variant`` is that of the bundle, or the name of the format in bundles. ``published`` are the
    values that ``source`` gives; these and ``parts`` come from registry.Model.
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
    """``repeats`` runs on ``seconds`` of audio after ``warmup`` unmeasured ones, with ``threads`` per run."""

    seconds: float = 5.0
    repeats: int = 21
    warmup: int = 3
    threads: int = 1


def subjects(models: Sequence[str], formats: Sequence[str] = ()) -> list[Subject]:
    """Return the files to measure for ``models``; by default every network with published values, and every bundle.

    A model is a bundle (name, folder or file; NAME:variant=int8 for one of its files) or NAME:key=value, a registered
    network. If a bundle and a network share a name, the bundle is used, unless ``formats``, which apply to networks,
    are given or the name ends with a colon. Raises UsageError, which lists the available models.
    """
    if models:
        return [subject for text in models for subject in _of(text, formats)]
    known = (load_plugins().get("models", name) for name in load_plugins().names("models"))
    published = sorted((model for model in known if model.published), key=_size, reverse=True)
    networks = [subject for model in published for subject in _of(f"{model.name}:", formats)]
    return networks + [subject for name in sorted(bundle.installed()) for subject in _of_bundle(name)]


def pair(models: Sequence[str], formats: Sequence[str] = ()) -> list[Subject]:
    """Return the two files to compare: the default variant or first format of two models, or both files of one."""
    candidates = [_of(text, formats) for text in models]
    if len(candidates) == 2:
        return [next((one for one in files if one.variant == _default(one)), files[0]) for files in candidates]
    if len(candidates) == 1 and len(candidates[0]) == 2:
        return candidates[0]
    listed = ", ".join(f"{one.model} {one.format}" for files in candidates for one in files) or "none"
    raise UsageError(f"--vs takes two models, or one model with two variants or formats, not {listed}")


def _of(text: str, formats: Sequence[str]) -> list[Subject]:
    networks, path = load_plugins().names("models"), Path(text)
    # A folder that happens to have a network's name does not count.
    exists = path.exists() and (text not in networks or (path / bundle.MANIFEST).is_file())
    name, options = (text, {}) if exists else named_options(text)
    is_bundle = exists or name in bundle.installed() or (name not in networks and Path(name).exists())
    prefer_network = bool(formats) or text.endswith(":")
    if is_bundle and (options.keys() == {"variant"} or not (options or (prefer_network and name in networks))):
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
        loaded = bundle.read(path)
        entries = [loaded.variant(variant)] if variant else loaded.manifest.variants
    except BundleError:
        return [Subject(name, variant or "-", variant)]  # its error is reported in the table
    student = loaded.manifest.student
    registered = load_plugins().get("models", student) if student in load_plugins().names("models") else None
    return [
        Subject(
            name,
            entry.name,
            entry.name,
            parts=registered.parts if registered and entry.input == "waveform" and _is_onnx(entry) else {},
        )
        for entry in entries
    ]


def _is_onnx(entry: bundle.Variant) -> bool:
    """Return whether a variant's file has a graph that can be cut into parts."""
    return entry.runtime == "onnx"


def _of_network(name: str, text: str, options: dict[str, Any], formats: Sequence[str]) -> list[Subject]:
    model = load_plugins().get("models", name)
    result = []
    measured = model.published.get("network", f"{name}:")  # the network that the published values are for
    network = text if options else measured
    for form in formats:
        exporter = load_plugins().get("exporters", named_options(form)[0])
        variant, parts = exporter.variant, model.parts if exporter.runtime == "onnx" else {}
        published = model.published.get("figures", {}).get(variant, {}) if network == measured else {}
        source = model.published["source"] if published else ""
        result.append(Subject(text.removesuffix(":"), form, variant, network, published, source, parts))
    return result


def _size(model: Model) -> float:
    sizes: Iterator[float] = (values.get("parameters", 0) for values in model.published["figures"].values())
    return max(sizes, default=0)


def _default(subject: Subject) -> str | None:
    """Return the variant that `label` runs; None for a network or a single file."""
    path = None if subject.network else bundle.find(subject.model)
    return bundle.read(path).manifest.default if path and path.is_dir() else None


def table(found: Sequence[Subject], how: How, progress: Progress) -> Iterator[dict[str, Any]]:
    """Yield a row per subject: FIGURES, "low_s", "high_s", "load_s", "rtf" and "runs_s"; or "error" instead."""
    for subject in found:
        yield from _rows(subject, [how], progress, parts=False)


def sweep(found: Sequence[Subject], seconds: Sequence[float], how: How, progress: Progress) -> Iterator[dict[str, Any]]:
    """Yield rows as ``table``, one per subject and length of audio.

    Rows also have "parts", name -> time, if the network defines parts and the file is ONNX; other files cannot be cut.
    """
    for subject in found:
        yield from _rows(subject, [replace(how, seconds=one) for one in seconds], progress, parts=True)


def _rows(subject: Subject, hows: Sequence[How], progress: Progress, parts: bool) -> Iterator[dict[str, Any]]:
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
                    row["parts"] = {name: spread(seconds) for name, seconds in times.items()}
            except SertoolError as error:
                row["error"] = str(error)
            yield row


def _head(subject: Subject, how: How) -> dict[str, Any]:
    row: dict[str, Any] = {
        "model": subject.model,
        "format": subject.format,
        "variant": subject.variant,
        "network": subject.network,
    }
    return row | {"audio_s": how.seconds, "published": subject.published, "source": subject.source}


def versus(found: Sequence[Subject], how: How, progress: Progress) -> dict[str, Any]:
    """Run two subjects alternately in one process.

    Returns {"models": their rows, "ratio": the second's time divided by the first's}. Raises SertoolError if either
    cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="sertool-bench-") as folder:
        places, rows = [], []
        for number, subject in enumerate(found):
            (subfolder := Path(folder, str(number))).mkdir()
            places.append(_prepare(subject, subfolder, progress))
        for subject, place in zip(found, places, strict=True):
            rows.append(_head(subject, how) | _measure(subject, place, replace(how, repeats=1), progress))
        progress("side by side")
        names = " against ".join(f"{subject.model} {subject.format}" for subject in found)
        times = cost.process("versus", names, places=places, **vars(how))
    for row, seconds in zip(rows, times, strict=True):
        row |= {**spread(seconds), "rtf": float(np.median(seconds)) / how.seconds, "runs_s": seconds}
    return {"models": rows, "ratio": spread(np.divide(times[1], times[0]), "")}


def _prepare(subject: Subject, folder: Path, progress: Progress) -> tuple[str, str | None]:
    """Return (model, variant) for Runtime; a network is first exported into ``folder`` in its own process."""
    if subject.network is None:
        return subject.model, subject.variant
    path = str(folder / "model")
    progress(f"{subject.model} {subject.format}: exporting")
    cost.process(
        "export", subject.model, module="sertool.bench.network", network=subject.network, form=subject.format, path=path
    )
    return path, None


def _measure(subject: Subject, place: tuple[str, str | None], how: How, progress: Progress) -> dict[str, Any]:
    """Measure a file; the time is the median, with the 10th and the 90th percentile."""
    progress(f"{subject.model} {subject.format}: {how.seconds:g} s")
    try:
        measured = cost.fresh(*place, how.seconds, how.repeats, how.threads, how.warmup)
        counts: dict[str, Any] = cost.process(
            "count", subject.model, path=str(_file(*place)), samples=round(how.seconds * SAMPLE_RATE)
        )
    except SertoolError as error:  # do not name the temporary file of a network
        raise SertoolError(str(error).replace(f"{place[0]}: ", "") if subject.network else str(error)) from None
    memory = {"peak_bytes": measured.peak_bytes, "added_bytes": measured.added_bytes}
    rtf = float(np.median(measured.seconds)) / how.seconds
    times = {"load_s": measured.load_s, **spread(measured.seconds), "rtf": rtf}
    return counts | times | memory | {"runs_s": measured.seconds}


def _file(model: str, variant: str | None) -> Path:
    path = bundle.find(model)
    if path.is_file():
        return path
    loaded = bundle.read(path)
    return loaded.file(loaded.variant(variant))


def spread(times: Sequence[float], unit: str = "_s") -> dict[str, float]:
    """Return median, 10th and 90th percentile: {"seconds", "low_s", "high_s"}; of ratios {"median", "low", "high"}."""
    low, middle, high = (float(value) for value in np.percentile(times, [10, 50, 90]))
    return {"seconds" if unit else "median": middle, f"low{unit}": low, f"high{unit}": high}


def relative(rows: Sequence[dict[str, Any]]) -> tuple[str | None, list[dict[str, Any]]]:
    """Return the smallest published model among the rows, and each row's values as multiples of that model's.

    The values are FIGURES -> (ours, the paper's or None), relative to that model's row of the same format or, for
    bundles, of the same variant. Rows without such a row are left out.
    """
    measured = [row for row in rows if "error" not in row]
    published = [row for row in measured if row["published"].get("parameters")]
    if not published:
        return None, []
    name = min(published, key=lambda row: row["published"]["parameters"])["model"]
    references = [row for row in published if row["model"] == name]
    result = []
    for row in measured:
        unit = next((one for key in ("format", "variant") for one in references if one[key] == row[key]), None)
        if unit:
            multiples = {figure: (row[figure] / unit[figure], _paper(row, unit, figure)) for figure in FIGURES}
            result.append({"model": row["model"], "format": row["format"], **multiples})
    return name, result


def _paper(row: dict[str, Any], unit: dict[str, Any], figure: str) -> float | None:
    ours, theirs = row["published"].get(figure), unit["published"].get(figure)
    return ours / theirs if ours and theirs else None


def conditions(how: How | None = None, packages: Sequence[str] = ("onnxruntime", "numpy")) -> dict[str, Any]:
    """Return the conditions of a speed measurement: commit, versions, processor, threads, runs."""
    versions = {}
    for package in ("sertool", *packages):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "missing"
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    machine = {"processor": _processor(), "cores": cores(), "system": platform.system(), "load": load}
    software = {"commit": _commit(), "versions": versions, "python": platform.python_version()}
    return software | machine | {"date": time.strftime("%Y-%m-%d"), **(vars(how) if how else {})}


def headline(values: dict[str, Any]) -> str:
    """Format ``conditions`` in two lines."""
    versions = ", ".join(f"{package} {number}" for package, number in values["versions"].items())
    commit = f" (commit {values['commit']})" if values["commit"] else ""
    lines = [f"{versions}{commit}, Python {values['python']}"]
    load = "" if values["load"] is None else f", load {values['load']:g} at the start"
    lines.append(f"{values['processor']}, {values['cores']} cores, {values['system']}{load}; {values['date']}")
    return "\n".join(lines)


def _commit() -> str | None:
    """Return the commit of the checkout that this file is part of; None if sertool is installed."""
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
