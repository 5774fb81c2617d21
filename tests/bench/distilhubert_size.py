"""Bytes, agreement, time and memory of the published DistilHuBERT as exporters `onnx` and `onnx-int8` write it.

python tests/bench/distilhubert_size.py [--seconds 8] [--runs 7] [--folder FOLDER]

Random weights (size does not depend on their values, agreement does), or those of FOLDER under a random head. Clips are
tones in noise; differences are the largest over them, of logits and of probabilities, from torch in float32. Time is
the processor's, of one thread, the files alternating: other work on the machine counts for little.
Memory is the peak of a fresh process that loads the file and runs one clip, less that of one that only imports
onnxruntime.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np
import onnxruntime
import torch
from report import header, spread

from sertool import Source
from sertool.options import named_options
from sertool.plugins import load_plugins

FORMATS = ("onnx", "onnx-int8", "onnx-int8:product=7", "onnx-int8:conv=4", "onnx-int8:product=7,conv=4")
# VmHWM is the process's own peak; wait4's maxrss would include what it was forked from.
SCRIPT = """
import sys
import numpy as np
import onnxruntime
if len(sys.argv) > 1:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    session.run(None, {"waveform": np.zeros((1, int(sys.argv[2])), np.float32)})
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def clip(samples: int, seed: int) -> np.ndarray:
    """Tones that come and go in noise, float32 [1, samples]."""
    rng = np.random.default_rng(seed)
    time_ = np.arange(samples) / 16_000
    tones = sum(np.sin(2 * np.pi * pitch * time_) for pitch in rng.uniform(100, 2000, 4))
    envelope = 1 + np.sin(2 * np.pi * rng.uniform(1, 5) * time_)
    return (0.05 * tones * envelope + 0.01 * rng.standard_normal(samples)).astype(np.float32)[None]


def load(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def peak(*arguments) -> float:
    """MB."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, *map(str, arguments)], capture_output=True, check=True)
    return int(done.stdout) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--folder")
    options = parser.parse_args()
    header("onnxruntime", "torch", "transformers")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    plugins, samples = load_plugins(), round(16_000 * options.seconds)
    network = plugins.get("models", "distilhubert").build(weights=options.folder).eval()
    source = Source(network, torch.zeros(1, 80_000))
    clips = [clip(length, seed) for seed in range(4) for length in (400, 16_000, samples)]
    with torch.no_grad():
        expected = torch.cat([network(torch.from_numpy(x)) for x in clips]).numpy()
    with tempfile.TemporaryDirectory() as scratch:
        files = {}
        for form in FORMATS:
            name, given = named_options(form)
            files[form] = Path(scratch, f"{len(files)}.onnx")
            plugins.get("exporters", name).export(source, files[form], {}, **given)
        times, loads, empty = {name: [] for name in files}, {name: [] for name in files}, peak()
        for _ in range(options.runs):
            for name, path in files.items():
                start = time.process_time()
                session = load(path)
                loaded = time.process_time()
                session.run(None, {"waveform": clips[2]})
                loads[name].append(loaded - start)
                times[name].append(time.process_time() - loaded)
        for name, path in files.items():
            session = load(path)
            outputs = np.concatenate([session.run(None, {"waveform": x})[0] for x in clips])
            logits = np.abs(outputs - expected).max()
            shares = [torch.from_numpy(x).softmax(dim=1).numpy() for x in (outputs, expected)]
            probabilities = np.abs(shares[0] - shares[1]).max()
            size = path.stat().st_size
            print(f"\n{name}: {size:,} bytes, {size / 2**20:.1f} MiB")
            print(f"  difference from torch: logits {logits:.1e}, probabilities {probabilities:.1e}")
            print(f"  load            {spread(loads[name])}\n  {options.seconds:g} s of audio    {spread(times[name])}")
            print(f"  memory          {peak(path, samples) - empty:8.1f} MB")


if __name__ == "__main__":
    main()
