"""From a model's outputs to the cells of a row: the winning class, how sure it is, intervals."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sertool._types import Floats, Samples
from sertool.bundle import TYPICAL
from sertool.errors import BundleError, UsageError
from sertool.runtime import Runtime
from sertool.tasks import OTHER, TASKS, UNSURE


class Answers:
    """The cells that a model fills: ``columns``.

    A model of classes has the emotion, its confidence if the bundle is calibrated, and the probabilities; other models
    have each output, with .low and .high of its interval if the bundle knows it. Then comes ``typical``, if the bundle
    knows which audio is like the speech that it was trained on. ``unsure`` as in Labeller. Raises UsageError if the
    bundle cannot say that, BundleError if its calibration does not fit its model.
    """

    def __init__(self, runtime: Runtime, unsure: float | None = None) -> None:
        manifest = runtime.bundle.manifest
        self._runtime, self._unsure = runtime, unsure
        self._outputs, self._task = manifest.output_names, TASKS[manifest.task]
        self._calibration = manifest.calibrated
        sure = self._task.has_classes and self._calibration.temperature is not None
        if unsure is not None and not sure:
            what = "is not calibrated: see sertool calibrate" if self._task.has_classes else "has no classes"
            raise UsageError(f"--unsure: {manifest.name} {what}")
        if unsure is not None and not 0 <= unsure <= 1:
            raise UsageError(f"--unsure must be from 0 to 1, not {unsure:g}")
        speech = self._calibration.speech
        if speech and runtime.width not in (0, len(speech[0])):
            raise BundleError(
                f"{runtime.bundle.path}: its calibration is for {len(speech[0])} values, its embedding has "
                f"{runtime.width}"
            )
        self._typical = ["typical"] if speech and runtime.width else []
        self._sure = ["confidence"] if sure else []
        self._ends = {name: (f"{name}.low", f"{name}.high") for name in self._calibration.intervals}
        numbers = [column for name in self._outputs for column in (name, *self._ends.get(name, ()))]
        emotion = ["emotion", *self._sure] if self._task.has_classes else []
        self.columns = [*emotion, *numbers, *self._typical]
        self.label = "emotion" if self._task.has_classes else ""  #: Column with the class, if there is one.

    def of(self, samples: Samples) -> Floats:
        """Run the model on float32 [n] at 16 kHz; return the values of ``row``. Raise AudioError as Runtime.run."""
        outputs, embedding = self._runtime.run_both(samples)
        typical = self._calibration.typical(embedding) if self._typical else None
        return np.array([*outputs, *([] if typical is None else [typical])], np.float64)

    def values(self, row: Mapping[str, Any]) -> list[float]:
        """Return the values that ``row`` made the cells from."""
        return [row[name] for name in (*self._outputs, *self._typical)]

    def row(self, values: Floats) -> dict[str, Any]:
        """Return the cells of ``columns`` for the outputs [k], and how typical the audio is, if that is known."""
        outputs = values[: len(self._outputs)]
        typical = float(values[-1]) if self._typical else None
        row = self._task.row(self._outputs, outputs)
        for name, ends in self._ends.items():
            for end, offset in zip(ends, self._calibration.intervals[name], strict=True):
                row[end] = row[name] + offset
        if self._sure:
            row["confidence"] = confidence = self._calibration.confidence(outputs, typical)
            if self._unsure is not None and confidence is not None:
                if typical is not None and typical < TYPICAL:
                    row["emotion"] = OTHER
                elif confidence < self._unsure:
                    row["emotion"] = UNSURE
        if typical is not None:
            row["typical"] = typical
        return {name: row[name] for name in self.columns}


class Vectors:
    """A model's embedding as cells e000 and so on, after its outputs if ``what`` is "both"; methods as Answers.

    Without an embedding, "embedding" raises UsageError, and "both" has the outputs only.
    """

    label = ""

    def __init__(self, runtime: Runtime, what: str) -> None:
        self._runtime, self._both = runtime, what == "both"
        if not self._both:
            require_embedding(runtime)
        digits = len(str(max(runtime.width - 1, 0)))
        outputs = runtime.bundle.manifest.output_names if self._both else []
        self.columns = [*outputs, *(f"e{number:0{digits}d}" for number in range(runtime.width))]

    def of(self, samples: Samples) -> Floats:
        """Return the values of float32 [n] at 16 kHz, float64. Raise AudioError as Runtime.run."""
        outputs, embedding = self._runtime.run_both(samples)
        return np.concatenate([outputs if self._both else [], embedding]).astype(np.float64)

    def values(self, row: Mapping[str, Any]) -> list[float]:
        """Return the values of a row."""
        return [row[name] for name in self.columns]

    def row(self, values: Floats) -> dict[str, Any]:
        """Return the cells of ``columns``."""
        return dict(zip(self.columns, values.tolist(), strict=True))


def require_embedding(runtime: Runtime) -> None:
    """Raise UsageError if a model's file has no embedding."""
    if not runtime.width:
        manifest = runtime.bundle.manifest
        raise UsageError(
            f"{manifest.name} ({runtime.variant.name}) has no embedding: export it again with --with-embedding"
        )
