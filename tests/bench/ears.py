"""Measure accuracy, size and speed of all shipped models on corpora that were not used for training: docs/ears.md.

    python tests/bench/ears.py CORPORA [--left-out RUN ...] -o docs/ears.md

CORPORA is a folder with manifest.csv. Its split "test-ood" must not have been used for training, model selection, early
stopping or calibration. RUN is the folder of a finished `sertool crossval` with folds.by = "corpus".
"""

import argparse
import threading
from functools import partial
from pathlib import Path

import numpy as np

from sertool import audio, bundle
from sertool.bench import conditions, headline
from sertool.evaluation import run
from sertool.evaluation.categorical import confusion_markdown
from sertool.evaluation.grouped import shown
from sertool.measure import cost
from sertool.recordings.pool import Meter
from sertool.training.crossval import read_results

SPLIT = "test-ood"
CROPS = (0.5, 1.0, 2.0)

#: UA of an RBF support vector machine on openSMILE's eGeMAPS, trained on ravdess, emodb, nemo and emotiontts_ko.
EGEMAPS = {"tess": "0.46", "ased": "0.38", "ravdess": "0.21", "emodb": "0.52", "nemo": "0.42", "emotiontts_ko": "0.28"}
#: UA of a published model on a corpus that it was not trained on.
PAPER = ("arXiv 2512.23435, 23 MB, trained on IEMOCAP and CREMA-D", {"ravdess": "0.46"})
#: CCC of one rater with the mean of the other two.
RATERS = {"arousal": "0.77", "dominance": "0.65", "valence": "0.77"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpora", metavar="CORPORA", type=Path)
    parser.add_argument("--left-out", metavar="RUN", type=Path, nargs="*", default=[])
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    arguments = ["corpora/", *(["--left-out", *map(str, asked.left_out)] if asked.left_out else []), "-o docs/ears.md"]
    shipped = sorted(path.parent.name for path in bundle.bundled_folder().glob(f"*/{bundle.MANIFEST}"))
    manifests = {name: bundle.read(bundle.find(name)).manifest for name in shipped}
    _, rows = run.read(asked.corpora, None, [SPLIT])
    tasks = {task: [n for n in shipped if manifests[n].task == task] for task in ("categorical", "dimensional")}
    lines = [
        "# Accuracy on corpora that were not used for training",
        "",
        f"Written by `python tests/bench/ears.py {' '.join(arguments)}`.",
        headline(conditions()),
        "",
        "The corpora of the first two sections were not used for training, model selection, early stopping or",
        "calibration. Brackets hold 95 % bootstrap intervals over clips.",
        "",
        *classes(tasks["categorical"], rows),
        *dimensions(tasks["dimensional"], rows),
        *sizes(manifests, rows),
        *left_out(asked.left_out),
    ]
    asked.output.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print(f"wrote {asked.output}")


def reports(names, rows, crops=CROPS) -> dict:
    """Return name, or name and seconds for a crop -> report."""
    models, found = run.cropped(run.labellers(names), list(crops)), {}
    module = run.REPORTS[run.task(models)]
    for name, labeller in models.items():
        answers = {}
        for answer in run.outputs(labeller, rows, 2, threading.Event(), Meter()):
            answers |= answer
        good = [row for row in rows if not isinstance(answers[row.key], str)]
        outputs = [answers[row.key] for row in good]
        found[name] = module.report(good, outputs, labeller.outputs, bootstrap=1000)
        print(f"measured {name}", flush=True)
    return found


def figure(report: dict, corpus: str, measure: str) -> str:
    return shown(report["groups"]["corpus"].get(corpus, {"measures": {}})["measures"].get(measure), 2)


def classes(names, rows):
    rows = [row for row in rows if row.emotion]
    corpora, found = sorted({row.corpus for row in rows}), reports(names, rows)
    yield from ["## Four classes: UA, the mean recall of angry, happy, neutral, sad", ""]
    yield f"| | {' | '.join(corpora)} | mean |"
    yield "|---|" + "---|" * (len(corpora) + 1)
    for name in names:
        values = [found[name]["groups"]["corpus"][c]["measures"]["UA"]["value"] for c in corpora]
        yield f"| `{name}` | {' | '.join(figure(found[name], c, 'UA') for c in corpora)} | {np.mean(values):.2f} |"
    yield f"| eGeMAPS + SVM | {' | '.join(EGEMAPS.get(c, '') for c in corpora)} | |"
    yield f"| chance | {' | '.join('0.25' for _ in corpora)} | 0.25 |"
    yield from ["", "Expected calibration error: the mean absolute difference, over bins of probability, between the"]
    yield from ["probability of the predicted class and the share of correct predictions. 0 is best.", ""]
    yield f"| | {' | '.join(corpora)} |"
    yield "|---|" + "---|" * len(corpora)
    for name in names:
        yield f"| `{name}` | {' | '.join(figure(found[name], c, 'ECE') for c in corpora)} |"
    yield from crops(names, found, "UA", "Mean UA over these corpora", corpora)


def dimensions(names, rows):
    rated = [row for row in rows if row.arousal is not None]
    corpora, found = sorted({row.corpus for row in rated}), reports(names, rated)
    yield from [
        "",
        f"## Arousal, dominance, valence: CCC with human ratings ({', '.join(corpora)}, {len(rated)} clips)",
        "",
    ]
    yield f"| | {' | '.join(RATERS)} |"
    yield "|---|" + "---|" * len(RATERS)
    for name in names:
        measures = found[name]["overall"]["measures"]
        yield f"| `{name}` | {' | '.join(shown(measures[f'{d} CCC'], 2) for d in RATERS)} |"
    yield f"| one rater against the mean of the others | {' | '.join(RATERS.values())} |"
    yield "| chance | 0 | 0 | 0 |"
    for dimension in RATERS:
        yield from crops(names, found, f"{dimension} CCC", f"CCC of {dimension}", corpora)


def crops(names, found, measure: str, what: str, corpora):
    yield from ["", f"{what}, if only the middle of each recording is used:", ""]
    yield f"| | {' | '.join(f'{s:g} s' for s in CROPS)} | whole |"
    yield "|---|" + "---|" * (len(CROPS) + 1)
    for name in names:
        cells = []
        for label in (*(f"{name} {s:g} s" for s in CROPS), name):
            values = [found[label]["groups"]["corpus"][c]["measures"][measure]["value"] for c in corpora]
            cells.append(f"{np.mean(values):.2f}")
        yield f"| `{name}` | {' | '.join(cells)} |"


def sizes(manifests, rows):
    samples = np.resize(audio.read(rows[0].file), 5 * audio.SAMPLE_RATE)
    runtimes = {name: labeller.runtime for name, labeller in _each(manifests)}
    times = cost.alternating({name: partial(runtime.run, samples) for name, runtime in runtimes.items()})
    yield from ["", "## Size and speed: 5 s of audio on one thread, models alternating in one process", ""]
    yield "| | bytes | ms | times real time | licence |"
    yield "|---|---:|---:|---:|---|"
    for name, runtime in runtimes.items():
        ms = 1e3 * float(np.median(times[name]))
        size = runtime.variant.size
        cells = [f"{size:,}", f"{ms:.1f}", f"{5000 / ms:.0f}", manifests[name].licence]
        yield f"| `{name}` ({runtime.variant.name}) | {' | '.join(cells)} |"


def _each(manifests):
    for name in manifests:
        yield from run.labellers([name]).items()


def left_out(runs):
    if not runs:
        return
    yield from ["", "## Corpora left out of training", ""]
    yield "Each column: the recipe was trained without this corpus and tested on it (`sertool crossval`)."
    found = {path.name: read_results(path) for path in runs}
    yield from [*(f"{name}: a recipe of `{each['recipe']['model']['name']}`." for name, each in found.items()), ""]
    folds = list(next(iter(found.values()))["folds"])
    yield f"| UA | {' | '.join(folds)} | mean |"
    yield "|---|" + "---|" * (len(folds) + 1)
    for name, results in found.items():
        measures = [results["folds"][fold]["overall"]["measures"]["UA"] for fold in folds]
        mean = np.mean([m["value"] for m in measures])
        yield f"| {name} | {' | '.join(shown(m, 2) for m in measures)} | {mean:.2f} |"
    yield f"| eGeMAPS + SVM | {' | '.join(EGEMAPS.get(fold, '') for fold in folds)} | |"
    yield f"| {PAPER[0]} | {' | '.join(PAPER[1].get(fold, '') for fold in folds)} | |"
    for name, results in found.items():
        for fold in folds:
            yield from ["", f"{name}, trained without {fold}:", ""]
            yield from confusion_markdown(results["folds"][fold]["overall"]["confusion"], results["outputs"])


if __name__ == "__main__":
    main()
