"""Pre-processing steps that a bundle lists and `label` applies: trim, pre-emphasis, peak, length."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np

from sertool._types import Floats, Samples
from sertool.errors import AudioError, UsageError
from sertool.features.mel import SAMPLE_RATE

_MINUTE = 60 * SAMPLE_RATE
_BLOCK = 2**20  # samples per block of squares, so that memory does not depend on the length
_FAINTEST = 1e-10  # minimum power, as in librosa.amplitude_to_db (amin=1e-5)


@dataclass(frozen=True)
class Trim:
    """Cut the audio before the first and after the last frame within ``top_db`` of the loudest one.

    Only the level counts: pauses in between and loud noise stay. The definition is that of librosa.effects.trim (0.11,
    ref=np.max): root mean squares of ``frame`` samples every ``hop``, centred on zero-padded audio, with a minimum of
    1e-5; the result goes from the first frame's centre to one hop after the last one's. So silence, like any clip below
    1e-5, stays whole. Computed in float64: a frame within a millionth of the threshold may be on the other side of it
    than in librosa's float32.
    """

    top_db: float = 20.0
    frame: int = 2048
    hop: int = 512

    def __post_init__(self) -> None:
        _number("top_db", self.top_db, 0.001, 1000)  # 0 would leave nothing
        _number("frame", self.frame, 2, _MINUTE, whole=True)
        _number("hop", self.hop, 1, self.frame // 2, whole=True)  # a longer one would skip samples

    def __call__(self, samples: Samples) -> Samples:
        power = np.maximum(_powers(samples, self.frame, self.hop), _FAINTEST)
        loud = np.flatnonzero(power > power.max() * 10 ** (-self.top_db / 10))
        return samples[loud[0] * self.hop : (loud[-1] + 1) * self.hop]


@dataclass(frozen=True)
class PreEmphasis:
    """Compute y[n] = x[n] - coefficient * x[n - 1], with zero before the beginning: y[0] = x[0].

    This equals scipy.signal.lfilter([1, -coefficient], [1], x). librosa.effects.preemphasis differs in the first
    sample, because it extrapolates linearly from the first two: x[0] - coefficient * (2 x[0] - x[1]).
    """

    coefficient: float = 0.97

    def __post_init__(self) -> None:
        _number("coefficient", self.coefficient, 0, 1)

    def __call__(self, samples: Samples) -> Samples:
        result = samples.copy()
        result[1:] -= np.float32(self.coefficient) * samples[:-1]
        return result


@dataclass(frozen=True)
class Peak:
    """Scale so that the largest absolute sample is ``level``; silence stays silence."""

    level: float = 0.95

    def __post_init__(self) -> None:
        _number("level", self.level, 0.001, 1)

    def __call__(self, samples: Samples) -> Samples:
        peak = max(samples.max(), -samples.min())
        return samples / peak * np.float32(self.level) if peak > 0 else samples


@dataclass(frozen=True)
class Length:
    """Keep the first ``seconds``, rounded to the nearest sample; pad a shorter clip with zeros at the end."""

    seconds: float = 8.0

    def __post_init__(self) -> None:
        _number("seconds", self.seconds, 0.001, 3600)

    def __call__(self, samples: Samples) -> Samples:
        length = round(self.seconds * SAMPLE_RATE)
        return np.pad(samples[:length], (0, max(0, length - len(samples))))


#: A step: float32 [n] at 16 kHz to float32 [m].
Step: TypeAlias = Callable[[Samples], Samples]

#: Name in a bundle -> step; its fields are the options.
STEPS: dict[str, type[Trim | PreEmphasis | Peak | Length]] = {
    "trim": Trim,
    "pre-emphasis": PreEmphasis,
    "peak": Peak,
    "length": Length,
}

#: The input of the mobile DistilHuBERT (arXiv 2512.23435): 8 s, as voice notes are labelled.
VOICE_NOTE = (
    {"step": "trim", "top_db": 20.0, "frame": 2048, "hop": 512},
    {"step": "pre-emphasis", "coefficient": 0.97},
    {"step": "peak", "level": 0.95},
    {"step": "length", "seconds": 8.0},
)


@dataclass(frozen=True)
class Steps:
    """Apply steps in order: float32 [n] at 16 kHz to float32 [m].

    The input is never modified, but the result may be a view of it. Raises AudioError if there are no samples, or NaN
    or infinity among them; without steps, nothing is checked.
    """

    steps: tuple[Step, ...] = ()

    def __call__(self, samples: Samples) -> Samples:
        for step in self.steps:
            _check(samples)
            samples = step(samples)
        return samples


def build(entries: object) -> Steps:
    """Return the steps that a bundle lists: [{"step": "trim", "top_db": 20.0}, ...]; omitted options have defaults.

    Raises UsageError, naming the step, option or value, if one is unknown or invalid.
    """
    if not isinstance(entries, list | tuple):
        raise UsageError(f'pre-processing must be a list of tables with a "step" each, not {entries!r}')
    return Steps(tuple(_step(entry) for entry in entries))


def _step(entry: Any) -> Step:
    name = entry.get("step") if isinstance(entry, dict) else None
    if not (isinstance(name, str) and name in STEPS):
        raise UsageError(f'pre-processing: {entry!r}: unknown step; "step" is one of {", ".join(STEPS)}')
    options = {key: value for key, value in entry.items() if key != "step"}
    known = [field.name for field in fields(STEPS[name])]
    for key in options:
        if key not in known:
            raise UsageError(f"pre-processing: {name} has no option {key!r}; it takes {', '.join(known)}")
    try:
        return STEPS[name](**options)
    except UsageError as error:
        raise UsageError(f"pre-processing: {name}: {error}") from None


def _number(name: str, value: Any, low: float, high: float, whole: bool = False) -> None:
    """Raise UsageError unless the value is a number from ``low`` to ``high``; NaN, True and strings are not."""
    if type(value) not in ((int,) if whole else (int, float)) or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise UsageError(f"{name} must be {kind} from {low} to {high}, not {value!r}")


def _check(samples: Samples) -> None:
    if not len(samples):
        raise AudioError("empty: no samples")
    if not np.isfinite(samples).all():
        at = np.argmin(np.isfinite(samples)) / SAMPLE_RATE
        raise AudioError(f"NaN or infinity in the samples at {at:.3f} s")


def _powers(samples: Samples, frame: int, hop: int) -> Floats:
    """Return mean squares, float64 [frames], of the frames centred at 0, hop, 2 hop ... of zero-padded samples."""
    before = frame // 2
    count = 1 + (len(samples) + 2 * before - frame) // hop
    at_once = max(1, _BLOCK // hop)
    parts = []
    for first in range(0, count, at_once):
        start = first * hop - before
        end = (min(first + at_once, count) - 1) * hop - before + frame
        inside = np.square(samples[max(0, start) : end], dtype=np.float64)
        squares = np.pad(inside, (max(0, -start), max(0, end - len(samples))))
        parts.append(np.lib.stride_tricks.sliding_window_view(squares, frame)[::hop].mean(axis=1))
    return np.concatenate(parts)
