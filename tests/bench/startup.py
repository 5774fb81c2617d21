"""Wall time of whole commands, from a cold process to its end: `sertool --help`, `sertool label` on 1 s of audio.

python tests/bench/startup.py [--runs 20]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from report import header, spread


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    header("onnxruntime", "click", "numpy")
    with tempfile.TemporaryDirectory() as scratch:
        clip = Path(scratch, "x.wav")
        soundfile.write(clip, 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "sertool --help": [sys.executable, "-m", "sertool", "--help"],
            "sertool label, 1 s": [sys.executable, "-m", "sertool", "label", str(clip)],
            "import onnxruntime": [sys.executable, "-c", "import onnxruntime"],
        }
        times = {name: [] for name in commands}
        for run in range(options.runs + 2):  # the first two warm the page cache
            for name, command in commands.items():
                start = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                if run >= 2:
                    times[name].append(time.perf_counter() - start)
    for name, seconds in times.items():
        print(f"{name:<20} {spread(seconds)}")


if __name__ == "__main__":
    main()
