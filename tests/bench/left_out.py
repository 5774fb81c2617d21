"""The tables of plugins/sertool_wav2small/emotion.md: what is recognised in a corpus that was left out of training.

    python tests/bench/left_out.py RUN [RUN...]

RUN are folders of `sertool crossval` with folds.by = "corpus"; the first one's confusions are printed too.
"""

import argparse
from pathlib import Path

from sertool.evaluation.categorical import confusion_markdown
from sertool.evaluation.grouped import shown
from sertool.training.crossval import read_results

#: openSMILE eGeMAPS and an RBF support vector machine, trained on the other three, UA (measured on this audio).
EGEMAPS = {"ravdess": "0.21", "emodb": "0.52", "nemo": "0.42", "emotiontts_ko": "0.28"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+")
    runs = {run.name: read_results(run) for run in parser.parse_args().runs}
    print(f"| left out | clips | eGeMAPS + SVM: UA | {' | '.join(f'{name}: UA | WA' for name in runs)} |")
    print(f"|---|---:|---:|{'---|---|' * len(runs)}")
    first = next(iter(runs.values()))
    for fold, report in first["folds"].items():
        found = [run["folds"][fold]["overall"]["measures"] for run in runs.values()]
        cells = " | ".join(f"{shown(measures['UA'])} | {shown(measures['WA'])}" for measures in found)
        clips = sum(map(sum, report["overall"]["confusion"]))
        print(f"| {fold} | {clips} | {EGEMAPS.get(fold, '')} | {cells} |")
    for fold, report in first["folds"].items():
        print(f"\n{fold}:\n")
        print("\n".join(confusion_markdown(report["overall"]["confusion"], first["outputs"])))


if __name__ == "__main__":
    main()
