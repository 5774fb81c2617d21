"""Run one task of cost.process; the result is JSON on the last line of standard output."""

import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sertool._types import Array, Samples
from sertool.bundle import container
from sertool.errors import SertoolError
from sertool.features.mel import SAMPLE_RATE
from sertool.measure import native
from sertool.measure.cost import alternating, cut, macs, parameters, stored_bytes


def noise(seconds: float) -> Samples:
    """Return noise float32 [n] of constant level, in which no pre-processing step finds silence to cut."""
    return 0.1 * np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE), np.float32)


def measure(model: str, variant: str | None, seconds: float, repeats: int, warmup: int, threads: int) -> dict[str, Any]:
    """Load a model and run it with Runtime; the backend is imported before the measurement."""
    from sertool.runtime import Runtime, backend, locate

    backend(locate(model, variant)[2])
    samples, before = noise(seconds), peak_bytes()
    start = time.perf_counter()
    runtime = Runtime(model, variant, threads)
    load_s = time.perf_counter() - start
    times = alternating({"run": lambda: runtime.run(samples)}, repeats, warmup)["run"]
    peak = peak_bytes()
    return {"load_s": load_s, "seconds": times, "peak_bytes": peak, "added_bytes": peak - before}


def versus(
    places: list[tuple[str, str | None]], seconds: float, repeats: int, warmup: int, threads: int
) -> list[list[float]]:
    """Measure the seconds of models [(model, variant), ...], alternating."""
    from sertool.runtime import Runtime

    runtimes, samples = [Runtime(model, variant, threads) for model, variant in places], noise(seconds)
    calls = {str(i): functools.partial(runtime.run, samples) for i, runtime in enumerate(runtimes)}
    return list(alternating(calls, repeats, warmup).values())


def parts(pieces: dict[str, str], seconds: float, repeats: int, warmup: int, threads: int) -> dict[str, list[float]]:
    """Measure the seconds of the files that `cut` wrote. ``pieces``: name -> file; returns name -> times."""
    from sertool.runtime import backend

    backend("onnx")  # before the import of onnxruntime: it turns telemetry off
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    values: dict[str, Array] = {}
    calls: dict[str, Callable[[], object]] = {}
    for name, path in pieces.items():
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        values = values or {session.get_inputs()[0].name: noise(seconds)[None]}
        inputs = {value.name: values[value.name] for value in session.get_inputs()}
        calls[name] = functools.partial(session.run, None, inputs)
        values |= zip((value.name for value in session.get_outputs()), session.run(None, inputs), strict=True)
    return alternating(calls, repeats, warmup)


def count(path: str, samples: int) -> dict[str, int]:
    """Count parameters, bytes and multiply-accumulates of a file."""
    if container.is_container(Path(path)):
        return native.count(Path(path), samples)
    return {"parameters": parameters(path), "bytes": stored_bytes(path), "macs": macs(path, samples)}


def peak_bytes() -> int:
    """Return the peak resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # VmHWM excludes the parent process, which getrusage would include after a fork
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    raise SertoolError("memory can be measured on Linux and macOS only")


def main(tasks: dict[str, Callable[..., Any]], task: str, job: str) -> None:
    """Run a task and print its result as JSON; ``job`` has its arguments as JSON."""
    try:
        answer = {"result": tasks[task](**json.loads(job))}
    except SertoolError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": "memory ran out"}
    print(json.dumps(answer))


TASKS: dict[str, Callable[..., Any]] = {task.__name__: task for task in (measure, versus, parts, count, cut)}

if __name__ == "__main__":
    main(TASKS, *sys.argv[1:])
