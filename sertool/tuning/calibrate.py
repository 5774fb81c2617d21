"""Measure how right a bundle's model is on labelled speakers that it was not trained on, and what is no speech."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sertool._types import Array, Floats
from sertool.bundle import TYPICAL, Calibration
from sertool.bundle.calibration import centred
from sertool.evaluation.metrics import ece
from sertool.tuning.solver import Design, Penalties
from sertool.tuning.tune import COVERAGE, conformal, temperature

#: Share of clips of speech that may count as unlike it.
FALSE_ALARMS = 0.01
#: Fewest clips of a voice, so that its mean says something.
_VOICE = 8
#: Penalty of the weights that tell speech from other sounds.
_PENALTY = 1e-3


@dataclass(frozen=True)
class Known:
    """Clips with a known answer: ``outputs`` [n, k], ``embeddings`` [n, width], ``truth`` [n] classes or [n, k]."""

    outputs: Floats
    embeddings: Floats
    truth: Array
    voices: Sequence[str]
    corpora: Sequence[str]


def of_classes(known: Known, names: list[str]) -> Calibration:
    """Return temperature, centre and spread of a model of classes."""
    logits, truth = centred(known.outputs), known.truth
    corpora = np.array(known.corpora)
    means = np.zeros((len(names), logits.shape[1]))
    for label in np.unique(truth):  # corpora count alike, however many clips they have
        own = [(truth == label) & (corpora == corpus) for corpus in np.unique(corpora)]
        means[label] = np.mean([logits[clips].mean(axis=0) for clips in own if clips.any()], axis=0)
    rest = logits - means[truth]
    voices = defaultdict[str, list[int]](list)
    for index, voice in enumerate(known.voices):
        voices[voice].append(index)
    shifts = []
    for indices in voices.values():
        if len(indices) >= _VOICE:
            here = np.array(indices)
            classes = [here[truth[here] == label] for label in np.unique(truth[here])]
            shifts.append(np.mean([rest[same].mean(axis=0) for same in classes], axis=0))
    spread = float(np.sqrt(np.mean([shift @ shift for shift in shifts]))) if len(shifts) >= 2 else 0.0
    # These speakers are new to the model, but their corpora often are not: never surer than the model itself.
    scaled = max(1.0, temperature(known.outputs, truth))
    return Calibration(scaled, tuple(means[np.unique(truth)].mean(axis=0).tolist()), spread)


def of_numbers(known: Known, names: list[str]) -> Calibration:
    """Return the intervals of a model of numbers."""
    errors = known.truth - known.outputs
    return Calibration(coverage=COVERAGE, intervals={name: conformal(errors[:, i]) for i, name in enumerate(names)})


def of_speech(speech: Floats, others: Floats, unseen: Floats) -> tuple[Floats, float]:
    """Return (weights [width], bias): log-odds that an embedding is of speech, by logistic regression.

    Both kinds weigh the same. The bias is set so that FALSE_ALARMS of ``unseen`` speech is below even odds.
    """
    clips = np.vstack([speech, others])
    targets = np.zeros((len(clips), 2))
    targets[: len(speech), 0] = targets[len(speech) :, 1] = 1
    design = Design(np.zeros((len(clips), 0)), clips)
    linear = design.fit(targets, np.zeros((2, 0)), Penalties(np.inf, _PENALTY), classes=True)
    assert linear.weights is not None
    weights = linear.weights[0] - linear.weights[1]
    return weights, -float(np.quantile(unseen @ weights, FALSE_ALARMS))


def measured(calibration: Calibration, known: Known, classes: bool, names: list[str]) -> dict[str, Any]:
    """Return how far a calibration holds on clips: ECE before and after of classes, or coverage of the intervals."""
    typical = [calibration.typical(embedding) for embedding in known.embeddings]
    told = [value for value in typical if value is not None]
    unlike = {"unlike": round(float(np.mean(np.array(told) < TYPICAL)), 4)} if told else {}
    if not classes:
        inside = {}
        for i, name in enumerate(names):
            low, high = calibration.intervals[name]
            errors = known.truth[:, i] - known.outputs[:, i]
            inside[name] = round(float(np.mean((errors >= low) & (errors <= high))), 4)
        return {"clips": len(known.truth), "coverage": inside, **unlike}
    sure = [calibration.confidence(row, value) or 0.0 for row, value in zip(known.outputs, typical, strict=True)]
    right = known.outputs.argmax(axis=1) == known.truth
    before = ece(known.outputs.max(axis=1), right)
    figures = {"ece": round(ece(np.array(sure), right), 4), "ece_before": round(before, 4)}
    return {"clips": len(known.truth), **figures, "right": round(float(right.mean()), 4), **unlike}
