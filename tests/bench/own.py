"""What own recordings are worth: right answers by number of clips, without labels (`adapt`) and with (`tune`).

    python tests/bench/own.py CORPORA [--models mobile-emotion,wav2small-emotion] [-o PICTURE.png]

Of each corpus, N clips of each class are drawn (three draws); UA is measured on the others. Corpora of split test-ood
had no part in training; of the others, the validation speakers are used, whose corpora had. Beside it the model as it
is, and a support vector machine on eGeMAPS (opensmile, scikit-learn: C=1, standardised) with the same clips. For
`adapt`, N clips of each speaker are drawn, of all classes as they come or of one class only. Needs opensmile and the
extras tune and eval. Features are kept in --cache, so that a second run takes minutes.
"""

import argparse
import hashlib
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
from report import header

from sertool import audio
from sertool.bundle.calibration import centred
from sertool.corpora.classes import class_of
from sertool.evaluation.metrics import uar
from sertool.labelling import Labeller
from sertool.plugins import load_plugins
from sertool.tuning import adapt, tune
from sertool.tuning.tail import inputs

CORPORA = ("tess", "ased", "emotale", "ravdess", "nemo", "emodb", "emotiontts_ko", "emospeech_in")
FEW, UNLABELLED, DRAWS = (3, 5, 10, 20), (5, 20, 100, 0), 3


def features(model: str, rows, cache: Path) -> dict[str, np.ndarray]:
    """Return outputs and embeddings [n, ...] of a model, or of "egemaps" the 88 functionals."""
    key = hashlib.sha256("\n".join([model, *(str(row.file) for row in rows)]).encode()).hexdigest()[:16]
    path = cache / f"{model}-{key}.npz"
    if path.exists():
        return dict(np.load(path))
    cache.mkdir(parents=True, exist_ok=True)
    if model == "egemaps":
        import opensmile

        smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
        values = [smile.process_signal(audio.read(row.file), 16_000).to_numpy()[0] for row in rows]
        found = {"embeddings": np.nan_to_num(np.array(values))}
    else:
        runtime = Labeller(model, vad=False).runtime
        most = runtime.bundle.manifest.window_s * audio.SAMPLE_RATE
        pairs = [runtime.run_both(audio.read(row.file)[: int(most)]) for row in rows]
        found = {"outputs": np.array([p[0] for p in pairs]), "embeddings": np.array([p[1] for p in pairs])}
    np.savez(path, **found)
    return found


