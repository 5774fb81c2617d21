"""The voice activity detector: ROC-AUC on meetings, false alarms, misses, and the time for 5 s.

python tests/bench/vad.py [--corpora ../shared/corpora]
python tests/bench/vad.py --fit       train the weights of sertool/frontend/vad.py anew and print them (scikit-learn)

Trained on speech (split "train") mixed with every second file of noise; the false alarms are on the other half. The
meetings take no part in training.
"""

import argparse
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import csv
import functools
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from report import header, spread
from scipy.ndimage import binary_closing, binary_opening
from scipy.signal import fftconvolve

from sertool import audio
from sertool.frontend import vad
from sertool.frontend.segments import segments

RATE, FRAME = audio.SAMPLE_RATE, vad.FRAME
SPEECH = ("ravdess", "emodb", "nemo", "librispeech", "emotiontts_ko")
VOICES = ("cry", "laugh")  # neither speech nor what a detector of speech is to be trained against
SECONDS = 10


def table(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def noises(corpora: Path) -> list[dict]:
    rows = table(corpora / "noise/manifest.csv")
    return [row for row in rows if not any(voice in row["kind"].lower() for voice in VOICES)]


# ---- training ---------------------------------------------------------------------------------------------------


class Features(vad.Vad):
    """The network's inputs [frames, 15] in place of its output."""

    def _decide(self, features):
        return features


def level(samples: np.ndarray) -> float:
    return 10 * np.log10(np.mean(samples**2) + 1e-12)


def truth(clean: np.ndarray) -> np.ndarray:
    """bool [frames]: within 30 dB of the loud ones, gaps up to 0.2 s closed, bursts up to 40 ms dropped."""
    power = np.convolve((clean[: len(clean) // FRAME * FRAME].reshape(-1, FRAME) ** 2).mean(axis=1), np.ones(3) / 3)
    found = np.pad(power[1:-1] > np.percentile(power, 95) / 1000, 30)
    return binary_opening(binary_closing(found, np.ones(21)), np.ones(5))[30:-30]


def coloured(rng, n: int) -> np.ndarray:
    """Steady noise whose power falls with frequency to the power of 0 to 2."""
    spectrum = np.fft.rfft(rng.standard_normal(n)) / np.maximum(np.arange(n // 2 + 1), n / 200) ** rng.uniform(0, 1)
    return np.fft.irfft(spectrum, n)


def mixture(rng, speech: list, noise: list, rooms: list) -> tuple[np.ndarray, np.ndarray]:
    """10 s of clips joined with pauses, in half the cases in a room, with noise at -5 to 30 dB, at -45 to 0 dBFS."""
    n = SECONDS * RATE
    samples, spoken = np.zeros(n), np.zeros(n // FRAME, bool)
    silent, longest_pause = rng.random() < 0.15, rng.choice([0.2, 1, 4])
    at = n if silent else 0 if rng.random() < 0.5 else int(rng.integers(4 * RATE)) // FRAME * FRAME
    while at < n - RATE // 2:
        clip = audio.read(rng.choice(speech))
        clip = clip[int(rng.integers(len(clip) // 2)) if rng.random() < 0.3 else 0 :]
        clip = clip[: min(n - at, len(clip)) // FRAME * FRAME]
        clip = clip * 10 ** ((rng.normal(-25, 3) - level(clip)) / 20)
        here = slice(at // FRAME, (at + len(clip)) // FRAME)
        spoken[here] = truth(clip)
        samples[at : at + len(clip)] = clip * np.repeat(np.where(spoken[here], 1, rng.choice([1, 0.1])), FRAME)
        at += (len(clip) + int(rng.uniform(0, longest_pause) * RATE)) // FRAME * FRAME
    if rng.random() < 0.5:
        room = audio.read(rng.choice(rooms))
        samples = fftconvolve(samples, room / np.linalg.norm(room))[np.argmax(np.abs(room)) :][:n]
    if silent or rng.random() < 0.85:
        steady = rng.random() < 0.1
        other = coloured(rng, n) if steady else np.concatenate([audio.read(rng.choice(noise)) for _ in range(2)])
        other = np.resize(other, n)
        other = other * 10 ** ((-25 - rng.uniform(-5, 30) - level(other)) / 20)
        if rng.random() < 0.25:
            other[: int(rng.integers(n // 2))] = 0  # noise that sets in
        samples = samples + other
    if rng.random() < 0.8:
        samples = samples + 10 ** (rng.uniform(-110, -60) / 20) * rng.standard_normal(n)
    return (samples * 10 ** (rng.uniform(-20, 20) / 20)).astype(np.float32), spoken


def example(corpora: Path, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Every third frame of one mixture: features [frames, 15], bool [frames]."""
    speech, noise, rooms = material(corpora)
    rng = np.random.default_rng(seed)
    samples, spoken = mixture(rng, speech[rng.integers(len(speech))], noise, rooms)
    features = Features()
    return np.concatenate([features.push(samples), features.finish()])[::3], spoken[::3]


@functools.cache
def material(corpora: Path) -> tuple[list, list, list]:
    """Files to mix: speech by corpus, noise, rooms."""
    rows = [row for row in table(corpora / "manifest.csv") if row["split"] == "train"]
    speech = [[corpora / row["file"] for row in rows if row["corpus"] == corpus] for corpus in SPEECH]
    rooms = table(corpora / "rir/manifest.csv")
    return speech, [corpora / row["file"] for row in noises(corpora)[::2]], [corpora / row["file"] for row in rooms]


def fit(examples: list) -> None:
    """Print the weights of the best of a few starts, judged by every sixth mixture."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    held, rest = examples[::6], [example for i, example in enumerate(examples) if i % 6]
    (inputs, targets), (new, answers) = (map(np.concatenate, zip(*part, strict=True)) for part in (rest, held))
    scaler, best = StandardScaler().fit(inputs), (0, None)
    for start in range(4):
        network = MLPClassifier(
            (8,), alpha=1e-2, max_iter=5, batch_size=500, learning_rate_init=3e-3, random_state=start
        )
        network.fit(scaler.transform(inputs), targets)
        score = area(network.predict_proba(scaler.transform(new))[:, 1], answers)
        print(f"start {start}: ROC-AUC {score:.4f} on held out mixtures")
        best = max(best, (score, network), key=lambda pair: pair[0])
    (inner, outer), (inner_bias, outer_bias) = best[1].coefs_, best[1].intercepts_
    inner = inner / scaler.scale_[:, None]
    weights = [*inner.ravel(), *(inner_bias - scaler.mean_ @ inner), *outer.ravel(), *outer_bias]
    print(" ".join(f"{weight:.3g}" for weight in weights))


# ---- figures ----------------------------------------------------------------------------------------------------


def area(scores: np.ndarray, spoken: np.ndarray) -> float:
    """ROC-AUC as the Mann-Whitney statistic, ties counted half."""
    _, index, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[index]
    positive = int(spoken.sum())
    return (ranks[spoken].sum() - positive * (positive + 1) / 2) / (positive * (len(spoken) - positive))


def meetings(corpora: Path) -> None:
    scores, spoken, inside = [], [], []
    segments = table(corpora / "vad/segments.csv")
    for path in sorted((corpora / "vad").glob("*.flac")):
        samples = audio.read(path)
        scores.append(vad.probabilities(samples))
        middle = (np.arange(len(scores[-1])) + 0.5) * FRAME / RATE
        of = [(float(row["start"]), float(row["end"])) for row in segments if row["file"] == path.name]
        spoken.append(np.any([(start <= middle) & (middle < end) for start, end in of], axis=0))
        inside.append(covered(scores[-1], len(samples)))
    scores, spoken, inside = (np.concatenate(parts) for parts in (scores, spoken, inside))
    print(f"meetings: ROC-AUC {area(scores, spoken):.3f} over {len(scores)} frames", end="")
    print(f"; in segments: {inside[spoken].mean():.1%} of speech, {inside[~spoken].mean():.1%} of the rest")


def covered(scores: np.ndarray, n: int) -> np.ndarray:
    """bool [frames]: the middle of the frame lies in a segment."""
    middle = np.arange(len(scores)) * FRAME + FRAME // 2
    found = segments(scores, samples=n)
    return np.any([(start <= middle) & (middle < end) for start, end in found], axis=0) & np.ones(len(scores), bool)


def shares(name: str, paths: list[Path]) -> None:
    frames, none, clips = [], 0, []
    for path in paths:
        samples = audio.read(path)
        scores = vad.probabilities(samples)
        inside = covered(scores, len(samples))
        frames.append((scores >= 0.5).sum())
        clips.append((len(scores), inside.sum()))
        none += not inside.any()
    total, inside = np.sum(clips, axis=0)
    share = [b / a for a, b in clips]
    print(f"  {name:<34} {len(paths):4} files  {sum(frames) / total:6.1%}  {inside / total:6.1%}", end="")
    print(f"  {np.median(share):6.1%}  {none / len(paths):6.1%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=Path(__file__).parents[3] / "shared/corpora")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--mixtures", type=int, default=600, help="to train on, of 10 s each")
    options = parser.parse_args()
    if options.fit:
        with ProcessPoolExecutor() as pool:
            return fit(list(pool.map(functools.partial(example, options.corpora), range(options.mixtures))))
    header("numpy")
    meetings(options.corpora)
    print(f"  {'':<45}  frames >= .5, in segments, median of a file, files without any")
    rows = [row for row in table(options.corpora / "manifest.csv") if row["split"] == "val"]
    rng = np.random.default_rng(0)
    for corpus in SPEECH[:4]:
        files = sorted(options.corpora / row["file"] for row in rows if row["corpus"] == corpus)
        shares(f"{corpus}, val", list(rng.permutation(files)[:100]))
    kinds = {}
    for row in noises(options.corpora)[1::2]:
        kinds.setdefault((row["source"], row["kind"]), []).append(options.corpora / row["file"])
    shares("noise, the half not trained on", [path for paths in kinds.values() for path in paths])
    for (source, kind), paths in kinds.items():
        shares(f"  {source}: {kind}", paths)
    samples, times = audio.read(options.corpora / "vad/ami-dev00.flac")[: 5 * RATE], []
    for run in range(105):
        start = time.perf_counter()
        vad.probabilities(samples)
        if run >= 5:
            times.append(time.perf_counter() - start)
    scores = vad.probabilities(samples)
    start = time.perf_counter()
    for _ in range(100):
        segments(scores)
    print(f"5 s: probabilities {spread(times)}, segments {10 * (time.perf_counter() - start):.3f} ms")


if __name__ == "__main__":
    main()
