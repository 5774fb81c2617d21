"""The voice activity detector beside silero-vad, webrtcvad and an energy threshold: meetings, mixtures, noise, time.

python tests/bench/vad.py [--corpora ../shared/corpora] [--scenes 40]

`pip install --no-deps silero-vad webrtcvad-wheels` brings the other two; one that is not there is left out. Silero runs
in onnxruntime on one thread, its answer for 32 ms standing for each frame of 10 ms whose middle lies there. webrtcvad
answers yes or no: its score is how many of its four modes say yes, its decision that of mode 2. Energy: a frame's level
over the quietest tenth of the recording, speech from 12 dB on.

The mixtures, the noise and the speech are speakers, kinds of noise and rooms that training holds out.
"""

import argparse
import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import csv
import importlib.util
import time
from pathlib import Path

import numpy as np
from report import header, spread

from sertool import audio
from sertool.speech import detector
from sertool.training.vad import scenes

RATE, FRAME = audio.SAMPLE_RATE, detector.FRAME
SPEECH = ("librispeech", "emotiontts_ko", "ravdess", "nemo", "emodb")
CLIPS = 40  # of a corpus or a kind of noise, at most


# ---- detectors: float32 [n] -> scores [ceil(n / 160)], and from which score on it is speech ---------------------


def silero():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    folder = Path(importlib.util.find_spec("silero_vad").origin).parent
    session = onnxruntime.InferenceSession(folder / "data/silero_vad.onnx", options, ["CPUExecutionProvider"])
    rate = np.array(RATE, np.int64)

    def scores(samples):
        padded, state, out = np.pad(samples, (64, -len(samples) % 512)), np.zeros((2, 1, 128), np.float32), []
        for start in range(0, len(padded) - 64, 512):
            found, state = session.run(None, {"input": padded[None, start : start + 576], "state": state, "sr": rate})
            out.append(found[0, 0])
        middle = np.arange(-(-len(samples) // FRAME)) * FRAME + FRAME // 2
        return np.array(out)[np.minimum(middle // 512, len(out) - 1)]

    return scores, 0.5


def webrtc():
    import webrtcvad

    def scores(samples):
        modes = [webrtcvad.Vad(mode) for mode in range(4)]
        pcm = np.round(np.pad(samples, (0, -len(samples) % FRAME)) * 32767).astype("<i2").reshape(-1, FRAME)
        return np.array([[mode.is_speech(frame.tobytes(), RATE) for mode in modes] for frame in pcm]).sum(axis=1)

    return scores, 3


def energy():
    def scores(samples):
        frames = np.pad(samples, (0, -len(samples) % FRAME)).reshape(-1, FRAME)
        power = 10 * np.log10(np.mean(frames.astype(float) ** 2, axis=1) + 1e-10)
        return power - np.percentile(power, 10)

    return scores, 12


def detectors() -> dict:
    found = {"sertool": (detector.probabilities, 0.5)}
    for package, make in (("silero_vad", silero), ("webrtcvad", webrtc)):
        if importlib.util.find_spec(package):
            found[make.__name__] = make()
    return {**found, "energy": energy()}


# ---- recordings: (samples, frames as scenes says them) -----------------------------------------------------------


def meetings(corpora: Path) -> list:
    with open(corpora / "vad/segments.csv", newline="") as file:
        segments = list(csv.DictReader(file))
    found = []
    for path in sorted((corpora / "vad").glob("*.flac")):
        samples = audio.read(path)
        middle = (np.arange(-(-len(samples) // FRAME)) + 0.5) * FRAME / RATE
        of = [(float(row["start"]), float(row["end"])) for row in segments if row["file"] == path.name]
        spoken = np.any([(start <= middle) & (middle < end) for start, end in of], axis=0)
        found.append((samples, np.where(spoken, scenes.SPEECH, scenes.SILENT)))
    return found


def mixtures(corpora: Path, number: int, snr: tuple, dbfs: tuple = (-45, 0)) -> list:
    """Scenes with talkers or without, of 20 s."""
    of = scenes.material(corpora, tuple((corpus, 1) for corpus in SPEECH), held_out=True)
    return [scenes.scene(np.random.default_rng((9, i)), of, 20, snr, dbfs, held_out=True) for i in range(number)]


def speech(corpora: Path, dbfs: float) -> list:
    """Clips of held-out speakers as they are, 0.5 s of their own silence before and after, at a level of the peaks."""
    of, rng, found = (
        scenes.material(corpora, tuple((c, 1) for c in SPEECH), held_out=True),
        np.random.default_rng(3),
        [],
    )
    for corpus in of.speech:
        files = [file for speaker in corpus for file in speaker]
        for i in rng.permutation(len(files))[:CLIPS]:
            samples = audio.read(files[i])
            samples = samples[: len(samples) // FRAME * FRAME] / np.abs(samples).max()
            frames = np.where(scenes.truth(samples), scenes.SPEECH, scenes.SILENT)
            found.append((np.round(samples * 10 ** (dbfs / 20) * 32767).astype(np.float32) / 32768, frames))
    return found


def noise(corpora: Path) -> dict:
    """By kind, the held-out ones, and voices without words, of which training has seen no babies and others' bursts."""
    found = {"laughs, sighs ... (EmoGator)": []}
    bursts, rng = scenes.material(corpora, (), held_out=True).bursts, np.random.default_rng(5)
    for i in rng.permutation(len(bursts))[:CLIPS]:
        found["laughs, sighs ... (EmoGator)"].append(audio.read(bursts[i]))
    with open(corpora / "noise/manifest.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["kind"] in scenes.HELD_OUT or any(voice in row["kind"].lower() for voice in scenes.VOICES):
                clips = found.setdefault(row["kind"], [])
                if len(clips) < CLIPS and float(row["duration_s"]) > 0.5:
                    clips.append(audio.read(corpora / row["file"])[: 60 * RATE])
    return found


# ---- figures -----------------------------------------------------------------------------------------------------


def area(scores: np.ndarray, spoken: np.ndarray) -> float:
    """ROC-AUC as the Mann-Whitney statistic, ties counted half."""
    _, index, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[index]
    positive = int(spoken.sum())
    return (ranks[spoken].sum() - positive * (positive + 1) / 2) / (positive * (len(spoken) - positive))


def measured(of: dict, recordings: list) -> list[tuple[float, float, float]]:
    """ROC-AUC, misses and false alarms of each detector over all frames of which the truth is known."""
    frames = np.concatenate([frames for _, frames in recordings])
    clear, spoken, found = frames != scenes.UNCLEAR, frames == scenes.SPEECH, []  # a pause is not speech here
    for scores, threshold in of.values():
        got = np.concatenate([scores(samples) for samples, _ in recordings])
        missed, false = (got[spoken] < threshold).mean(), (got[clear & ~spoken] >= threshold).mean()
        found.append((area(got[clear], spoken[clear]), missed, false))
    return found


def line(name: str, values, form: str = "{:8.3f}") -> None:
    print(f"{name:<46}" + " ".join(f"{form.format(value):>9}" for value in values), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=Path(__file__).parents[3] / "shared/corpora")
    parser.add_argument("--scenes", type=int, default=40, help="mixtures of 20 s at each SNR")
    options = parser.parse_args()
    of = detectors()
    header("numpy", "onnxruntime")
    print(f"{'':<46}" + " ".join(f"{name:>9}" for name in of))
    share = "{:8.1%}"

    def both(name: str, recordings: list) -> None:
        areas, missed, false = zip(*measured(of, recordings), strict=True)
        line(f"{name}: ROC-AUC", areas)
        line("  missed of speech", missed, share)
        line("  false alarms of the rest", false, share)

    talks = meetings(options.corpora)
    both("meetings (AMI, far field)", talks)
    # Over all meetings, a frame competes with those of others: their shares of speech alone would score .90.
    mixed = [talk for talk in talks if (talk[1] == scenes.SPEECH).mean() < 0.99]
    each = [[found[0] for found in measured(of, [talk])] for talk in mixed]
    line("  ROC-AUC within a meeting, mean", np.mean(each, axis=0))
    both("mixtures, SNR -5 to 30 dB", mixtures(options.corpora, 2 * options.scenes, (-5, 30)))
    for snr in (20, 10, 5, 0, -5):
        line(
            f"mixtures, SNR {snr} dB: ROC-AUC",
            [found[0] for found in measured(of, mixtures(options.corpora, options.scenes, (snr, snr)))],
        )
    for dbfs in (-3, -25, -45):
        _, missed, false = zip(*measured(of, speech(options.corpora, dbfs)), strict=True)
        line(f"clean speech, peaks at {dbfs} dBFS: missed", missed, share)
    line("  false alarms in its pauses", false, share)
    kinds = {}
    for kind, clips in noise(options.corpora).items():
        kinds[kind] = [
            np.mean(np.concatenate([scores(clip) for clip in clips]) >= threshold) for scores, threshold in of.values()
        ]
    voices = [kind for kind in kinds if kind not in scenes.HELD_OUT]
    print("false alarms, share of frames")
    line("  noise, mean over the kinds below", np.mean([kinds[kind] for kind in kinds if kind not in voices], 0), share)
    for kind in [*sorted(set(kinds) - set(voices)), *voices]:
        line(f"    {'music loops' if kind == 'loops' else kind}", kinds[kind], share)
    samples = audio.read(options.corpora / "vad/ami-dev00.flac")[: 5 * RATE]
    for name, (scores, _) in of.items():
        times = []
        for run in range(205 if name == "sertool" else 25):
            start = time.perf_counter()
            scores(samples)
            if run >= 5:
                times.append(time.perf_counter() - start)
        print(f"5 s, {name:<9} {spread(times)}")


if __name__ == "__main__":
    main()
