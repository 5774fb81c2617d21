"""Implementation of `sertool evaluate`."""

import json
import threading
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import click
import numpy as np

from sertool import audio, robustness
from sertool._machine import cores
from sertool._types import Samples
from sertool.cli.interrupt import interruptible
from sertool.cli.recordings import check_output
from sertool.cli.terminal import Bar, bar, libraries_silenced, on_terminal, visible
from sertool.cli.view import evaluate as view
from sertool.corpora import Row
from sertool.corpora.rows import Key
from sertool.errors import AudioError, UsageError
from sertool.evaluation import fairness, run, segmented
from sertool.evaluation.grouped import clusters
from sertool.labelling import Labeller
from sertool.look import figures
from sertool.recordings.pool import Meter
from sertool.tasks import TASKS

#: A model as given, not cropped.
Given: TypeAlias = Labeller | run.Whole


@dataclass
class Request:
    """The options of `sertool evaluate`."""

    model: str
    corpus: Path | None
    layout: str | None
    splits: tuple[str, ...]
    corpora: str
    against: tuple[str, ...]
    crops: str | None
    in_one: bool
    runtime: str | None
    jobs: int | None
    bootstrap: int
    resample: str
    seed: int
    json_file: str | None
    predictions: Path | None
    plots: Path | None
    recording: Path | None
    robust: bool
    fair: bool
    clips: int
    noise: Path | None
    rooms: Path | None
    segments: Path | None
    segments_format: str | None
    tier: str | None

    def check(self) -> None:
        """Raise UsageError for invalid combinations and unwritable outputs, before hours of work."""
        if self.recording and not self.plots:
            raise UsageError("--course needs a folder for its plot: --plots DIR")
        if not self.corpus and not self.recording:
            raise UsageError("name a CORPUS to evaluate on, or a long recording to draw: --course FILE --plots DIR")
        if not self.corpus and (self.robust or self.fair or self.predictions or self.json_file or self.crops):
            raise UsageError("without a CORPUS only --course is possible")
        if self.segments and (self.layout or self.splits or self.corpora or self.crops or self.in_one or self.robust):
            raise UsageError(
                "--segments makes the rows: without --layout, --split, --corpora, --crop, --whole and --robustness"
            )
        if not self.segments and (self.segments_format or self.tier):
            raise UsageError("--segments-format and --tier need --segments")
        if (self.noise or self.rooms) and not self.robust:
            raise UsageError("--noise and --rooms need --robustness")
        if self.plots:
            figures.require(option="--plots")
        if self.robust:
            robustness.checks([], self.noise, self.rooms)
        for file in (self.predictions, Path(self.json_file) if self.json_file and self.json_file != "-" else None):
            if file:
                check_output(file, folder=self.corpus)
        if self.plots:
            try:
                self.plots.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"--plots {self.plots}: {(error.strerror or str(error)).lower()}") from None


def evaluate(**options: Any) -> int:
    """Run `sertool evaluate`; the arguments are its options."""
    request = Request(**options)
    request.check()
    loaded = run.labellers([request.model, *request.against], request.runtime)
    drawn = dict(zip(loaded, [request.model, *request.against][:2], strict=False))
    if not request.corpus:
        with libraries_silenced():
            course = _course(drawn, request)
        assert request.plots  # by Request.check
        assert course
        click.echo(f"drew {request.plots / run.draw_course(request.plots, loaded, course)}", err=True)
        return 0
    given: dict[str, Given] = dict(loaded)
    if request.in_one:
        given = {name: run.Whole(labeller) for name, labeller in loaded.items()}
    models = run.cropped(given, _seconds(request.crops or ""))
    corpora = [name for name in request.corpora.split(",") if name]
    if request.segments:
        layout = "segments"
        rows = segmented.read(request.corpus, request.segments, request.segments_format, request.tier)
    else:
        layout, rows = run.read(request.corpus, request.layout, request.splits, corpora)
    clusters(rows, request.resample)
    with libraries_silenced():
        course = _course(drawn, request)
        answers = _label_all(models, rows, request.jobs or cores())
    if answers is None:
        click.echo("interrupted: nothing was written", err=True)
        return 130
    return _Evaluation(request, given, models, layout, rows, answers, course).finish()


