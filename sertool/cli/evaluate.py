"""`sertool evaluate`: a model and a labelled corpus in, figures with intervals out."""

import contextlib
import json
import signal
import sys
import threading
from pathlib import Path

import click

from sertool._machine import cores
from sertool.cli.recordings import check_output
from sertool.cli.terminal import bar, libraries_silenced, on_terminal, visible
from sertool.tasks import TASKS

#: Groups of one kind that the terminal shows; --json has all.
SHOWN_GROUPS = 20


@click.command(
    epilog="""\b
Figures: CCC, Pearson and MAE of arousal, dominance and valence where the corpus
has numbers from 0 to 1; where it has classes, AUC: arousal of angry, happy and
fearful against sad, neutral and calm; valence of happy against angry and sad.
Of a model of classes: weighted accuracy WA (share of recordings that are right),
unweighted accuracy UA (mean recall of the classes that are there), F1 by class
and their mean macro-F1, recall, expected calibration error ECE, and what each
class was taken for. Recordings of other classes are left out.
Intervals hold 95 % of the bootstrap's resamples.
\b
Exit codes: 0 all recordings evaluated, 1 some failed (named on standard error
and left out), 2 wrong usage, 130 interrupted.
\b
Examples:
  sertool evaluate wav2small corpora/ --split val
  sertool evaluate wav2small corpora/ --against runs/wav2small/teacher --plots plots/
  sertool evaluate wav2small corpora/ --robustness --json result.json
  sertool evaluate wav2small corpora/ --against mobile --crop 0.5,1,2
  sertool evaluate wav2small --against mobile --course film.wav --plots plots/
  sertool evaluate wav2small-emotion corpora/ --split test-ood --plots plots/"""
)
@click.argument("model")
@click.argument("corpus", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--layout", metavar="NAME", help="How CORPUS is laid out.  [default: manifest, if there is a manifest.csv]"
)
@click.option(
    "--split", "splits", metavar="NAME", multiple=True, help="Use this split; may be repeated.  [default: all]"
)
@click.option("--corpora", metavar="A,B", default="", help="Use these corpora.  [default: all]")
@click.option("--against", metavar="MODEL", multiple=True, help="Evaluate this model too; may be repeated.")
@click.option(
    "--crop",
    "crops",
    metavar="S,S",
    default="",
    help="Also measure on the middle S seconds of each recording, such as 0.5,1,2,5.",
)
@click.option("--whole", "in_one", is_flag=True, help="Run the model on each whole recording: no detector, no windows.")
@click.option(
    "--runtime",
    type=click.Choice(["onnx", "native"]),
    help="Run with onnxruntime, or with sertool's C engine.  [default: set by each model]",
)
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), help="Files in parallel, one thread each.  [default: all cores]"
)
@click.option(
    "--bootstrap",
    metavar="N",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="Resamples for the intervals; 0: none.",
)
@click.option(
    "--resample",
    type=click.Choice(["clips", "speakers"]),
    default="clips",
    show_default=True,
    help="Draw single clips, or all clips of a speaker together, since these are not independent.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Seed of the bootstrap and of --robustness.",
)
@click.option(
    "--json",
    "json_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="Write all results as JSON; - writes to standard output instead of the tables.",
)
@click.option(
    "--predictions",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a CSV of labels and outputs, one row per file and model.",
)
@click.option(
    "--plots",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Draw there: scatter.png (valence and arousal by class) or, of models of classes, confusion.png and "
    "reliability.png; bars.png (CCC, AUC or accuracy by model) and course.png.",
)
@click.option(
    "--course",
    "recording",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A long recording: draw the outputs of MODEL and of the first --against over time.",
)
@click.option("--robustness", "robust", is_flag=True, help="Apply small changes to clips and count unchanged outputs.")
@click.option("--fairness", "fair", is_flag=True, help="Compare results between languages and between sexes.")
@click.option(
    "--clips",
    metavar="N",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Number of clips for --robustness, evenly over the corpus.",
)
@click.option(
    "--noise",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Recordings of noise for --robustness.",
)
@click.option(
    "--rooms",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Room impulse responses for --robustness.",
)
def evaluate(
    model,
    corpus,
    layout,
    splits,
    corpora,
    against,
    crops,
    in_one,
    runtime,
    jobs,
    bootstrap,
    resample,
    seed,
    json_file,
    predictions,
    plots,
    recording,
    robust,
    fair,
    clips,
    noise,
    rooms,
):
    """Evaluate a model on labelled recordings.

    MODEL is the name of a model, a bundle folder or a model file. CORPUS is a folder of recordings with a
    manifest.csv, or in another layout (`sertool plugins` lists them). Recordings are labelled as by `sertool
    label`, or with --whole as papers measure. Results are for all recordings and by corpus, language, sex and
    speaker. All models must have the same task: numbers, or classes. Without CORPUS, only --course is drawn.
    """
    from sertool.errors import AudioError, UsageError
    from sertool.evaluation import plots as drawing
    from sertool.evaluation import run
    from sertool.evaluation.grouped import clusters

    # Whatever is wrong is said now, not after hours of work.
    if recording and not plots:
        raise UsageError("--course needs a folder for its picture: --plots DIR")
    if not corpus and not recording:
        raise UsageError("name a CORPUS to evaluate on, or a long recording to draw: --course FILE --plots DIR")
    if not corpus and (robust or fair or predictions or json_file or crops):
        raise UsageError("only --course goes without a CORPUS")
    if (noise or rooms) and not robust:
        raise UsageError("--noise and --rooms go with --robustness")
    if plots:
        drawing.require()
    if robust:
        from sertool import robustness

        robustness.checks([], noise, rooms)
    for file in filter(None, (predictions, None if json_file == "-" else json_file)):
        check_output(Path(file), folder=corpus)
    _make_folder(plots)
    given = run.labellers([model, *against], runtime)
    if not corpus:
        with libraries_silenced():
            course = _course(dict(zip(given, [model, *against][:2], strict=False)), recording, runtime)
        click.echo(f"drew {plots / run.draw_course(plots, given, course)}", err=True)
        return 0
    given = {name: run.Whole(labeller) for name, labeller in given.items()} if in_one else given
    models = run.cropped(given, _seconds(crops))
    task = run.task(models)
    layout, rows = run.read(corpus, layout, splits, [name for name in corpora.split(",") if name])
    clusters(rows, resample)

    with libraries_silenced():
        shown = dict(zip(given, [model, *against][:2], strict=False))
        course = _course(shown, recording, runtime) if recording else None
        found = _label_all(models, rows, jobs or cores())
    if found is None:
        click.echo("interrupted: nothing was written", err=True)
        return 130
    failures = {file: text for by_file in found.values() for file, text in by_file.items() if isinstance(text, str)}
    for file, reason in failures.items():
        click.echo(f"{visible(str(file))}: {visible(reason)}", err=True)
    good = [row for row in rows if row.file not in failures]
    outputs = {name: [by_file[row.file] for row in good] for name, by_file in found.items()}

    if predictions:
        with open(predictions, "w", encoding="utf-8", newline="") as stream:
            names = {name: labeller.outputs for name, labeller in models.items()}
            run.write_predictions(stream, corpus, rows, found, names, TASKS[task].has_classes)
    settings = {"bootstrap": bootstrap, "seed": seed, "resample": resample}
    reports = {}
    with bar(len(models), "models", "measuring", shown=on_terminal()) as shown:
        for name, labeller in models.items():

            def count(done, total, name=name):
                shown.update(done, f"resampling {name}", total)

            reports[name] = run.REPORTS[task].report(good, outputs[name], labeller.outputs, **settings, progress=count)
    checks, compared, failed = {}, {}, bool(failures)
    if robust and good:
        try:
            for name, labeller in given.items():
                checks[name] = _robustness(labeller, run.spread(good, clips), seed, noise, rooms)
        except AudioError as error:  # the rest is worth having
            failed = True
            click.echo(f"--robustness: {visible(str(error))}", err=True)
    if fair:
        for name, labeller in given.items():
            compared[name] = _fairness(good, outputs[name], labeller.outputs, task, seed)

    about = {
        "path": str(corpus),
        "layout": layout,
        "splits": list(splits),
        "corpora": corpora,
        "rows": len(rows),
        "labelled": len(good),
        "failed": [{"file": str(file), "error": reason} for file, reason in failures.items()],
    }
    if json_file:
        more = {"robustness": checks} if checks else {}
        more |= {"fairness": compared} if compared else {}
        more |= {"course": course} if course else {}
        described = {name: (labeller, reports[name]) for name, labeller in models.items()}
        text = json.dumps(run.document(about, good, described, settings, **more), indent=2)
        with click.open_file(json_file, "w", encoding="utf-8") as stream:
            stream.write(text + "\n")
    if plots:
        title = visible(" ".join([corpus.resolve().name, *splits]))
        for name in run.draw(plots, good, outputs, models, reports, course, title):
            click.echo(f"drew {plots / name}", err=True)
    if json_file != "-":
        _show(about, models, reports, checks, compared)
    return 1 if failed else 0


