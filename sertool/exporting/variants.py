"""Write a network as the files of a bundle: export each, compare it with torch, time it, apply limits."""

import re
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sertool import audio, bundle
from sertool._types import Array, Progress, Samples
from sertool.bundle import Manifest, Variant
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
from sertool.training.sections import BundleSection
from sertool.training.targets import Categorical, Dimensional

#: Lengths in samples at which outputs are compared, in addition to whole clips: from about one FFT to a minute.
LENGTHS = (33, 34, 63, 64, 65, 100, 16_000, 80_001, 960_000)

#: Maximum difference from torch that counts as equal; `label` runs the fastest such variant.
EQUAL = 0.001
#: Maximum drop of a metric that counts as equal.
EQUAL_METRIC = 0.005
#: A smaller speed-up, or one in fewer than nine of ten rounds, counts as noise.
FASTER = 1.05

#: Seconds of audio, and number of runs, to time a variant.
TIMED_S, RUNS = 5.0, 21


@dataclass(frozen=True)
class Format:
    """A file to write: ``text`` is the user's NAME[:key=value,...]; ``input`` is one of bundle.INPUTS.

    With ``embedding``, the file has the embedding as its second output.
    """

    text: str
    exporter: Exporter
    options: dict[str, Any]
    input: str = "waveform"
    embedding: bool = False


def parse(text: str, default: str = "waveform", embedding: bool = False) -> Format:
    """Parse a Format; the input may be among the options. Raise UsageError for an unknown exporter or input."""
    name, options = named_options(text)
    form = options.pop("input", default)
    if form not in bundle.INPUTS:
        raise UsageError(f"{text}: input must be {' or '.join(bundle.INPUTS)}, not {form!r}")
    return Format(text, load_plugins().get("exporters", name), options, form, embedding)


@dataclass(frozen=True)
class Limits:
    """Limits that a variant must meet to be written; None: no limit, for ``max_diff`` the exporter's tolerance."""

    max_diff: float | None = None
    max_metric_drop: float | None = None
    max_bytes: int | None = None
    min_speed: float | None = None

    def missed(self, entry: Variant, tolerance: float) -> list[str]:
        """Return the limits that a variant misses, one line each with figure and limit."""
        largest = tolerance if self.max_diff is None else self.max_diff
        name, lines = entry.name, list[str]()
        if not entry.largest_difference <= largest:  # NaN misses, here and below
            lines.append(f"{name} differs from torch by {entry.largest_difference:.2g}, allowed is at most {largest:g}")
        for check in deciding(entry) if self.max_metric_drop is not None else []:
            if not check["drop"] <= (self.max_metric_drop or 0):
                drop = f"{check['metric']} on {check['on']} drops by {check['drop']:.4f}"
                lines.append(f"{name} {drop}, allowed is at most {self.max_metric_drop:g}")
        if self.max_bytes is not None and not entry.size <= self.max_bytes:
            lines.append(f"{name} has {entry.size} bytes, allowed is at most {self.max_bytes:g}")
        if self.min_speed is not None and not entry.cost["speed"] >= self.min_speed:
            speed = f"runs at {entry.cost['speed']:.2f} times the speed of fp32"
            lines.append(f"{name} {speed}, allowed is at least {self.min_speed:g}")
        return lines


NO_LIMITS = Limits()


@dataclass(frozen=True)
class Check:
    """Labelled recordings to score outputs on, by CCC or UA; recordings without a target do not count.

    If not ``choose``, figures are recorded only: they do not decide which files are written or preferred.
    """

    name: str
    rows: list[Row]
    targets: Dimensional | Categorical
    choose: bool = True

    @property
    def metric(self) -> str:
        return "UA" if isinstance(self.targets, Categorical) else "CCC"

    def score(self, outputs: Array) -> float:
        """Return the mean figure of outputs [rows, k]."""
        wanted = [self.targets.of(row) for row in self.rows]
        known = [i for i, target in enumerate(wanted) if target is not None]
        if not known:
            raise UsageError(f"{self.name}: {self.targets.missing}")
        figures = self.targets.score(outputs[known], np.array([wanted[i] for i in known], np.float32))
        return float(np.mean(list(figures.values())))