class _Evaluation:
    """Report on the outputs of all models, and write and draw the results."""

    def __init__(
        self,
        request: Request,
        given: dict[str, Given],
        models: dict[str, Labeller],
        layout: str,
        rows: list[Row],
        answers: dict[str, dict[Key, list[float] | str]],
        course: dict[str, Any] | None,
    ) -> None:
        self.request, self.given, self.models, self.rows, self.course = request, given, models, rows, course
        self.answers, self.task = answers, run.task(models)
        failed = {key: text for by_key in answers.values() for key, text in by_key.items() if isinstance(text, str)}
        self.failures = {_named(key): text for key, text in failed.items()}
        self.good = [row for row in rows if row.key not in failed]
        self.outputs = {name: [by_key[row.key] for row in self.good] for name, by_key in answers.items()}
        self.settings = {"bootstrap": request.bootstrap, "seed": request.seed, "resample": request.resample}
        self.about = {
            "path": str(request.corpus),
            "layout": layout,
            "splits": list(request.splits),
            "corpora": request.corpora,
            "rows": len(rows),
            "labelled": len(self.good),
            "failed": [{"file": file, "error": reason} for file, reason in self.failures.items()],
        }

    def finish(self) -> int:
        """Report, write and draw; return the exit code."""
        request, failed = self.request, bool(self.failures)
        for file, reason in self.failures.items():
            click.echo(f"{visible(file)}: {visible(reason)}", err=True)
        if request.predictions:
            self._write_predictions(request.predictions)
        reports, checks = self._reports(), dict[str, Any]()
        if request.robust and self.good:
            try:
                clips = run.spread(self.good, request.clips)
                checks = {name: _robustness(labeller, clips, request) for name, labeller in self.given.items()}
            except AudioError as error:  # still show the other results
                failed = True
                click.echo(f"--robustness: {visible(str(error))}", err=True)
        compared = {
            name: _fairness(self.good, self.outputs[name], labeller.outputs, self.task, request.seed)
            for name, labeller in (self.given.items() if request.fair else ())
        }
        if request.json_file:
            self._write_json(request.json_file, reports, checks, compared)
        if request.plots:
            self._draw(request.plots, reports)
        if request.json_file != "-":
            view.show(self.about, self.models, reports, checks, compared)
        return 1 if failed else 0

    def _reports(self) -> dict[str, dict[str, Any]]:
        reports = {}
        with bar(len(self.models), "models", "measuring", shown=on_terminal()) as shown:
            for name, labeller in self.models.items():

                def count(done: int, total: int, name: str = name) -> None:
                    shown.update(done, f"resampling {name}", total)

                report = run.REPORTS[self.task].report
                reports[name] = report(self.good, self.outputs[name], labeller.outputs, **self.settings, progress=count)
        return reports

    def _write_predictions(self, path: Path) -> None:
        assert self.request.corpus
        names = {name: labeller.outputs for name, labeller in self.models.items()}
        with open(path, "w", encoding="utf-8", newline="") as stream:
            run.write_predictions(
                stream, self.request.corpus, self.rows, self.answers, names, TASKS[self.task].has_classes
            )

    def _write_json(
        self, target: str, reports: dict[str, Any], checks: dict[str, Any], compared: dict[str, Any]
    ) -> None:
        more = {"robustness": checks} if checks else {}
        more |= {"fairness": compared} if compared else {}
        more |= {"course": self.course} if self.course else {}
        described = {name: (labeller, reports[name]) for name, labeller in self.models.items()}
        text = json.dumps(run.document(self.about, self.good, described, self.settings, **more), indent=2)
        with click.open_file(target, "w", encoding="utf-8") as stream:
            stream.write(text + "\n")

    def _draw(self, folder: Path, reports: dict[str, Any]) -> None:
        assert self.request.corpus
        title = visible(" ".join([self.request.corpus.resolve().name, *self.request.splits]))
        for name in run.draw(folder, self.good, self.outputs, self.models, reports, self.course, title):
            click.echo(f"drew {folder / name}", err=True)


