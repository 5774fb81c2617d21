"""A network to a bundle's files: each exported, compared with torch, timed, held to limits."""

import re
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from sertool import audio, bundle
from sertool.corpora import Row
from sertool.errors import AudioWarning, SertoolError, UsageError
from sertool.features import steps
from sertool.features.inputs import features
from sertool.measure import cost
from sertool.nn import frontend
from sertool.options import named_options
from sertool.plugins import load_plugins
from sertool.registry import Exporter, Source
from sertool.runtime import Runtime
from sertool.training.recipe import BundleSection
from sertool.training.targets import Categorical, Dimensional

#: Lengths in samples at which outputs are compared, beside whole clips: around one FFT, a minute.
LENGTHS = (33, 34, 63, 64, 65, 100, 16_000, 80_001, 960_000)

#: Outputs that differ from torch by no more are the same to whoever reads them; `label` runs the fastest such variant.
EQUAL = 0.001
#: A metric may drop so far for that.
EQUAL_METRIC = 0.005
#: Faster by less, or not in nine rounds of ten, is the day's noise.
FASTER = 1.05

#: Audio in s, and runs, for the time of a variant.
TIMED_S, RUNS = 5.0, 21


@dataclass(frozen=True)
class Format:
    """One file to write: ``text`` as the user gives it, NAME[:key=value,...]; ``input`` is one of bundle.INPUTS."""

    text: str
    exporter: Exporter
    options: dict
    input: str = "waveform"


def parse(text: str, default: str = "waveform") -> Format:
    """A Format; its input may be said among the options. UsageError names what there is not."""
    name, options = named_options(text)
    form = options.pop("input", default)
    if form not in bundle.INPUTS:
        raise UsageError(f"{text}: input is {' or '.join(bundle.INPUTS)}, not {form!r}")
    return Format(text, load_plugins().get("exporters", name), options, form)


@dataclass(frozen=True)
class Limits:
    """What a variant must keep to be written; None: anything, but for ``max_diff`` the exporter's own tolerance."""

    max_diff: float | None = None
    max_metric_drop: float | None = None
    max_bytes: int | None = None
    min_speed: float | None = None

    def missed(self, entry: dict, tolerance: float) -> list[str]:
        """What a variant's entry misses, a line each with figure and limit."""
        largest = tolerance if self.max_diff is None else self.max_diff
        bounds = [("differs from torch by {:.2g}", entry["difference"]["max"], largest, "at most {:g}")]
        for check in deciding(entry) if self.max_metric_drop is not None else []:
            found = f"{check['metric']} on {check['on']} drops by {{:.4f}}"
            bounds.append((found, check["drop"], self.max_metric_drop, "at most {:g}"))
        if self.max_bytes is not None:
            bounds.append(("has {:d} bytes", bundle.size(entry), self.max_bytes, "at most {:d}"))
        if self.min_speed is not None:
            bounds.append(
                ("runs at {:.2f} times the speed of fp32", entry["cost"]["speed"], self.min_speed, "at least {:g}")
            )
        return [
            f"{entry['name']} {found.format(value)}, allowed is {allowed.format(limit)}"
            for found, value, limit, allowed in bounds
            if not (value >= limit if "speed" in found else value <= limit)  # NaN misses
        ]


NO_LIMITS = Limits()


@dataclass(frozen=True)
class Check:
    """Labelled recordings that outputs are scored on: CCC, or UA; recordings without a target do not count.

    Of a Check that does not ``choose`` figures are written down, and no file is kept or preferred by them.
    """

    name: str
    rows: list[Row]
    targets: Dimensional | Categorical
    choose: bool = True

    @property
    def metric(self) -> str:
        return "UA" if isinstance(self.targets, Categorical) else "CCC"

    def score(self, outputs: np.ndarray) -> float:
        """The mean figure of outputs [rows, k]."""
        wanted = [self.targets.of(row) for row in self.rows]
        known = [i for i, target in enumerate(wanted) if target is not None]
        if not known:
            raise UsageError(f"{self.name}: {self.targets.missing}")
        figures = self.targets.score(outputs[known], np.array([wanted[i] for i in known], np.float32))
        return float(np.mean(list(figures.values())))


@dataclass(frozen=True)
class Material:
    """What variants are measured with: ``clips`` float32 [n] at 16 kHz, real recordings, to compare on and (another
    list) to ``calibrate`` with; labelled recordings to ``check``; ``runs`` of TIMED_S s to time them, 0 for none."""

    clips: Sequence[np.ndarray]
    calibrate: Sequence[np.ndarray] = ()
    checks: Sequence[Check] = ()
    runs: int = RUNS


@dataclass(frozen=True)
class Written:
    """What ``write`` found.

    ``variants``: every entry, with "written" or not; ``default``: the name of the one to run, empty if there is none;
    ``missed``: what missed a limit, a line each; ``outputs`` [rows, k] of plain fp32 by Check.
    """

    variants: list[dict]
    default: str
    missed: tuple[str, ...]
    outputs: dict[str, np.ndarray]