@dataclass(frozen=True)
class Material:
    """Recordings and settings to measure variants with.

    ``clips``, to compare outputs on, and ``calibrate`` are real recordings, float32 [n] at 16 kHz; ``checks`` are
    labelled recordings; ``runs`` is the number of timed runs of TIMED_S s, 0 for none.
    """

    clips: Sequence[Samples]
    calibrate: Sequence[Samples] = ()
    checks: Sequence[Check] = ()
    runs: int = RUNS


@dataclass(frozen=True)
class Written:
    """Result of ``write``.

    ``variants``: all measured variants; ``kept``: the names of those that were written; ``default``: the name of the
    one to run, empty if there is none; ``missed``: missed limits, one line each; ``outputs``: name of a Check ->
    outputs [rows, k] of plain fp32.
    """

    variants: list[Variant]
    kept: frozenset[str]
    default: str
    missed: tuple[str, ...]
    outputs: dict[str, Samples]


def write(
    folder: Path,
    manifest: Manifest,
    network: torch.nn.Module,
    formats: Sequence[Format],
    material: Material,
    limits: Limits = NO_LIMITS,
    progress: Progress = lambda stage, done, total: None,
) -> Written:
    """Export a network (in eval mode, with the outputs of the bundle) to ``folder`` and measure every file.

    Sets the manifest's variants, with measurements, and its default, the variant that `label` runs. A variant that
    misses a limit leaves no file and no entry. Raises UsageError for invalid formats, SertoolError for a network that
    an exporter cannot write.
    """
    formats = [*formats]
    plain, requested = parse(BundleSection().formats[0]), len(formats)
    reference = next((i for i, form in enumerate(formats) if _same(form, plain)), requested)
    work = list(zip(formats, entries(formats), strict=True))
    if reference == requested:
        work.append((plain, entries([plain])[0]))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        jobs: list[Job] = []
        owners: dict[str, str] = {}
        for done, (form, entry) in enumerate(work):
            progress("exporting", done, len(work))
            path = Path(scratch, str(done), entry.file)  # in its own folder: it may come with other files
            path.parent.mkdir()
            export(network, form, path, manifest, entry, material.calibrate)
            if done < requested:
                _claim(owners, form, path.parent)
            jobs.append(Job(form, entry, path, Runtime(str(path))))
            if form.embedding and not jobs[-1].runtime.width:
                raise UsageError(f"{form.text}: exporter {form.exporter.name} writes no embedding")
        _compare(network, jobs, material.clips, progress)
        outputs = _check(jobs, jobs[reference], material.checks, progress)
        if material.runs:
            _time(jobs[:requested], jobs[reference], material, progress)
        missed: list[str] = []
        measured = []
        for job in jobs[:requested]:
            job.entry.bytes = job.path.stat().st_size
            job.entry.beside = bundle.beside(job.path.parent, job.entry)
            failed = limits.missed(job.entry, job.form.exporter.tolerance)
            measured.append(replace(job.entry))  # a copy: the entry in the manifest gets its sha256 later
            if failed:
                missed += failed
                continue
            manifest.variants.append(job.entry)
            for file in job.path.parent.iterdir():
                shutil.move(file, folder / file.name)
    manifest.default = _default(manifest.variants)
    names = frozenset(variant.name for variant in manifest.variants)
    return Written(measured, names, manifest.default, tuple(missed), outputs)


@dataclass(frozen=True, eq=False)
class Job:
    """A file in progress."""

    form: Format
    entry: Variant
    path: Path
    runtime: Runtime


def _same(one: Format, other: Format) -> bool:
    return (one.exporter.name, one.options, one.input) == (other.exporter.name, other.options, other.input)