def _seconds(crops: str) -> list[float]:
    """The lengths of --crop; UsageError for one that is none."""
    from sertool.errors import UsageError

    try:
        found = [float(text) for text in crops.split(",") if text.strip()]
    except ValueError:
        found = [0.0]
    if not all(0.05 <= seconds <= 3600 for seconds in found) or len(set(found)) < len(found):
        raise UsageError(f"--crop {crops}: write different lengths in seconds, from 0.05, as 0.5,1,2,5")
    return found


def _make_folder(plots) -> None:
    from sertool.errors import UsageError

    if plots:
        try:
            plots.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--plots {plots}: {error.strerror.lower()}") from None


def _label_all(models, rows, jobs: int) -> dict | None:
    """Model -> file -> outputs or error; None if interrupted."""
    from sertool.evaluation.run import outputs
    from sertool.recordings.pool import Meter

    stop, found = threading.Event(), {}
    files = len({row.file for row in rows})
    with _first_interrupt(stop):
        for name, labeller in models.items():
            found[name], meter = {}, Meter()
            with _audio_bar(files, "files", f"labelling, {name}", meter) as shown:
                for done, (file, answer) in enumerate(outputs(labeller, rows, jobs, stop, meter), start=1):
                    found[name][file] = answer
                    shown.update(done, "finishing" if stop.is_set() else f"labelling, {name}")
    return None if stop.is_set() else found


