"""Shift a bundle's classes to a voice, from recordings without labels."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from sertool._types import Array, Floats
from sertool.bundle import Calibration
from sertool.bundle.calibration import centred
from sertool.errors import UsageError
from sertool.tuning.solver import Linear
from sertool.tuning.tail import Tail

#: A shift of n clips goes n / (n + TRUST) of the way, at most MOST of it, and no farther than a typical voice lies from
#: the centre. These three were chosen on validation speakers, so that even clips of one emotion do no harm on average.
TRUST, MOST = 10, 2 / 3
#: Fewer clips move next to nothing.
FEW = 5
#: Share of clips with the same answer from which a recording of one mood is likelier than an unusual voice.
ONE_SIDED = 0.8


@dataclass(frozen=True)
class Adapted:
    """A shift [k] that is subtracted from the centred log-probabilities, and what it changes.

    ``before`` and ``after``: class -> number of clips; ``changed``: clips with another answer; ``limited``: whether the
    voice lies farther out than the shift goes.
    """

    shift: Floats
    clips: int
    before: dict[str, int]
    after: dict[str, int]
    changed: int
    limited: bool

    @property
    def one_sided(self) -> str:
        """The class that nearly all clips had before, "" if there is none."""
        name, count = Counter(self.before).most_common(1)[0]
        return name if count >= ONE_SIDED * self.clips else ""

    @property
    def tail(self) -> Tail:
        """What the adapted bundle computes after the old one."""
        return Tail(Linear(np.eye(len(self.shift)), None, -self.shift), had_classes=True, classes=True)


def adapt(outputs: Array, names: list[str], calibration: Calibration) -> Adapted:
    """Return the shift of one voice with ``outputs``, probabilities [n, k].

    The mean of its centred log-probabilities is compared with the bundle's own centre. Raises UsageError like
    ``require``.
    """
    require(calibration)
    logits = centred(outputs)
    shift = shift_of(logits, np.array(calibration.centre), calibration.spread)
    before, after = logits.argmax(axis=1), (logits - shift).argmax(axis=1)
    full = logits.mean(axis=0) - np.array(calibration.centre)
    return Adapted(
        shift,
        len(logits),
        _counts(before, names),
        _counts(after, names),
        int((before != after).sum()),
        bool(np.linalg.norm(full) * _weight(len(logits)) > calibration.spread * 1.001),
    )


def require(calibration: Calibration) -> None:
    """Raise UsageError if a bundle does not know its centre and how far voices lie from it."""
    if not calibration.centre or not calibration.spread:
        raise UsageError("the bundle does not know where average voices lie: run `sertool calibrate` on it first")


def shift_of(logits: Floats, centre: Floats, spread: float) -> Floats:
    """Return the shift [k] of a voice with centred log-probabilities [n, k]."""
    shift: Floats = (logits.mean(axis=0) - centre) * _weight(len(logits))
    length = float(np.linalg.norm(shift))
    return shift * min(1.0, spread / length) if length > 0 else shift


def _weight(clips: int) -> float:
    return min(clips / (clips + TRUST), MOST)


def _counts(chosen: Array, names: list[str]) -> dict[str, int]:
    return {name: int((chosen == number).sum()) for number, name in enumerate(names)}