def entries(formats: Sequence[Format]) -> list[Variant]:
    """Return a bundle's entry for each format; names are as short as is unambiguous."""
    names = [form.exporter.variant + ("-logmel" if form.input == "logmel" else "") for form in formats]
    alike = Counter(names)
    for i, form in enumerate(formats):
        if alike[names[i]] > 1 and form.options:
            names[i] = re.sub(r"[^\w.-]+", "_", "-".join([names[i], *(str(v) for v in form.options.values())]))
    for name, count in Counter(names).items():
        if count > 1:
            same = " and ".join(form.text for form, other in zip(formats, names, strict=True) if other == name)
            raise UsageError(f"formats {same} would both be variant {name!r}: leave one out")
    return [
        Variant(name, _file(name, form.exporter.runtime), form.input, form.exporter.runtime, form.text)
        for name, form in zip(names, formats, strict=True)
    ]


def _file(name: str, runtime: str) -> str:
    """Return model.RUNTIME or model.VARIANT.RUNTIME, without repeating the runtime."""
    variant = "" if name in ("fp32", runtime) else "." + name.removeprefix(f"{runtime}-")
    return f"model{variant}.{runtime}"


def export(
    network: torch.nn.Module,
    form: Format,
    path: Path,
    manifest: Manifest,
    entry: Variant,
    calibrate: Sequence[Samples],
) -> None:
    """Write one file: a network (as in ``write``) in a Format, for its entry, calibrated with clips float32 [n].

    Raises UsageError for an option that the exporter does not have.
    """
    described = manifest.frontend
    if form.input == "logmel":
        network = frontend.without(network)
    prepare = steps.build(manifest.preprocessing)
    convert = features(described, form.input)
    clips = tuple(torch.from_numpy(convert(prepare(clip)))[None] for clip in calibrate)
    source = Source(network.eval(), frontend.example(described, form.input), form.input, clips, form.embedding)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # fixed order of sums: the same network and clips give the same bytes
    try:
        form.exporter.export(source, path, {bundle.METADATA_KEY: manifest.embedded(entry)}, **form.options)
    except TypeError as error:
        if "keyword argument" not in str(error):
            raise
        reason = re.sub(r"^\w+(\.\w+)*\(\) ", "", str(error))
        raise UsageError(f"{form.text}: {reason}; {form.exporter.name} is {form.exporter.summary}") from None
    finally:
        torch.set_num_threads(threads)


def _claim(owners: dict[str, str], form: Format, folder: Path) -> None:
    """Add the files in a folder to ``owners``; raise UsageError if another format wrote one with the same name."""
    for file in folder.iterdir():
        if file.name in owners:
            raise UsageError(f"formats {owners[file.name]} and {form.text} both write {file.name}: leave one out")
        owners[file.name] = form.text


def _compare(network: torch.nn.Module, jobs: list[Job], clips: Sequence[Samples], progress: Progress) -> None:
    """Set ``difference``: largest and mean |file - torch| over clips, and over pieces of them of LENGTHS."""
    runtime = jobs[0].runtime
    prepare, shortest = steps.build(runtime.bundle.manifest.preprocessing), runtime.shortest
    longest = runtime.longest
    lengths = sorted({shortest, *(n for n in LENGTHS if n > shortest and not (longest and n > longest))})
    voice = np.resize(np.concatenate(clips), max(lengths))
    noise = 0.1 * np.random.default_rng(0).standard_normal(max(lengths)).astype(np.float32)
    clips = [*(clip[:longest] for clip in clips), *(0.9 * voice[:n] + 0.1 * noise[:n] for n in lengths)]
    differences: list[list[Samples]] = [[] for _ in jobs]
    for done, clip in enumerate(clips, start=1):
        with torch.inference_mode():
            expected = network(torch.from_numpy(prepare(clip))[None])[0].numpy()
        for per_clip, job in zip(differences, jobs, strict=True):
            per_clip.append(np.abs(job.runtime.run(clip) - expected))
        progress("comparing", done, len(clips))
    for job, per_clip in zip(jobs, differences, strict=True):
        largest, mean = max(float(d.max()) for d in per_clip), float(np.mean([d.mean() for d in per_clip]))
        job.entry.difference = {"max": _digits(largest), "mean": _digits(mean), "clips": len(clips)}


