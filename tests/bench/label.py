"""Files per second of `sertool label` with each runtime, against the same ONNX driven by audinterface and audonnx.

python tests/bench/label.py FOLDER [--wav] [--jobs 2] [--runs 3]        (pip install audonnx audinterface)

Same files, same machine, one run, alternating. audinterface gets a process a job, each with a single-threaded
onnxruntime session; sertool a thread a job. Wall time with start of the workers and without loading Python; the floor
is decoding (and resampling) alone, and each runtime alone on decoded samples.
"""

import argparse
import os
import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import audinterface
import audonnx
import numpy as np
import onnxruntime
import soundfile
from report import header

from sertool import audio, bundle
from sertool.bundle import RUNTIMES
from sertool.labelling import Labeller
from sertool.labelling.job import label_all
from sertool.recordings.scan import scan

MODEL_YAML = """$audonnx.core.model.Model==1.0.1:
  path: model.onnx
  labels:
  - arousal
  - dominance
  - valence
  transform: null
"""


class Audonnx:
    """The model as a process of audinterface's pool calls it, loaded once a process."""

    def __init__(self, folder):
        self.folder, self.model = folder, None

    def __call__(self, signal, sampling_rate):
        if self.model is None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            self.model = audonnx.load(self.folder, session_options=options)
        return self.model(signal, sampling_rate)

    def __getstate__(self):
        return {"folder": self.folder, "model": None}


def with_audinterface(folder: str, files: list[str], jobs: int):
    process = audinterface.Feature(
        ["arousal", "dominance", "valence"],
        process_func=Audonnx(folder),
        sampling_rate=16000,
        resample=True,
        mixdown=True,
        num_workers=jobs,
        multiprocessing=True,
    )
    return process.process_files(files).to_numpy()


def with_sertool(labeller: Labeller, files: list[str], jobs: int):
    results = label_all(labeller, scan(files), jobs=jobs, ordered=True)
    return np.array([[r.rows[0][name] for name in labeller.outputs] for r in results], float)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument(
        "--wav", action="store_true", help="convert to 16-bit WAV first: decoding costs next to nothing"
    )
    parser.add_argument("--model", default="wav2small")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    header("audinterface", "audonnx", "onnxruntime")

    links = tempfile.TemporaryDirectory()  # audiofile asks for external programs at the ending .opus, not at .ogg
    for recording in scan([options.folder]):
        if options.wav:
            samples, rate = soundfile.read(recording.path)
            soundfile.write(Path(links.name, recording.path.with_suffix(".wav").name), samples, rate)
            continue
        name = recording.path.with_suffix(".ogg") if recording.path.suffix == ".opus" else recording.path
        os.symlink(recording.path.resolve(), Path(links.name, name.name))
    files = [str(recording.path) for recording in scan([links.name])]
    with ThreadPoolExecutor(options.jobs) as pool:
        decoded = list(pool.map(audio.read, files))  # also warms the page cache
    seconds = sum(map(len, decoded)) / audio.SAMPLE_RATE
    print(f"{len(files)} files, {seconds:.1f} s of audio, {options.jobs} jobs, {options.runs} runs each\n")

    model = bundle.find(options.model)
    labellers = {runtime: Labeller(str(model), runtime=runtime) for runtime in RUNTIMES}

    def decode(_, names, jobs):
        with ThreadPoolExecutor(jobs) as workers:
            list(workers.map(audio.read, names))

    def forward(labeller, _, jobs):
        with ThreadPoolExecutor(jobs) as workers:
            list(workers.map(labeller.runtime.run, decoded))

    with tempfile.TemporaryDirectory() as scratch:
        os.symlink((model / "model.onnx").resolve(), Path(scratch, "model.onnx"))
        Path(scratch, "model.yaml").write_text(MODEL_YAML)
        peer = "audinterface + audonnx, processes"
        contenders = {peer: (with_audinterface, scratch)}
        contenders |= {f"sertool label, {name}, threads": (with_sertool, one) for name, one in labellers.items()}
        contenders |= {"floor: decoding alone": (decode, None)}
        contenders |= {f"floor: {name} alone, decoded before": (forward, one) for name, one in labellers.items()}
        outputs, times = {}, {name: [] for name in contenders}
        for _ in range(options.runs):
            for name, (call, model) in contenders.items():
                start = time.perf_counter()
                outputs[name] = call(model, files, options.jobs)
                times[name].append(time.perf_counter() - start)
    for name, walls in times.items():
        wall = np.median(walls)
        print(
            f"{name:<42} {wall:7.3f} s ({min(walls):.3f} to {max(walls):.3f})  {len(files) / wall:8.1f} files/s  "
            f"RTF {wall / seconds:.5f}  {np.median(times[peer]) / wall:5.2f}x audinterface"
        )
    for name in labellers:
        own = f"sertool label, {name}, threads"
        floors = "floor: decoding alone", f"floor: {name} alone, decoded before"
        ours, decoding, forward_only = (np.median(times[key]) for key in (own, *floors))
        print(
            f"\n{name}: largest difference from audonnx {np.abs(outputs[own] - outputs[peer]).max():.1e}; "
            f"{ours / decoding:.2f} times decoding alone; {(ours - forward_only) / ours:.1%} of the wall time is "
            f"around the forward pass, {(ours - forward_only - decoding) / ours:.1%} without decoding"
        )
    print(f"peak resident memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
