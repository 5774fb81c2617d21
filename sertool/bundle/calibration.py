"""What a bundle knows about its model's errors: the part "calibration" of the manifest.

It turns a model's outputs into calibrated ones: the probability that the winning class is right, an interval around
each number, and how much the audio is like the speech that the model was trained on.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sertool._types import Array, Floats

#: Below this, audio is unlike anything trained on.
TYPICAL = 0.5
#: Smallest probability whose logarithm is used.
_SMALLEST = 1e-7


@dataclass(frozen=True)
class Calibration:
    """Calibration of a model of ``outputs``; parts that a bundle lacks are None or empty.

    ``temperature`` divides the logits of classes (Guo et al. 2017). ``centre`` [k] is the mean of the centred
    log-probabilities over voices and classes, ``spread`` the typical distance of a voice's mean from it (root of the
    mean square): what `sertool adapt` needs. ``intervals``: output ->
    (low, high) offsets from it that contain ``coverage`` of the true values (split conformal prediction). ``speech``
    (weights [width], bias): the log-odds, linear in the embedding, that audio is like the speech trained on.
    ``about`` says what this was measured on.
    """

    temperature: float | None = None
    centre: tuple[float, ...] = ()
    spread: float = 0.0
    coverage: float | None = None
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    speech: tuple[Floats, float] | None = None
    about: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, table: dict[str, Any], outputs: list[str]) -> "Calibration":
        """Read the table of bundle.json; raise ValueError, which names the key, for a value that cannot be."""
        temperature, centre, coverage = table.get("temperature"), table.get("centre", []), table.get("coverage")
        _require(temperature is None or (_is_number(temperature) and temperature > 0), "temperature")
        _require(_are_numbers(centre) and len(centre) in (0, len(outputs)), "centre")
        spread = table.get("spread", 0.0)
        _require(_is_number(spread) and spread >= 0, "spread")
        _require(coverage is None or (_is_number(coverage) and 0 < coverage < 1), "coverage")
        intervals = table.get("intervals", {})
        _require(isinstance(intervals, dict) and set(intervals) in (set(), set(outputs)), "intervals")
        for pair in intervals.values():
            _require(_are_numbers(pair) and len(pair) == 2 and pair[0] <= pair[1], "intervals")
        _require(bool(intervals) == (coverage is not None), "coverage")
        speech = table.get("speech")
        if speech is not None:
            known = isinstance(speech, dict) and _are_numbers(speech.get("weights")) and _is_number(speech.get("bias"))
            _require(known and bool(speech["weights"]), "speech")
            speech = np.array(speech["weights"], np.float64), float(speech["bias"])
        about = table.get("about", {})
        _require(isinstance(about, dict), "about")
        pairs = {name: (float(low), float(high)) for name, (low, high) in intervals.items()}
        return cls(temperature, tuple(centre), float(spread), coverage, pairs, speech, about)

    def to_dict(self) -> dict[str, Any]:
        """Return the table of bundle.json; weights have five significant digits."""
        table: dict[str, Any] = {}
        if self.temperature is not None:
            table["temperature"] = round(self.temperature, 4)
        if self.centre:
            table["centre"] = [round(value, 4) for value in self.centre]
            table["spread"] = round(self.spread, 4)
        if self.coverage is not None:
            table["coverage"] = self.coverage
            table["intervals"] = {name: [round(end, 4) for end in pair] for name, pair in self.intervals.items()}
        if self.speech is not None:
            weights, bias = self.speech
            table["speech"] = {"weights": [float(f"{value:.5g}") for value in weights], "bias": float(f"{bias:.5g}")}
        return table | ({"about": self.about} if self.about else {})

    def typical(self, embedding: Array) -> float | None:
        """Return how much an embedding [width] is like that of speech trained on, 0 to 1; None if it is not known."""
        if self.speech is None or not len(embedding):
            return None
        weights, bias = self.speech
        odds = float(weights @ embedding.astype(np.float64)) + bias
        return 1 / (1 + math.exp(-min(max(odds, -60.0), 60.0)))

    def confidence(self, probabilities: Array, typical: float | None = None) -> float | None:
        """Return the calibrated probability that the most probable of classes [k] is right; None if it is not known.

        It is lower for audio that is not ``typical``, in proportion, because there no class is right.
        """
        if self.temperature is None:
            return None
        scaled = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST)) / self.temperature
        shares = np.exp(scaled - scaled.max())
        return float(shares.max() / shares.sum()) * min(1.0, 1.0 if typical is None else typical / TYPICAL)


NONE = Calibration()


def centred(probabilities: Array) -> Floats:
    """Return log-probabilities of classes [..., k] minus their mean over the classes."""
    logits = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))
    shifted: Floats = logits - logits.mean(axis=-1, keepdims=True)
    return shifted


def _require(valid: bool, key: str) -> None:
    if not valid:
        raise ValueError(f"calibration: {key} is not valid")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and all(map(_is_number, values))
