"""What a fitted bundle computes after the model's own outputs."""

from dataclasses import dataclass

import numpy as np

from sertool._types import Array, Floats
from sertool.bundle.calibration import centred
from sertool.tuning.solver import Linear, softmax


@dataclass(frozen=True)
class Tail:
    """New outputs [n, new] from a model's outputs and embedding.

    ``linear`` takes the centred log-probabilities of a model that ``had_classes``, else its outputs. Its result is
    turned into probabilities if the new outputs are ``classes``.
    """

    linear: Linear
    had_classes: bool
    classes: bool

    def __call__(self, outputs: Array, embedding: Array) -> Floats:
        """Return the new outputs [n, new] for outputs [n, k] and embeddings [n, width]."""
        result = self.linear(inputs(outputs, self.had_classes), embedding)
        return softmax(result) if self.classes else result

    @property
    def from_logits(self) -> Floats:
        """The weights [new, k] of the outputs if they are logits that are not centred, or numbers."""
        weights = self.linear.outputs
        return weights - weights.mean(axis=1, keepdims=True) if self.had_classes else weights


def inputs(outputs: Array, had_classes: bool) -> Floats:
    """Return what a Tail's ``linear`` takes of outputs [n, k]."""
    return centred(outputs) if had_classes else outputs.astype(np.float64)