def write(
    folder: Path,
    manifest: dict,
    network: torch.nn.Module,
    formats: Sequence[Format],
    material: Material,
    limits: Limits = NO_LIMITS,
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Written:
    """Export a network (in eval mode, its outputs those of the bundle) into ``folder`` and measure every file.

    Fills the manifest's "variants" with what was measured and its "default" with the one that `label` is to run. A
    variant that misses a limit leaves no file and no entry. UsageError for formats that cannot be, SertoolError for a
    network that an exporter cannot write.
    """
    formats = [*formats]
    plain, asked = parse(BundleSection().formats[0]), len(formats)
    reference = next((i for i, form in enumerate(formats) if _same(form, plain)), asked)
    work = list(zip(formats, entries(formats), strict=True))
    if reference == asked:
        work.append((plain, *entries([plain])))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        jobs, names = [], {}
        for done, (form, entry) in enumerate(work):
            progress("exporting", done, len(work))
            path = Path(scratch, str(done), entry["file"])  # alone in its folder, for what it may put beside it
            path.parent.mkdir()
            export(network, form, path, manifest, entry, material.calibrate)
            if done < asked:
                _claim(names, form, path.parent)
            jobs.append(Job(form, entry, path, Runtime(str(path))))
        _compare(network, jobs, material.clips, progress)
        outputs = _check(jobs, jobs[reference], material.checks, progress)
        if material.runs:
            _time(jobs[:asked], jobs[reference], material, progress)
        missed, found = [], []
        for job in jobs[:asked]:
            job.entry["bytes"] = job.path.stat().st_size
            if others := bundle.beside(job.path.parent, job.entry):
                job.entry["beside"] = others
            failed = limits.missed(job.entry, job.form.exporter.tolerance)
            found.append(job.entry | {"written": not failed})
            if failed:
                missed += failed
                continue
            manifest["variants"].append(job.entry)
            for file in job.path.parent.iterdir():
                shutil.move(file, folder / file.name)
    manifest["default"] = _default(manifest["variants"])
    return Written(found, manifest["default"], tuple(missed), outputs)


@dataclass(frozen=True, eq=False)
class Job:
    """One file that is being made."""

    form: Format
    entry: dict
    path: Path
    runtime: Runtime


def _same(one: Format, other: Format) -> bool:
    return (one.exporter.name, one.options, one.input) == (other.exporter.name, other.options, other.input)


def entries(formats: Sequence[Format]) -> list[dict]:
    """A bundle's entry a format; names say no more than it takes to tell them apart."""
    names = [form.exporter.variant + ("-logmel" if form.input == "logmel" else "") for form in formats]
    alike = Counter(names)
    for i, form in enumerate(formats):
        if alike[names[i]] > 1 and form.options:
            names[i] = re.sub(r"[^\w.-]+", "_", "-".join([names[i], *(str(v) for v in form.options.values())]))
    for name, count in Counter(names).items():
        if count > 1:
            same = " and ".join(form.text for form, own in zip(formats, names, strict=True) if own == name)
            raise UsageError(f"formats {same} would both be variant {name!r}: leave one out")
    return [
        {
            "name": name,
            "file": _file(name, form.exporter.runtime),
            "input": form.input,
            "runtime": form.exporter.runtime,
            "format": form.text,
        }
        for name, form in zip(names, formats, strict=True)
    ]


def _file(name: str, runtime: str) -> str:
    """model.RUNTIME, or model.VARIANT.RUNTIME without saying the runtime twice."""
    variant = "" if name in ("fp32", runtime) else "." + name.removeprefix(f"{runtime}-")
    return f"model{variant}.{runtime}"


def export(network, form: Format, path: Path, manifest: dict, entry: dict, calibrate) -> None:
    """Write one file: a network (as in ``write``) in a Format, under its entry, calibrated with clips of float32 [n].

    UsageError for an option that the exporter does not have.
    """
    described = manifest["frontend"]
    if form.input == "logmel":
        network = frontend.without(network)
    prepare = steps.build(manifest["preprocessing"])
    convert = features(described, form.input)
    clips = tuple(torch.from_numpy(convert(prepare(clip)))[None] for clip in calibrate)
    source = Source(network.eval(), frontend.example(described, form.input), form.input, clips)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order: the same network and clips give the same bytes
    try:
        form.exporter.export(source, path, {bundle.METADATA_KEY: bundle.embedded(manifest, entry)}, **form.options)
    except TypeError as error:
        if "keyword argument" not in str(error):
            raise
        reason = re.sub(r"^\w+(\.\w+)*\(\) ", "", str(error))
        raise UsageError(f"{form.text}: {reason}; {form.exporter.name} is {form.exporter.summary}") from None
    finally:
        torch.set_num_threads(threads)


def _claim(names: dict[str, str], form: Format, folder: Path) -> None:
    """Note whose the files in a folder are; UsageError if another format wrote one of that name."""
    for file in folder.iterdir():
        if file.name in names:
            raise UsageError(f"formats {names[file.name]} and {form.text} both write {file.name}: leave one out")
        names[file.name] = form.text


def _compare(network, jobs: list[Job], clips, progress) -> None:
    """entry["difference"]: largest and mean |file - torch| over clips, and over pieces of them of LENGTHS."""
    runtime = jobs[0].runtime
    prepare, shortest = steps.build(runtime.bundle.manifest["preprocessing"]), runtime.shortest
    longest = runtime.longest
    lengths = sorted({shortest, *(n for n in LENGTHS if n > shortest and not (longest and n > longest))})
    voice = np.resize(np.concatenate(clips), max(lengths))
    noise = 0.1 * np.random.default_rng(0).standard_normal(max(lengths)).astype(np.float32)
    clips = [*(clip[:longest] for clip in clips), *(0.9 * voice[:n] + 0.1 * noise[:n] for n in lengths)]
    differences = [[] for _ in jobs]
    for done, clip in enumerate(clips, start=1):
        with torch.inference_mode():
            wanted = network(torch.from_numpy(prepare(clip))[None])[0].numpy()
        for found, job in zip(differences, jobs, strict=True):
            found.append(np.abs(job.runtime.run(clip) - wanted))
        progress("comparing", done, len(clips))
    for job, found in zip(jobs, differences, strict=True):
        largest, mean = max(float(d.max()) for d in found), float(np.mean([d.mean() for d in found]))
        job.entry["difference"] = {"max": _digits(largest), "mean": _digits(mean), "clips": len(clips)}


def _check(jobs: list[Job], reference: Job, checks, progress) -> dict[str, np.ndarray]:
    """entry["checks"]: the metric of each file beside that of plain fp32; the outputs of the latter by Check."""
    plain = {}
    for check in checks:
        outputs = [[] for _ in jobs]
        for done, row in enumerate(check.rows, start=1):
            samples = audio.read(row.file)[: jobs[0].runtime.longest]
            for found, job in zip(outputs, jobs, strict=True):
                found.append(job.runtime.run(samples))
            progress(f"checking on {check.name}", done, len(check.rows))
        outputs = [np.stack(found) for found in outputs]
        plain[check.name] = outputs[jobs.index(reference)]
        if not any(check.targets.of(row) for row in check.rows):
            continue  # of interest for its outputs only
        fp32 = check.score(plain[check.name])
        for job, found in zip(jobs, outputs, strict=True):
            value = check.score(found)
            figures = {"fp32": round(fp32, 4), "value": round(value, 4), "drop": round(fp32 - value, 4)}
            about = {"on": check.name, "clips": len(check.rows), "metric": check.metric}
            about |= {} if check.choose else {"chooses": False}
            job.entry.setdefault("checks", []).append(about | figures)
    return plain


def _time(jobs: list[Job], reference: Job, material: Material, progress) -> None:
    """entry["cost"]: time on one thread beside plain fp32, turn by turn, and the memory of a process of its own."""
    samples = np.resize(np.concatenate(material.clips), round(TIMED_S * audio.SAMPLE_RATE))
    calls = {id(job): partial(job.runtime.run, samples) for job in [*jobs, reference]}
    progress("timing", 0, len(jobs) + 1)
    times = cost.alternating(calls, material.runs)
    for done, job in enumerate(jobs, start=1):
        progress("measuring memory", done, len(jobs) + 1)
        alone = cost.fresh(str(job.path), seconds=TIMED_S, repeats=3, threads=1)
        plain, own = np.array(times[id(reference)]), np.array(times[id(job)])
        job.entry["cost"] = {
            "threads": 1,
            "seconds": TIMED_S,
            "median_s": _digits(float(np.median(own))),
            "speed": round(float(np.median(plain) / np.median(own)), 2),
            "speed_range": [round(float(value), 2) for value in np.percentile(plain / own, [10, 90])],  # round by round
            "peak_bytes": alone.peak_bytes,
            "added_bytes": alone.added_bytes,
        }


def _default(variants: list[dict]) -> str:
    """The name of the fastest variant whose outputs are as good as torch's; the first where none is faster."""
    best, speed = variants[0]["name"] if variants else "", FASTER
    for entry in variants:
        drops = [check["drop"] for check in deciding(entry)]
        same = entry["difference"]["max"] <= EQUAL and max(drops, default=0) <= EQUAL_METRIC
        found = entry.get("cost", {"speed": 0})
        if same and found["speed"] > speed and found["speed_range"][0] > 1:
            best, speed = entry["name"], found["speed"]
    return best


def deciding(entry: dict) -> list[dict]:
    """The checks of a variant's entry that it may be chosen by: not those of what is kept for the end."""
    return [check for check in entry.get("checks", []) if check.get("chooses", True)]


def _digits(value: float) -> float:
    """Three digits: more is noise."""
    return float(f"{value:.3g}")


def some_clips(files: Sequence, number: int) -> list[np.ndarray]:
    """Up to ``number`` recordings, evenly over the list, as float32 [n]; of what cannot be read an AudioWarning."""
    chosen = [files[i * len(files) // number] for i in range(number)] if len(files) > number else files
    clips = []
    for file in chosen:
        try:
            clips.append(audio.read(file))
        except SertoolError as error:
            warnings.warn(f"{file}: {error}; passed over", AudioWarning, stacklevel=2)
    return clips