def _check(jobs: list[Job], reference: Job, checks: Sequence[Check], progress: Progress) -> dict[str, Samples]:
    """Set ``checks``: the metric of each file and of plain fp32. Return the outputs of plain fp32 by Check."""
    plain: dict[str, Samples] = {}
    for check in checks:
        collected: list[list[Samples]] = [[] for _ in jobs]
        for done, row in enumerate(check.rows, start=1):
            samples = audio.read(row.file)[: jobs[0].runtime.longest]
            for per_row, job in zip(collected, jobs, strict=True):
                per_row.append(job.runtime.run(samples))
            progress(f"checking on {check.name}", done, len(check.rows))
        outputs = [np.stack(per_row) for per_row in collected]
        plain[check.name] = outputs[jobs.index(reference)]
        if not any(check.targets.of(row) for row in check.rows):
            continue  # only its outputs are needed
        fp32 = check.score(plain[check.name])
        for job, predictions in zip(jobs, outputs, strict=True):
            value = check.score(predictions)
            figures = {"fp32": round(fp32, 4), "value": round(value, 4), "drop": round(fp32 - value, 4)}
            about = {"on": check.name, "clips": len(check.rows), "metric": check.metric}
            about |= {} if check.choose else {"chooses": False}
            job.entry.checks.append(about | figures)
    return plain


def _time(jobs: list[Job], reference: Job, material: Material, progress: Progress) -> None:
    """Set ``cost``: time on one thread, alternating with plain fp32, and memory in a separate process."""
    samples = np.resize(np.concatenate(material.clips), round(TIMED_S * audio.SAMPLE_RATE))
    calls = {str(id(job)): partial(job.runtime.run, samples) for job in [*jobs, reference]}
    progress("timing", 0, len(jobs) + 1)
    times = cost.alternating(calls, material.runs)
    for done, job in enumerate(jobs, start=1):
        progress("measuring memory", done, len(jobs) + 1)
        alone = cost.fresh(str(job.path), seconds=TIMED_S, repeats=3, threads=1)
        plain, seconds = np.array(times[str(id(reference))]), np.array(times[str(id(job))])
        job.entry.cost = {
            "threads": 1,
            "seconds": TIMED_S,
            "median_s": _digits(float(np.median(seconds))),
            "speed": round(float(np.median(plain) / np.median(seconds)), 2),
            "speed_range": [
                round(float(value), 2) for value in np.percentile(plain / seconds, [10, 90])
            ],  # round by round
            "peak_bytes": alone.peak_bytes,
            "added_bytes": alone.added_bytes,
        }


def _default(variants: list[Variant]) -> str:
    """Return the name of the fastest variant whose outputs equal torch's; the first if none is faster."""
    best, speed = variants[0].name if variants else "", FASTER
    for entry in variants:
        drops = [check["drop"] for check in deciding(entry)]
        same = entry.largest_difference <= EQUAL and max(drops, default=0) <= EQUAL_METRIC
        timed = entry.cost or {"speed": 0}
        if same and timed["speed"] > speed and timed["speed_range"][0] > 1:
            best, speed = entry.name, timed["speed"]
    return best


def deciding(entry: Variant) -> list[dict[str, Any]]:
    """Return the checks of a variant's entry that it may be chosen by, without those of held-out data."""
    return [check for check in entry.checks if check.get("chooses", True)]


def _digits(value: float) -> float:
    """Round to three significant digits."""
    return float(f"{value:.3g}")


def some_clips(files: Sequence[Path], number: int) -> list[Samples]:
    """Read up to ``number`` recordings, evenly over the list, as float32 [n]; AudioWarning for unreadable ones."""
    chosen = [files[i * len(files) // number] for i in range(number)] if len(files) > number else files
    clips = []
    for file in chosen:
        try:
            clips.append(audio.read(file))
        except SertoolError as error:
            warnings.warn(f"{file}: {error}; skipped", AudioWarning, stacklevel=2)
    return clips
