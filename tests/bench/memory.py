"""Peak resident memory of `sertool label --no-vad` in a fresh process: 1 minute and 3 hours of 44.1 kHz stereo noise.

python tests/bench/memory.py [--hours 3]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from report import header

RATE = 44_100
# VmHWM is the process's own peak; wait4's maxrss would include what it was forked from.
SCRIPT = """
import sys
from sertool.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
"""


def record(path: Path, seconds: int) -> Path:
    """Noise with the loudness of speech, as FLAC, written second by second."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 2, subtype="PCM_16") as file:
        second = (0.1 * rng.standard_normal((RATE, 2))).astype(np.float32)
        for i in range(seconds):
            file.write(second * (0.2 + (i % 7) / 7))
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=3)
    options = parser.parse_args()
    header("onnxruntime", "soundfile", "soxr")
    with tempfile.TemporaryDirectory() as scratch:
        for name, seconds in (("1 s", 1), ("1 min", 60), (f"{options.hours:g} h", int(3600 * options.hours))):
            path = record(Path(scratch, "x.flac"), seconds)
            start = time.perf_counter()
            command = [sys.executable, "-c", SCRIPT, "label", str(path), "--jobs", "1", "-q", "--no-vad"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            wall = time.perf_counter() - start
            print(f"{name:>6}: peak {int(done.stderr.split()[-1]) / 1024:7.1f} MB, {wall:7.2f} s with start-up, 1 job")


if __name__ == "__main__":
    main()
