"""Time and memory of `sertool label --segments`: a long recording with thousands of segments, and without them.

    python tests/bench/segments.py [--hours 3] [--segments 5000] [--model wav2small]

The recording is 44.1 kHz stereo FLAC and WAV, read by seeking, and MP3, decoded once. Peak memory is that of a fresh
process. "model alone" runs the model on samples of the same lengths, in one thread.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from memory import SCRIPT
from report import header

from sertool.labelling import Labeller

RATE = 44_100


def record(path: Path, seconds: int) -> Path:
    rng = np.random.default_rng(0)
    minute = (0.1 * rng.standard_normal((60 * RATE, 2))).astype(np.float32)
    options = {"subtype": "PCM_16"} if path.suffix != ".mp3" else {"format": "MP3", "subtype": "MPEG_LAYER_III"}
    with soundfile.SoundFile(path, "w", RATE, 2, **options) as file:
        for i in range(seconds // 60):
            file.write(minute * (0.2 + (i % 7) / 7))
    return path


def run(*arguments) -> tuple[float, int]:
    """Return (wall seconds, peak bytes) of the command."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", SCRIPT, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - started, int(done.stderr.split()[-1]) * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hours", type=float, default=3)
    parser.add_argument("--segments", type=int, default=5000)
    parser.add_argument("--model", default="wav2small")
    asked = parser.parse_args()
    seconds = int(asked.hours * 3600)
    rng = np.random.default_rng(0)
    starts = np.sort(rng.uniform(0, seconds - 5, asked.segments)).round(3)
    lengths = rng.uniform(0.5, 2.5, asked.segments).round(3)
    header("onnxruntime", "soundfile")
    print(f"{asked.hours:g} h, {asked.segments} segments of {lengths.sum() / 3600:.2f} h in all, {asked.model}, -j 1\n")
    labeller = Labeller(asked.model)
    noise = (0.1 * rng.standard_normal(16_000 * 3)).astype(np.float32)
    started = time.perf_counter()
    for length in lengths:
        labeller.runtime.run(noise[: round(length * 16_000)])
    print("| what | wall s | peak MB |\n|---|---|---|")
    print(f"| model alone, {asked.segments} runs | {time.perf_counter() - started:.1f} | |")
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "turns.csv")
        lines = [f"{s},{s + d:.3f},{'ab'[i % 2]}" for i, (s, d) in enumerate(zip(starts, lengths, strict=True))]
        table.write_text("\n".join(["start,end,speaker", *lines]))
        common = ["-m", asked.model, "-j", "1", "-q", "-o"]
        for ending in ("flac", "wav", "mp3"):
            path = record(Path(folder, f"a.{ending}"), seconds)
            wall, peak = run("label", path, "--segments", table, *common, Path(folder, f"{ending}.csv"))
            print(f"| {ending}, {asked.segments} segments | {wall:.1f} | {peak / 1e6:.0f} |", flush=True)
            few = Path(folder, "few.csv")
            few.write_text("\n".join(["start,end,speaker", *lines[:: asked.segments // 10]]))
            wall, peak = run("label", path, "--segments", few, *common, Path(folder, f"{ending}-few.csv"))
            print(f"| {ending}, 10 segments | {wall:.1f} | {peak / 1e6:.0f} |", flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
