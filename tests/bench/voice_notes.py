"""Voice notes with pauses: what a voice activity detector does for a model of emotion classes (arXiv 2512.23435, V-C).

    python tests/bench/voice_notes.py CORPORA [--model wav2small-emotion] [--notes 25] [--split test-ood]

Notes are clips of one speaker and one class, joined with pauses that make up 30 to 70 % of them: either nearly silent
(-60 dB white noise) or with a noise of CORPORA/noise 20 dB below the voice throughout. Each is labelled whole and
without what is not speech, as `sertool label` does with and without --no-vad. Seeded.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from report import header

from sertool import audio
from sertool.corpora.buckets import Bucket
from sertool.corpora.classes import class_of
from sertool.evaluation.metrics import uar
from sertool.features.steps import Trim
from sertool.labelling import Labeller
from sertool.plugins import load_plugins

LONGEST_S, LEVEL, HISS, BELOW = 40.0, 0.05, 0.001, 0.1


def note(clips: list[np.ndarray], share: float, noise: np.ndarray | None, rng) -> np.ndarray:
    """Clips joined with pauses of ``share`` of the whole, float32 [n]; the voice has a root mean square of LEVEL."""
    clips = [clip * np.float32(LEVEL / max(np.sqrt(np.mean(clip**2)), 1e-6)) for clip in clips]
    silence = int(sum(map(len, clips)) * share / (1 - share))
    cuts = np.sort(rng.integers(0, silence, len(clips)))
    pauses = np.diff(np.concatenate([[0], cuts, [silence]]))
    parts = [np.zeros(pauses[0], np.float32)]
    for clip, pause in zip(clips, pauses[1:], strict=True):
        parts += [clip, np.zeros(pause, np.float32)]
    samples = np.concatenate(parts)
    if noise is None:
        return samples + np.float32(HISS) * rng.standard_normal(len(samples), np.float32)
    noise = np.resize(noise, len(samples))
    return samples + np.float32(LEVEL * BELOW) * noise / max(np.sqrt(np.mean(noise**2)), 1e-6)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--model", default="wav2small-emotion")
    parser.add_argument("--split", default="test-ood")
    parser.add_argument("--notes", type=int, default=25, help="a class and kind of pause")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    with_vad, without = Labeller(args.model), Labeller(args.model, vad=False)
    classes, noises, trim = with_vad.outputs, Bucket(str(args.corpora / "noise")), Trim()
    voices = defaultdict(list)
    for row in load_plugins().get("corpora", "manifest").read(args.corpora):
        if row.split == args.split and (name := class_of(row.emotion, classes)):
            voices[name, row.corpus, row.speaker].append(row.file)
    header("onnxruntime")
    print(f"{args.model}; notes of {args.split}, {args.notes} a class and kind of pause")
    print("| pauses | VAD | UA | said to be neutral | mean p(neutral), truth another | speech found |")
    print("|---|---|---:|---:|---:|---:|")
    for kind in ("nearly silent", "noise 20 dB below"):
        truth, found = [], {True: [], False: []}
        for number, name in enumerate(classes):
            # Every voice of a class as often, whatever its number of clips.
            speakers = sorted(key for key in voices if key[0] == name)
            for _ in range(args.notes):
                files = voices[speakers[rng.integers(len(speakers))]]
                share, clips, seconds = rng.uniform(0.3, 0.7), [], 0.0
                while seconds < LONGEST_S * (1 - share):
                    clips.append(trim(audio.read(files[rng.integers(len(files))])))
                    seconds += len(clips[-1]) / audio.SAMPLE_RATE
                samples = note(clips, share, None if kind == "nearly silent" else noises.recording(rng), rng)
                truth.append(number)
                for vad, labeller in ((True, with_vad), (False, without)):
                    found[vad].append((labeller.label(samples, audio.SAMPLE_RATE), len(samples) / audio.SAMPLE_RATE))
        for vad, rows in found.items():
            predicted = np.array([classes.index(row["emotion"]) for row, _ in rows])
            others = np.array(truth) != classes.index("neutral")
            neutral = np.array([row["neutral"] for row, _ in rows])
            speech = np.mean([(row["speech"] or seconds) / seconds for row, seconds in rows])
            said = np.mean(predicted == classes.index("neutral"))
            ua, doubt = uar(predicted, np.array(truth)), neutral[others].mean()
            print(f"| {kind} | {'yes' if vad else 'no'} | {ua:.3f} | {said:.2f} | {doubt:.3f} | {speech:.2f} |")


if __name__ == "__main__":
    main()