def _course(models: dict[str, str], recording: Path, runtime: str | None) -> dict:
    """The recording and each model's course over it, all on the first one's windows."""
    from sertool.evaluation.run import course
    from sertool.recordings.pool import Meter

    found, window = {}, None
    with _audio_bar(len(models), "models", "course", meter := Meter()) as shown:
        for done, (name, model) in enumerate(models.items(), start=1):
            found[name] = course(model, recording, window, meter, runtime)
            window = found[name]["window"]
            shown.update(done, "course")
    return {"file": str(recording), "models": found}


def _robustness(labeller, rows, seed: int, noise, rooms) -> dict:
    """The checks' results on these rows' clips, and the share of checks that were passed."""
    from dataclasses import asdict

    import numpy as np

    from sertool import audio, robustness

    task = labeller.bundle.manifest["task"]

    def predict(samples):
        labels = labeller.label(samples, audio.SAMPLE_RATE)
        return np.array([labels[name] for name in labeller.outputs], np.float32)

    with libraries_silenced(), bar(len(rows), "clips", "reading", shown=on_terminal()) as shown:
        waveforms = []
        for row in rows:
            waveforms.append(audio.read(row.file))
            shown.update(len(waveforms), "reading")

        def progress(done, total):
            shown.update(done, "robustness", total)

        results = robustness.evaluate(
            predict, waveforms, labeller.outputs, task=task, seed=seed, noise=noise, rooms=rooms, progress=progress
        )
    return {
        "unchanged": TASKS[task].unchanged_text,
        "checks": [asdict(result) for result in results],
        "passed": robustness.summary(results),
    }


def _fairness(rows, outputs, names, task: str, seed: int) -> dict:
    """The comparisons, and the share of them that was passed."""
    from dataclasses import asdict

    from sertool.evaluation import fairness

    results = fairness.evaluate(rows, outputs, names, task, seed)
    return {"checks": [asdict(r) for r in results], "passed": fairness.summary(results) if results else {}}


def _audio_bar(total: int, unit: str, description: str, meter):
    def state():
        return f"{meter.seconds / 60:.1f} min of audio  {meter.speed:.0f}x real time"

    return bar(total, unit, description, shown=on_terminal(), state=state)


@contextlib.contextmanager
def _first_interrupt(stop: threading.Event):
    """The first Ctrl-C finishes the files in flight; another one leaves at once."""
    before = signal.getsignal(signal.SIGINT)

    def handle(number, frame):
        stop.set()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _show(about: dict, models: dict, reports: dict, checks: dict, compared: dict) -> None:
    """Tables as a person reads them."""
    from rich.console import Console

    from sertool.evaluation import run

    # Where nobody watches there is no width to keep to.
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False)
    first = next(iter(reports.values()))
    console.print(
        f"{about['labelled']} of {about['rows']} recordings, {len(about['failed'])} failed, "
        f"{first['unusable']} without a usable label"
    )
    _show_overall(console, reports)
    for name, report in reports.items():
        if "confusion" in report["overall"]:
            _show_confusion(console, name, models[name].outputs, report["overall"]["confusion"])
    headline = run.REPORTS[run.task(models)].headline
    measures = list(dict.fromkeys(measure for report in reports.values() for measure in headline(report)))
    for grouping in first["groups"]:
        _show_groups(console, grouping, reports, measures)
    for name, found in checks.items():
        _show_checks(console, name, found)
    for name, found in compared.items():
        _show_fairness(console, name, found)


