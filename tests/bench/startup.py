"""Whole commands, from a cold process to its end: `sertool --help`, `sertool label` on 1 s of audio with each runtime.

Wall time, and the largest resident memory of the process.

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

from sertool.bundle import RUNTIMES

#: Runs the command and says how much memory that took, as the process itself saw it.
MEASURED = """
import sys
from sertool.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code
status = dict(line.split(":") for line in open("/proc/self/status"))
print(status["VmHWM"].split()[0], file=sys.stderr)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    header("onnxruntime", "click", "numpy")
    with tempfile.TemporaryDirectory() as scratch:
        clip = Path(scratch, "x.wav")
        soundfile.write(clip, 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
        label = [sys.executable, "-c", MEASURED, "label", "-q", str(clip), "--runtime"]
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "sertool --help": [sys.executable, "-m", "sertool", "--help"],
            **{f"sertool label, {runtime}": [*label, runtime] for runtime in RUNTIMES},
            "import onnxruntime": [sys.executable, "-c", "import onnxruntime"],
        }
        times, memory = {name: [] for name in commands}, {}
        for run in range(options.runs + 2):  # the first two warm the page cache
            for name, command in commands.items():
                start = time.perf_counter()
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                if run >= 2:
                    times[name].append(time.perf_counter() - start)
                if "label" in name:
                    memory.setdefault(name, []).append(int(done.stderr.split()[-1]) / 1024)
    for name, seconds in times.items():
        peak = f"  {np.median(memory[name]):.1f} MB" if name in memory else ""
        print(f"{name:<22} {spread(seconds)}{peak}")


if __name__ == "__main__":
    main()
