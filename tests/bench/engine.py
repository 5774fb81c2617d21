"""The engine in C: time of 5 s with each instruction set, its working memory, and how far it is from torch.

python tests/bench/engine.py [--seconds 60,600,1800] [--corpora ../shared/corpora]

One thread, the median of runs that take turns. The recording is LibriSpeech clips joined. torch computes in float32;
its softmax over all tokens, where half an hour costs float32 its digits, is also done in float64 from the same tokens.
30 min of torch need some 6 GB.
"""

import argparse
import csv
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

from pathlib import Path

import numpy as np
from report import header, spread

from sertool import audio, bundle
from sertool.kernel import available_isas
from sertool.kernel.wav2small import Engine
from sertool.measure.cost import alternating

MODELS = ("wav2small", "wav2small-emotion")
RATE = audio.SAMPLE_RATE


def weights(model: str, variant: str) -> bytes:
    found = bundle.read(bundle.find(model))
    return found.file(found.variant(variant)).read_bytes()


def recording(corpora: Path, seconds: float) -> np.ndarray:
    """LibriSpeech clips joined, from the beginning again if they do not last."""
    with open(corpora / "manifest.csv", newline="") as file:
        files = [row["file"] for row in csv.DictReader(file) if row["corpus"] == "librispeech"]
    samples, parts = 0, []
    while samples < seconds * RATE:
        parts.append(audio.read(corpora / files[len(parts) % len(files)]))
        samples += len(parts[-1])
    return np.concatenate(parts)[: round(seconds * RATE)]


def times() -> None:
    samples = 0.1 * np.random.default_rng(0).standard_normal(5 * RATE, np.float32)
    engines = {
        (variant, isa): Engine(weights("wav2small", variant), isa)
        for variant in ("native", "native-int8")
        for isa in available_isas()
        if isa != "best"
    }
    found = alternating({key: (lambda one=one: one.run(samples)) for key, one in engines.items()})
    for (variant, isa), seconds in found.items():
        print(f"{variant:<12} {isa:<7} {spread(seconds)}  {engines[variant, isa].memory:>7,} bytes of memory")


def network(model: str):
    """(torch network without softmax, whether one belongs behind it)."""
    from sertool.exporting.origin import find_origin

    found = find_origin(model).network
    return (found[0], True) if type(found).__name__ == "Sequential" else (found, False)


def reference(model: str, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of torch in float32, and with pool and head in float64 on torch's tokens."""
    import torch

    torch.set_num_threads(1)
    net, softmax = network(model)
    kept = []
    hook = net.pool.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0][0].numpy()))
    with torch.no_grad():
        plain = net(torch.from_numpy(samples)[None])[0].double().numpy()
    hook.remove()
    sof, lin, head = (part.state_dict() for part in (net.pool.sof, net.pool.lin, net.head))
    sof, lin, head = ({k: v.double().numpy() for k, v in part.items()} for part in (sof, lin, head))
    largest, total, weighted = np.full(len(lin["bias"]), -np.inf), 0.0, 0.0
    for start in range(0, len(kept[0]), 20_000):
        tokens = kept[0][start : start + 20_000].astype(float)
        logits, values = tokens @ sof["weight"].T + sof["bias"], tokens @ lin["weight"].T + lin["bias"]
        most = np.maximum(largest, logits.max(axis=0))
        share, shrink, largest = np.exp(logits - most), np.exp(largest - most), most
        total, weighted = total * shrink + share.sum(axis=0), weighted * shrink + (share * values).sum(axis=0)
    exact = head["weight"] @ (weighted / total) + head["bias"]
    return tuple(np.exp(y - y.max()) / np.exp(y - y.max()).sum() if softmax else y for y in (plain, exact))


def agreement(corpora: Path, lengths: list[float]) -> None:
    samples = recording(corpora, max(lengths))
    for model in MODELS:
        engines = {variant: Engine(weights(model, variant)) for variant in ("native", "native-int8")}
        for seconds in lengths:
            clip = samples[: round(seconds * RATE)]
            plain, exact = reference(model, clip)
            outputs = {name: one.run(clip) for name, one in engines.items()} | {"torch": plain}
            row = ", ".join(f"{name} {np.abs(one - exact).max():.1e}" for name, one in outputs.items())
            print(f"{model:<18} {seconds:6g} s, largest difference from a pool in float64: {row}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", default="60,600,1800")
    parser.add_argument("--corpora", type=Path, default=Path("../shared/corpora"))
    options = parser.parse_args()
    header("torch", "numpy")
    times()
    agreement(options.corpora, [float(part) for part in options.seconds.split(",")])


if __name__ == "__main__":
    main()
