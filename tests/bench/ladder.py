"""Measure what distillation, its quadrant term and mixup change for Wav2Small. Takes hours on two cores.

    python tests/bench/ladder.py FOLDER runs/ladder [--steps 600] [--seeds 0 1] [--start runs/wav2small-labels]

FOLDER holds manifest.csv, noise/ and rir/; ladder.toml names the members of the teacher. All arms start from the
weights of one run on labels (--start "": from random weights) and train for the same number of steps. Two runs at a
time, on one thread each. An interrupted run is resumed, a finished one is only read. At the end the table is printed:
mean over the seeds ± half of their range.
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

#: Recipe of the distilled arms: the paper's mixing and losses, at the size of a workstation.
RECIPE = str(Path(__file__).with_name("ladder.toml"))

#: Corpora that have labels.
LABELLED = ("ravdess", "emodb", "nemo", "emotiontts_ko")

#: Augmentations of the recipe that change the recording (noise, room, channel), not the voice.
RECORDING = ("mixup", "room", "equaliser", "band", "drop-frequencies")

#: Arm -> (command, recipe, overrides of the recipe).
ARMS = {
    "c distilled": ("distil", RECIPE, []),
    "f clean clip for the teacher": (
        "distil",
        RECIPE,
        [f"augment.{name}.student_only=true" for name in RECORDING],
    ),
    "a labels only": ("train", "wav2small-labels", ["train.restarts=[]"]),
    "e without mixup": ("distil", RECIPE, ["augment.mixup.p=0"]),
    "d without quadrant": ("distil", RECIPE, ["loss.options.quadrant=0"]),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora")
    parser.add_argument("runs", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--start", default="runs/wav2small-labels")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    given = parser.parse_args()
    jobs = [(arm, seed) for arm in ARMS for seed in given.seeds]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda job: run(given, *job), jobs))
    agreement = Agreement(given)
    rows = {arm: [agreement.added(folder(given, arm, seed) / "wav2small") for seed in given.seeds] for arm in ARMS}
    rows["b the teacher"] = [agreement.added(teacher(given))]
    print_table(dict(sorted(rows.items())))


def folder(given, arm: str, seed: int) -> Path:
    return given.runs / f"{arm.replace(' ', '-')}-{seed}"


def settings(given, seed: int) -> list[str]:
    train = {"seed": seed, "steps": given.steps, "batch": 16, "shortest_s": 0.8, "longest_s": 3.6, "threads": 1}
    train |= {"lr": 1.5e-3, "warmup": 50, "validate_every": given.steps // 2, "save_every": 100}
    return [
        f"data.root={given.corpora}",
        f"model.start={given.start}",
        *(f"train.{key}={value}" for key, value in train.items()),
    ]


def run(given, arm: str, seed: int) -> None:
    """Start or resume a run, up to its bundle."""
    command, recipe, differs = ARMS[arm]
    here = folder(given, arm, seed)
    if (here / "wav2small" / "bundle.json").exists():
        return
    here.mkdir(parents=True, exist_ok=True)
    sets = settings(given, seed) + differs
    arguments = [sys.executable, "-m", "sertool", command, recipe, "-o", str(here)]
    with open(here / "console.log", "a") as log:
        done = subprocess.run([*arguments, *(part for s in sets for part in ("--set", s))], stderr=log, stdout=log)
    print(f"{arm}, seed {seed}: {'done' if done.returncode == 0 else f'failed, see {here}/console.log'}", flush=True)


def teacher(given) -> Path:
    """Write the teacher as a bundle, measured like its students; return the folder."""
    from sertool.exporting import release
    from sertool.training.recipe import load_recipe
    from sertool.training.sections import DistilRecipe

    if not (given.runs / "teacher" / "bundle.json").exists():
        release.release_teacher(load_recipe(Path(RECIPE), settings(given, 0), kind=DistilRecipe), given.runs)
    return given.runs / "teacher"


class Agreement:
    """CCC of a student with the teacher on every third clip of val: what distillation optimises."""

    def __init__(self, given):
        from sertool import audio
        from sertool.plugins import load_plugins

        rows = load_plugins().get("corpora", "manifest").read(Path(given.corpora))
        self.clips = [audio.read(row.file) for row in rows if row.split == "val" and row.corpus in LABELLED][::3]
        self.teacher = self.outputs(teacher(given))

    def outputs(self, path: Path) -> np.ndarray:
        from sertool.runtime import Runtime

        runtime = Runtime(str(path))
        return np.stack([runtime.run(clip) for clip in self.clips])

    def added(self, path: Path) -> dict[str, float]:
        """Return the figures of a bundle and its CCC with the teacher."""
        from sertool.evaluation.dimensional import concordance

        names = ("arousal", "dominance", "valence")
        found = concordance(self.outputs(path), self.teacher, names)
        return figures(path) | {f"CCC with teacher {name}": value for name, value in found.items()}


def figures(path: Path) -> dict[str, float]:
    """Return measure -> value of a bundle: CCC on val, AUC on out-of-domain corpora."""
    metrics = json.loads((path / "bundle.json").read_text())["metrics"]
    measures = metrics["val"]["overall"]["measures"]
    found = {f"val {name}": figure["value"] for name, figure in measures.items() if name.endswith("CCC")}
    for corpus, group in metrics["test-ood"]["corpus"].items():
        found |= {f"{corpus} {name}": figure["value"] for name, figure in group["measures"].items()}
    return found


def print_table(rows: dict) -> None:
    columns = list(next(iter(rows.values()))[0])
    print("| | " + " | ".join(columns) + " |\n|---" + "|---" * len(columns) + "|")
    for arm, runs in rows.items():
        values = defaultdict(list)
        for one in runs:
            for name, value in one.items():
                values[name].append(value)
        cells = [
            f"{np.mean(values[name]):.3f}" + (f" ± {np.ptp(values[name]) / 2:.3f}" if len(runs) > 1 else "")
            for name in columns
        ]
        print(f"| {arm} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