def few_labels(model: str, heard, smile, labels, speakers, names, number: int, seed: int) -> tuple[float, float, float]:
    """Return UA as it is, tuned, and of the support vector machine, on the clips that were not drawn."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    order = np.random.default_rng(seed).permutation(len(labels))
    classes = np.unique(labels)
    drawn = np.concatenate([order[labels[order] == label][:number] for label in classes])
    rest = np.setdiff1d(order, drawn)
    known = [names[label] for label in classes]
    targets = (labels[drawn][:, None] == classes).astype(float)
    outputs, embeddings = heard["outputs"], heard["embeddings"]
    said = [str(speakers[i]) for i in drawn]
    task = tune.task(known, True, targets, outputs[drawn], embeddings[drawn], names, True, said)
    tuned = tune.tune(task, lambda done, total: None)
    answers = classes[tuned.linear(inputs(outputs[rest], True), embeddings[rest]).argmax(axis=1)]
    svm = make_pipeline(StandardScaler(), SVC(class_weight="balanced")).fit(smile[drawn], labels[drawn])
    before = outputs[rest].argmax(axis=1)
    return tuple(uar(chosen, labels[rest]) for chosen in (before, answers, svm.predict(smile[rest])))


def no_labels(heard, labels, speakers, calibration, number: int, seed: int, only: int | None) -> float:
    """Return UA after a shift of each speaker by ``number`` of its clips (0: all), of class ``only`` if given."""
    logits = centred(heard["outputs"])
    answers = logits.argmax(axis=1)
    rng = np.random.default_rng(seed)
    for speaker in np.unique(speakers):
        own = np.nonzero(speakers == speaker)[0]
        drawn = rng.permutation(own if only is None else own[labels[own] == only])
        drawn = drawn[: number or None]
        if len(drawn):
            shift = adapt.shift_of(logits[drawn], np.array(calibration.centre), calibration.spread)
            answers[own] = (logits[own] - shift).argmax(axis=1)
    return uar(answers, labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--models", default="mobile-emotion,wav2small-emotion")
    parser.add_argument("--cache", type=Path, default=Path("own-cache"))
    parser.add_argument("-o", "--output", type=Path, help="draw the curves")
    args = parser.parse_args()
    header("onnxruntime", "scikit-learn")
    rows = load_plugins().get("corpora", "manifest").read(args.corpora)
    names = Labeller("wav2small-emotion").outputs
    curves = defaultdict(dict)
    print(
        "UA as it is; `tune` with N labelled clips a class (sd over draws), the support vector machine with the same;"
    )
    print("`adapt` with N clips a speaker as they come, and with all of its clips of the class that does most harm")
    heads = ["corpus", "speakers", "model", "as it is", *(f"tune {n}" for n in FEW), *(f"SVM {n}" for n in FEW)]
    heads += [*(f"adapt {n or 'all'}" for n in UNLABELLED), "adapt, one class"]
    print(f"| {' | '.join(heads)} |\n|---|---:|---|{'---:|' * (len(heads) - 3)}")
    for corpus in CORPORA:
        chosen = [
            row
            for row in rows
            if row.corpus == corpus and row.split in ("val", "test-ood") and class_of(row.emotion, names)
        ]
        labels = np.array([names.index(class_of(row.emotion, names)) for row in chosen])
        speakers = np.array([row.speaker for row in chosen])
        classes = np.unique(labels)
        few = [number for number in FEW if number <= np.bincount(labels)[classes].min() // 2]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            smile = features("egemaps", chosen, args.cache)["embeddings"]
        for model in args.models.split(","):
            heard = features(model, chosen, args.cache)
            calibration = Labeller(model).bundle.manifest.calibrated
            values = curves[corpus]
            values[model, "as it is", 0] = uar(heard["outputs"].argmax(axis=1), labels)
            spread = {}
            for number in few:
                draws = [few_labels(model, heard, smile, labels, speakers, names, number, s) for s in range(DRAWS)]
                _, values[model, "tune", number], values["eGeMAPS", "SVM", number] = np.mean(draws, axis=0)
                spread[number] = np.std([draw[1] for draw in draws])

            def adapted(number, only=None, heard=heard, labels=labels, speakers=speakers, calibration=calibration):
                return np.mean([no_labels(heard, labels, speakers, calibration, number, s, only) for s in range(DRAWS)])

            for number in UNLABELLED:
                values[model, "adapt", number] = adapted(number)
            worst, label = min((adapted(0, only), only) for only in classes)
            cells = [corpus, len(np.unique(speakers)), model, f"{values[model, 'as it is', 0]:.2f}"]
            cells += [f"{values[model, 'tune', n]:.2f} ({spread[n]:.2f})" if n in few else "" for n in FEW]
            cells += [f"{values['eGeMAPS', 'SVM', n]:.2f}" if n in few else "" for n in FEW]
            cells += [*(f"{values[model, 'adapt', n]:.2f}" for n in UNLABELLED), f"{worst:.2f} ({names[label]})"]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
    if args.output:
        draw(curves, args.models.split(","), args.output)


def draw(curves, models, path: Path) -> None:
    """Draw a panel for each corpus: UA by the number of clips."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(2, 4, figsize=(13, 6), sharey=True, layout="constrained")
    for panel, (corpus, values) in zip(panels.flat, curves.items(), strict=False):
        for colour, model in zip(("#0072b2", "#d55e00"), models, strict=False):
            base = values[model, "as it is", 0]
            tuned = [(number, value) for (who, how, number), value in values.items() if (who, how) == (model, "tune")]
            panel.plot(
                [0, *(n for n, _ in tuned)], [base, *(v for _, v in tuned)], "o-", color=colour, label=f"{model}, tune"
            )
            panel.axhline(
                values[model, "adapt", 0], color=colour, ls="--", lw=1, label=f"{model}, adapt (all, no labels)"
            )
        svm = sorted((number, value) for (who, _, number), value in values.items() if who == "eGeMAPS")
        panel.plot([n for n, _ in svm], [v for _, v in svm], "s:", color="#555555", label="SVM on eGeMAPS")
        panel.set(title=corpus, ylim=(0.2, 1), xlabel="labelled clips a class", ylabel="UA")
        panel.grid(alpha=0.3)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
