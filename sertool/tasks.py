"""The tasks that a model can have, and what differs between them.

Code that needs torch or report metrics is looked up by task name elsewhere: `sertool.evaluation.run.REPORTS` and
`sertool.training.targets`. Losses say which task they are for.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from sertool._types import Array

#: An output that changes by less than this counts as unchanged.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Task:
    """One kind of output: numbers (this class) or classes.

    ``has_classes``: whether the outputs are classes; the most probable one is the label. The texts are used in model
    cards and reports: ``output_text`` says what the outputs mean, ``kept_text`` and ``unchanged_text`` when an output
    of a perturbed clip counts as unchanged.
    """

    name: str
    has_classes: bool
    output_text: str
    kept_text: str
    unchanged_text: str

    def columns(self, outputs: list[str]) -> list[str]:
        """Return the columns of a model's outputs in the label table."""
        return list(outputs)

    def row(self, outputs: list[str], values: "Array") -> dict[str, Any]:
        """Return the cells of ``columns`` for output values [k]."""
        return dict(zip(outputs, values.tolist(), strict=True))

    def judged(self, outputs: list[str]) -> list[str]:
        """Return the names of the values that ``unchanged`` compares."""
        return list(outputs)

    def unchanged(self, before: "Array", after: "Array") -> "Array":
        """Compare outputs [..., k] of a clip before and after a perturbation; return bool [..., len(judged)]."""
        close: Array = abs(after - before) < TOLERANCE
        return close

    def answer(self, network_outputs: "torch.Tensor") -> "torch.Tensor":
        """Convert a network's outputs [n, k] to the outputs of a bundle."""
        return network_outputs


class _Classes(Task):
    def columns(self, outputs: list[str]) -> list[str]:
        return ["emotion", *outputs]

    def row(self, outputs: list[str], values: "Array") -> dict[str, Any]:
        return {"emotion": outputs[int(values.argmax())], **super().row(outputs, values)}

    def judged(self, outputs: list[str]) -> list[str]:
        return ["emotion"]

    def unchanged(self, before: "Array", after: "Array") -> "Array":
        same: Array = before.argmax(axis=-1, keepdims=True) == after.argmax(axis=-1, keepdims=True)
        return same

    def answer(self, network_outputs: "torch.Tensor") -> "torch.Tensor":
        return network_outputs.softmax(dim=1)


#: Numbers, each between 0 and 1, such as arousal.
DIMENSIONAL = Task(
    "dimensional",
    has_classes=False,
    output_text="each meant to lie between 0 and 1 with 0.5 neutral. Outputs are not cut off there.",
    kept_text="an output moves by less than 0.05",
    unchanged_text=f"moved by less than {TOLERANCE}",
)
#: Probabilities of classes; the network outputs logits.
CATEGORICAL = _Classes(
    "categorical",
    has_classes=True,
    output_text="one probability each, which sum to 1. `label` gives the likeliest as `emotion` beside them.",
    kept_text="the likeliest class stays the same",
    unchanged_text="the same class is the most probable",
)
TASKS: dict[str, Task] = {task.name: task for task in (DIMENSIONAL, CATEGORICAL)}

#: Columns of the label table; outputs must have other names.
RESERVED = (
    *("file", "start", "end", "track", "channel", "speaker", "emotion", "confidence", "typical", "speech", "repeats"),
    "error",
)
#: Answers that are no classes: too little confidence, and audio unlike anything trained on.
UNSURE, OTHER = "unsure", "other"