def _show_overall(console, reports: dict) -> None:
    from sertool.evaluation.grouped import shown

    overall = {name: report["overall"]["measures"] for name, report in reports.items()}
    measures = dict.fromkeys(measure for found in overall.values() for measure in found)
    table = _table("measure", ["clips", *reports])
    for measure in measures:
        clips = next(found[measure]["n"] for found in overall.values() if measure in found)
        table.add_row(measure, str(clips), *(shown(found.get(measure)) for found in overall.values()))
    if measures:
        console.print()
        console.print(table)
    else:
        console.print("no figures: no recording has arousal, dominance, valence or a class that is compared")


def _show_confusion(console, model: str, classes: list[str], confusion) -> None:
    from sertool.evaluation.categorical import confusion_cells

    if not sum(map(sum, confusion)):
        return
    table = _table(f"{model}: true", ["clips", *(f"as {name}" for name in classes)])
    for name, row, cells in zip(classes, confusion, confusion_cells(confusion), strict=True):
        table.add_row(name, str(sum(row)), *cells)
    console.print()
    console.print(table)


def _show_groups(console, grouping: str, reports: dict, measures: list[str]) -> None:
    from sertool.evaluation.grouped import shown

    groups = list(next(iter(reports.values()))["groups"][grouping])
    if len(groups) < 2 or not measures:
        return
    told = [g for g in groups if any(report["groups"][grouping][g]["measures"] for report in reports.values())]
    table = _table(grouping, ["clips", *(["model"] if len(reports) > 1 else []), *measures])
    for group in told[:SHOWN_GROUPS]:
        for i, (model, report) in enumerate(reports.items()):
            found = report["groups"][grouping][group]
            heads = [group, str(found["clips"])] if i == 0 else ["", ""]
            heads += [model] if len(reports) > 1 else []
            table.add_row(*heads, *(shown(found["measures"].get(measure), 2) for measure in measures))
    console.print()
    console.print(table)
    if len(told) > SHOWN_GROUPS:
        console.print(f"... and {len(told) - SHOWN_GROUPS} more: --json has all")
    if len(told) < len(groups):
        console.print(f"{len(groups) - len(told)} more without enough labelled clips for a figure")


def _show_checks(console, model: str, found: dict) -> None:
    names = [name for name in found["passed"] if name != "all"]
    table = _table(f"robustness of {model}: share unchanged", ["above", *names, "passed", "constant", "random"])
    for check in found["checks"]:
        failed = [name for name in names if not check["passed"][name]]
        verdict = f"not {', '.join(failed)}" if failed else "yes"
        shares = [check["share"][name] for name in names]
        cells = [f"{value:.2f}" for value in (check["threshold"], *shares, check["constant"], check["random"])]
        table.add_row(f"{check['group']}: {check['check']}", *cells[:-2], verdict, *cells[-2:])
    passed = [found["passed"][name] for name in names]
    cells = [f"{value:.2f}" for value in (*(p["model"] for p in passed), passed[0]["constant"], passed[0]["random"])]
    table.add_row("share of the checks passed", "", *cells[:-2], "", *cells[-2:])
    console.print()
    console.print(table)
    everything = found["passed"]["all"]
    console.print(
        f"{everything['model']:.0%} of all checks passed (constant {everything['constant']:.0%}, random "
        f"{everything['random']:.0%}); unchanged: {found['unchanged']}; {found['checks'][0]['clips']} clips; "
        "constant, random: what a model that always says the same, and one that guesses, would get"
    )


def _show_fairness(console, model: str, found: dict) -> None:
    console.print()
    if not found["checks"]:
        console.print("fairness: no languages or sexes with enough clips of one class to compare")
        return
    table = _table(f"fairness of {model}: largest difference", ["below", "difference", "passed", "constant", "random"])
    for check in found["checks"]:
        difference = f"{check['difference']:.3f} [{check['low']:.3f}, {check['high']:.3f}]"
        others = (f"{check[name]:.3f}" for name in ("constant", "random"))
        table.add_row(check["check"], f"{check['limit']:g}", difference, "yes" if check["passed"] else "no", *others)
    console.print(table)
    shares = ", ".join(f"{who} {share:.0%}" for who, share in found["passed"].items())
    groups = ", ".join(dict.fromkeys(group for check in found["checks"] for group in check["groups"]))
    console.print(f"share of the comparisons passed: {shares}; groups: {groups}; each class counts the same in each")


def _table(head: str, columns: list[str]):
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, title=None)
    table.add_column(Text(head), no_wrap=True)
    for column in columns:
        table.add_column(Text(column), justify="left", no_wrap=True)
    return table
