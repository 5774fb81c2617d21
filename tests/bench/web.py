"""Milliseconds for 5 s of audio in the browser, beside the native engine and beside onnxruntime-web, in one run.

    npm install onnxruntime-web
    python tests/bench/web.py node_modules/onnxruntime-web/dist

Chromium runs headless; each contender has one thread and 40 runs after 10 for warming up, in turns; medians.
"""

import functools
import http.server
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import soundfile
from playwright.sync_api import sync_playwright

from sertool import bundle, web
from sertool.runtime import Runtime

SECONDS, RUNS, WARM = 5, 40, 10
MODEL = bundle.bundled_folder() / "wav2small"
PAGE = """<!doctype html><script src="ort.wasm.min.js"></script><script src="float/sertool.js"></script>"""
CODE = """async ({samples, runs, warm}) => {
    const clip = Float32Array.from(samples), made = {};
    for (const kind of ["float", "int8"]) {
        const model = await sertool.load(await (await fetch(`${kind}/model.wasm`)).arrayBuffer());
        made[`sertool ${kind}`] = async () => [...model.run(clip).outputs];
    }
    ort.env.wasm.numThreads = 1;
    for (const file of ["model.onnx", "model.int8.onnx"]) {
        const session = await ort.InferenceSession.create(file, {executionProviders: ["wasm"]});
        made[`onnxruntime-web ${file}`] = async () => {
            const input = new ort.Tensor("float32", clip, [1, clip.length]);
            const result = await session.run({[session.inputNames[0]]: input});
            return [...result[session.outputNames[0]].data];
        };
    }
    const times = {}, outputs = {};
    for (let run = 0; run < warm + runs; run++) for (const [name, work] of Object.entries(made)) {
        const start = performance.now();
        outputs[name] = await work();
        if (run >= warm) (times[name] ??= []).push(performance.now() - start);
    }
    return {times, outputs};
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def clip():
    samples = soundfile.read(MODEL / "samples" / "slow-low.wav", dtype="float32")[0]
    return np.resize(samples, SECONDS * 16_000)


def native(name, samples):
    """Median milliseconds of the desktop's engine."""
    runtime, times = Runtime("wav2small", name), []
    for run in range(WARM + RUNS):
        start = time.perf_counter()
        outputs = runtime.run(samples)
        if run >= WARM:
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times), outputs


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def main(dist):
    samples = clip()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for kind, file in (("float", "model.native"), ("int8", "model.int8.native")):
            (root / kind).mkdir()
            for name, data in web.files((MODEL / file).read_bytes()).items():
                (root / kind / name).write_bytes(data)
        for file in ("model.onnx", "model.int8.onnx"):
            shutil.copy(MODEL / file, root / file)
        for file in Path(dist).glob("ort*wasm*"):
            shutil.copy(file, root / file.name)
        (root / "index.html").write_text(PAGE)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            with sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                page = browser.new_page()
                page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
                found = page.evaluate(CODE, {"samples": samples.tolist(), "runs": RUNS, "warm": WARM})
                version = browser.version
                browser.close()
            server.shutdown()
    rows = {name: (statistics.median(times), found["outputs"][name]) for name, times in found["times"].items()}
    for name in ("native", "native-int8", "fp32", "int8"):
        rows[f"desktop {name}"] = native(name, samples)
    print(f"{processor()}; Chromium {version}; {SECONDS} s, one thread, median of {RUNS}")
    for name, (milliseconds, outputs) in rows.items():
        print(f"{name:34s} {milliseconds:7.2f} ms   {json.dumps([round(float(value), 5) for value in outputs])}")


if __name__ == "__main__":
    main(sys.argv[1])
