"""One long recording: time and peak memory by length and by number of threads, and that the rows are the same.

    python tests/bench/hours.py 1,10 --models wav2small,mobile

The recording is made of the shipped samples, at 16 kHz. Each figure is of a fresh process; the one of no recording to
speak of (8 s) is what starting takes.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from report import header

from sertool import bundle
from sertool._machine import cores

RATE = 16_000
SAMPLES = sorted((bundle.bundled_folder() / "wav2small" / "samples").glob("*.wav"))


def recording(path: Path, hours: float) -> Path:
    """Write hours of the samples, each at another level."""
    rng, left = np.random.default_rng(0), round(hours * 3600 * RATE)
    clips = [soundfile.read(sample, dtype="float32")[0] for sample in SAMPLES]
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        while left > 0:
            part = (clips[rng.integers(len(clips))] * rng.uniform(0.3, 1))[:left]
            file.write(part)
            left -= len(part)
    return path


def run(path: Path, model: str, jobs: int, by: str, output: Path) -> tuple[float, float]:
    """Return (seconds, peak megabytes)."""
    command = [sys.executable, "-m", "sertool", "label", str(path), "-m", model, "--jobs", str(jobs), "--by", by]
    done = subprocess.run(
        ["/usr/bin/time", "-f", "%e %M", *command, "-o", str(output), "--restart", "-q"],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, memory = re.findall(r"^([\d.]+) (\d+)$", done.stderr, re.MULTILINE)[-1]
    return float(seconds), int(memory) / 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("hours", nargs="?", default="1")
    parser.add_argument("--models", default="wav2small,mobile")
    arguments = parser.parse_args()
    header("soundfile")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for hours in [8 / 3600, *map(float, arguments.hours.split(","))]:
            path = recording(folder / "long.wav", hours)
            for model in arguments.models.split(","):
                for by in ("file", "window"):
                    tables, one = set(), 0.0
                    for jobs in (1, cores()):
                        seconds, memory = run(path, model, jobs, by, folder / "labels.csv")
                        tables.add((folder / "labels.csv").read_bytes())
                        one = one or seconds
                        what = f"{hours:7.3f} h  {model:10} {by:7} {jobs} threads"
                        print(f"{what} {seconds:8.2f} s {one / seconds:6.2f} x  peak {memory:.0f} MB", flush=True)
                    assert len(tables) == 1


if __name__ == "__main__":
    main()
