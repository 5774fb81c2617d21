"""Calls of two speakers: emotion by channel, speaker and segment against the truth.

    python tests/bench/call.py CORPORA [--model mobile-emotion] [--calls 60] [--split test-ood]

A call has a speaker on each of two channels, of one corpus, who each say up to six clips of one class, in turns, with
pauses of 0.2 to 2 s; every fifth turn begins before the other one ends. Unweighted accuracy of what `sertool label`
says of it: by segments and speakers that are given, by channel, and of the channels' mean, where one label has to do
for both. Seeded.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from report import header

from sertool import audio
from sertool.corpora.classes import class_of
from sertool.labelling import Labeller
from sertool.labelling.job import label_one
from sertool.labelling.plan import Plan
from sertool.plugins import load_plugins
from sertool.recordings.recording import Recording
from sertool.segments import Segment
from sertool.segments.given import Given

RATE, LEVEL, TURNS = audio.SAMPLE_RATE, 0.05, 6
WHO = ("agent", "customer")


def speakers(rows, classes) -> dict[str, dict[tuple[str, str], list]]:
    """Return corpus -> (speaker, class) -> rows, of those with at least three."""
    found: dict[str, dict[tuple[str, str], list]] = {}
    for row in rows:
        if (emotion := class_of(row.emotion, classes)) is not None:
            found.setdefault(row.corpus, {}).setdefault((row.speaker, emotion), []).append(row)
    return {c: {key: rows for key, rows in groups.items() if len(rows) >= 3} for c, groups in found.items()}


def make(groups, rng) -> tuple[np.ndarray, list[tuple[float, float, int]], list[str]]:
    """Return a call [samples, 2], its turns (start, end, channel), and the class of each channel."""
    keys = sorted(groups)
    first = keys[rng.integers(len(keys))]
    others = [key for key in keys if key[0] != first[0]]
    pair = [first, others[rng.integers(len(others))]]
    clips = []
    for key in pair:
        chosen = rng.permutation(len(groups[key]))[:TURNS]
        clips.append([audio.read(groups[key][i].file) for i in chosen])
    at, turns, placed = RATE, [], []
    for turn in range(min(map(len, clips)) * 2):
        clip = clips[turn % 2][turn // 2]
        clip = clip * np.float32(LEVEL / max(np.sqrt(np.mean(clip**2)), 1e-6))
        placed.append((at, clip, turn % 2))
        turns.append((at / RATE, (at + len(clip)) / RATE, turn % 2))
        pause = -min(0.5 * len(clip), 0.6 * RATE) if turn % 5 == 4 else rng.uniform(0.2, 2) * RATE
        at += len(clip) + int(pause)
    samples = (1e-4 * rng.standard_normal((at + RATE, 2))).astype(np.float32)
    for start, clip, channel in placed:
        samples[start : start + len(clip), channel] += clip
    return samples, turns, [key[1] for key in pair]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--model", default="mobile-emotion")
    parser.add_argument("--calls", type=int, default=60)
    parser.add_argument("--split", default="test-ood")
    asked = parser.parse_args()
    labeller = Labeller(asked.model)
    rows = [r for r in load_plugins().get("corpora", "manifest").read(asked.corpora) if r.split == asked.split]
    groups = speakers(rows, labeller.outputs)
    rng, names = np.random.default_rng(0), sorted(groups)
    found: dict[str, list[tuple[str, str]]] = {}

    with tempfile.TemporaryDirectory() as folder:
        for number in range(asked.calls):
            samples, turns, truth = make(groups[names[number % len(names)]], rng)
            path = Path(folder, f"{number}.wav")
            soundfile.write(path, samples, RATE, "PCM_16")
            recording = Recording(path, path.name)
            held = [Segment(s, e, {"speaker": WHO[c]}, channel=str(c + 1)) for s, e, c in turns]
            given = Given.held({path.name: held})

            def add(what: str, true: str, said: str | None) -> None:
                found.setdefault(what, []).append((true, said or "none"))

            def label(what: str, plan: Plan, recording=recording, truth=truth) -> None:
                for row in label_one(labeller, recording, plan).rows:
                    channel = WHO.index(row["speaker"]) if row.get("speaker") in WHO else row.get("channel", 1) - 1
                    add(what, truth[channel], row["emotion"])

            label("given segments, own channel", Plan("segment", "each", segments=given))
            label("given segments, channels mixed", Plan("segment", segments=given))
            label("given speakers, own channel", Plan("speaker", "each", segments=given))
            label("given speakers, channels mixed", Plan("speaker", segments=given))
            label("each channel", Plan("channel"))
            label("found segments, own channel", Plan("segment", "each"))
            (mixed,) = label_one(labeller, recording, Plan()).rows
            for channel in (0, 1):
                add("one label for the mixed call", truth[channel], mixed["emotion"])
            path.unlink()

    header("onnxruntime", "soundfile")
    print(f"{asked.calls} calls of {', '.join(names)}; {labeller.bundle.id}; chance {1 / len(labeller.outputs):.3f}\n")
    print("| rows | n | UA |\n|---|---|---|")
    for what, pairs in found.items():
        classes = sorted({true for true, _ in pairs})
        index = {name: place for place, name in enumerate([*classes, *{said for _, said in pairs} - set(classes)])}
        matrix = np.zeros((len(index), len(index)))
        for true, said in pairs:
            matrix[index[true], index[said]] += 1
        recall = [matrix[index[name], index[name]] / matrix[index[name]].sum() for name in classes]
        print(f"| {what} | {len(pairs)} | {np.mean(recall):.3f} |")


if __name__ == "__main__":
    main()
