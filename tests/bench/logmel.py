"""LogMel of 5 s of noise: the C kernel against torchlibrosa, librosa and our own convolutions under onnxruntime.

python tests/bench/logmel.py        one thread each, alternating in one run, after a warm-up
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import librosa
import numpy as np
import onnxruntime
import torch
import torchlibrosa
from report import header, spread

from sertool import Source
from sertool.features import logmel, mel
from sertool.kernel import available_isas, lib
from sertool.nn import LogMel as TorchLogMel
from sertool.plugins import load_plugins

RUNS = 100

# In a process of its own, since torch and librosa allocate in this one; VmHWM, since ru_maxrss is handed down by fork.
GROWTH = """
import numpy as np
from sertool.features import LogMel
kernel, second, peaks = LogMel(), np.random.default_rng(0).standard_normal(16_000).astype(np.float32), []
for hour in range(10):
    for _ in range(3600):
        kernel.push(second)
    peaks.append(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
print(f"peak resident memory of a fresh process after 1 h, 10 h in blocks of 1 s: {peaks[0]}, {peaks[-1]} kB")
"""


def contenders(n_fft: int):
    g = mel.geometry(n_fft)
    warnings.simplefilter("ignore")  # librosa points out the filters that fall between two bins
    sizes = {"n_fft": n_fft, "hop_length": g.hop}
    spectrogram = torchlibrosa.Spectrogram(**sizes, freeze_parameters=True)
    bank = torchlibrosa.LogmelFilterBank(sr=16000, n_fft=n_fft, n_mels=g.n_mels, fmin=0, fmax=8000, top_db=None)
    basis = librosa.filters.mel(sr=16000, n_fft=n_fft, n_mels=g.n_mels)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "logmel.onnx"
        source = Source(TorchLogMel(n_fft), torch.zeros(1, 80_000))
        load_plugins().get("exporters", "onnx").export(source, path, {})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def with_torchlibrosa(x):
        with torch.inference_mode():
            return bank(spectrogram(torch.from_numpy(x)[None]))

    def with_librosa(x):
        power = np.abs(librosa.stft(x, **sizes)) ** 2
        return librosa.power_to_db(basis @ power, ref=1.0, amin=1e-10, top_db=None)

    peers = {
        "torchlibrosa": with_torchlibrosa,
        "librosa": with_librosa,
        "onnxruntime, our convolutions": lambda x: session.run(None, {"waveform": x[None]}),
    }
    own = {f"sertool C, {isa}": lambda x, isa=isa: logmel(x, n_fft, isa=isa) for isa in available_isas()}
    return peers, own


def main():
    torch.set_num_threads(1)
    header("torchlibrosa", "librosa", "torch", "onnxruntime")
    samples = (0.1 * np.random.default_rng(0).standard_normal(80_000)).astype(np.float32)
    for n_fft in mel.GEOMETRIES:
        peers, own = contenders(n_fft)
        everyone = peers | own
        times = {name: [] for name in everyone}
        for run in range(RUNS + 5):
            for name in np.random.default_rng(run).permutation(list(everyone)):  # nobody always follows the same one
                call = everyone[name]
                start = time.perf_counter()
                call(samples)
                if run >= 5:
                    times[name].append(time.perf_counter() - start)
        fastest = min(peers, key=lambda name: np.median(times[name]))
        print(f"\nn_fft {n_fft}, 5 s, 1 thread")
        for name, seconds in times.items():
            ratio = np.median(times[fastest]) / np.median(seconds)
            print(f"  {name:<30} {spread(seconds)}  {ratio:6.2f}x {fastest}")
    print(f"\nworking memory: {', '.join(f'n_fft {n}: {lib.ser_logmel_size(n)} bytes' for n in mel.GEOMETRIES)}")
    print(subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True).stdout, end="")


if __name__ == "__main__":
    main()