def _seconds(crops: str) -> list[float]:
    """Parse --crop; raise UsageError if a length is invalid or repeated."""
    try:
        lengths = [float(text) for text in crops.split(",") if text.strip()]
    except ValueError:
        lengths = [0.0]
    if not all(0.05 <= seconds <= 3600 for seconds in lengths) or len(set(lengths)) < len(lengths):
        raise UsageError(f"--crop {crops}: write different lengths in seconds, from 0.05, such as 0.5,1,2,5")
    return lengths


def _named(key: Key) -> str:
    file, start, end = key
    return str(file) if start is None else f"{file} from {start:g} to {end:g} s"


def _label_all(
    models: dict[str, Labeller], rows: list[Row], jobs: int
) -> dict[str, dict[Key, list[float] | str]] | None:
    """Return model -> row's key -> outputs or error; None if interrupted."""
    stop, answers = threading.Event(), dict[str, dict[Key, list[float] | str]]()
    files = len({row.file for row in rows})
    with interruptible(stop):
        for name, labeller in models.items():
            answers[name], meter = {}, Meter()
            with _audio_bar(files, "files", f"labelling, {name}", meter) as shown:
                for done, answer in enumerate(run.outputs(labeller, rows, jobs, stop, meter), start=1):
                    answers[name] |= answer
                    shown.update(done, "finishing" if stop.is_set() else f"labelling, {name}")
    return None if stop.is_set() else answers


def _course(models: dict[str, str], request: Request) -> dict[str, Any] | None:
    """Return the outputs of each model over the recording of --course; all use the window of the first model."""
    if not request.recording:
        return None
    courses: dict[str, dict[str, Any]] = {}
    window: float | None = None
    with _audio_bar(len(models), "models", "course", meter := Meter()) as shown:
        for done, (name, model) in enumerate(models.items(), start=1):
            courses[name] = run.course(model, request.recording, window, meter, request.runtime)
            window = courses[name]["window"]
            shown.update(done, "course")
    return {"file": str(request.recording), "models": courses}


def _robustness(labeller: Given, rows: list[Row], request: Request) -> dict[str, Any]:
    """Return the results of the checks on the clips of ``rows``, and the share of passed checks."""
    task = labeller.bundle.manifest.task

    def predict(samples: Samples) -> Samples:
        labels = labeller.label(samples, audio.SAMPLE_RATE)
        return np.array([labels[name] for name in labeller.outputs], np.float32)

    with libraries_silenced(), bar(len(rows), "clips", "reading", shown=on_terminal()) as shown:
        waveforms = []
        for row in rows:
            waveforms.append(audio.read(row.file))
            shown.update(len(waveforms), "reading")

        def progress(done: int, total: int) -> None:
            shown.update(done, "robustness", total)

        results = robustness.evaluate(
            predict,
            waveforms,
            labeller.outputs,
            task=task,
            seed=request.seed,
            noise=request.noise,
            rooms=request.rooms,
            progress=progress,
        )
    return {
        "unchanged": TASKS[task].unchanged_text,
        "checks": [asdict(result) for result in results],
        "passed": robustness.summary(results),
    }


def _fairness(rows: list[Row], outputs: Any, names: list[str], task: str, seed: int) -> dict[str, Any]:
    """Return the comparisons, and the share of passed ones."""
    results = fairness.evaluate(rows, outputs, names, task, seed)
    return {"checks": [asdict(r) for r in results], "passed": fairness.summary(results) if results else {}}


def _audio_bar(total: int, unit: str, description: str, meter: Meter) -> AbstractContextManager[Bar]:
    def state() -> str:
        return f"{meter.seconds / 60:.1f} min of audio  {meter.speed:.0f}x real time"

    return bar(total, unit, description, shown=on_terminal(), state=state)
