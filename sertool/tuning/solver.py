"""Linear models on a model's outputs and embedding, with the model's own answer as prior."""

from dataclasses import dataclass

import numpy as np
import scipy.optimize

from sertool._types import Array, Floats

#: Directions of the embedding that are fitted.
RANK = 256
#: Clips' worth of the mean variance of all dimensions in the variance of each.
_SHRINK = 10
#: Scale of standardised embeddings: their squared length is about SCALE squared, however many values they have.
_SCALE = 5.0
#: When to stop: the choice of penalties needs no more digits.
_STOP = {"maxiter": 200, "ftol": 1e-7, "gtol": 1e-4}
#: Penalty of the biases, which only keeps classes of few clips finite.
_BIAS = 1e-3


@dataclass(frozen=True)
class Penalties:
    """How strongly a fit is held to the prior: ``outputs`` pulls the weights of the model's outputs to ``prior``,
    ``embedding`` pulls those of the embedding to 0; infinite: they stay there.
    """

    outputs: float
    embedding: float


@dataclass(frozen=True)
class Linear:
    """``z @ outputs.T + embedding @ weights.T + bias``, [n, k] -> [n, new]; ``weights`` is None if it is all zero."""

    outputs: Floats
    weights: Floats | None
    bias: Floats

    def __call__(self, z: Array, embedding: Array) -> Floats:
        result: Floats = z @ self.outputs.T + self.bias
        return result if self.weights is None else result + embedding @ self.weights.T


def softmax(logits: Array) -> Floats:
    """Return probabilities [n, k] of logits [n, k]."""
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = shares / shares.sum(axis=1, keepdims=True)
    return result


class Design:
    """The clips of a fit: outputs ``z`` [n, k] and ``embedding`` [n, width], standardised once for many penalties.

    Of more than RANK clips, the RANK directions in which their embeddings vary most are used.
    """

    def __init__(self, z: Array, embedding: Array) -> None:
        n = len(z)
        self._z, self._mean = z, embedding.mean(axis=0)
        variance = embedding.var(axis=0)
        variance = (n * variance + _SHRINK * variance.mean()) / (n + _SHRINK) if embedding.size else variance
        self._scale = _SCALE / (np.sqrt(variance + 1e-12) * np.sqrt(max(embedding.shape[1], 1)))
        # Weights outside the clips' span would stay 0: solve inside it.
        left, singular, right = np.linalg.svd((embedding - self._mean) * self._scale, full_matrices=False)
        inside = singular > 1e-9 * max(float(singular.max(initial=0.0)), 1e-9)
        inside[RANK:] = False
        self._features, self._basis = (left * singular)[:, inside], right[inside]

    def fit(self, targets: Array, prior: Floats, penalties: Penalties, classes: bool) -> Linear:
        """Fit ``targets`` [n, new].

        ``prior`` [new, k] are the weights of the outputs before any clip is seen. With ``classes``, targets are one-hot
        and the loss is the cross-entropy with the same weight for each class, else half the mean square.
        """
        free = self._z[:, : len(self._z[0]) if np.isfinite(penalties.outputs) else 0]
        features = self._features[:, : self._features.shape[1] if np.isfinite(penalties.embedding) else 0]
        inputs, offset = np.hstack([free, features]), self._z @ prior.T
        strength = np.repeat([penalties.outputs, penalties.embedding], [free.shape[1], features.shape[1]])
        new, share = targets.shape[1], _shares(targets) if classes else np.full(len(targets), 1 / len(targets))

        def loss(flat: Floats) -> tuple[float, Floats]:
            table = flat.reshape(new, -1)
            weights, bias = table[:, :-1], table[:, -1]
            answers = offset + inputs @ weights.T + bias
            if classes:
                answers = softmax(answers)
                value = -float(share @ np.log((answers * targets).sum(axis=1) + 1e-12))
            else:
                value = 0.5 * float(share @ ((answers - targets) ** 2).sum(axis=1))
            errors = (answers - targets) * share[:, None]
            value += 0.5 * float((strength * weights**2).sum()) + 0.5 * _BIAS * float(bias @ bias)
            slope = np.hstack([errors.T @ inputs + strength * weights, (errors.sum(axis=0) + _BIAS * bias)[:, None]])
            return value, slope.ravel()

        start = np.zeros(new * (inputs.shape[1] + 1))
        solved = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=_STOP)
        table = solved.x.reshape(new, -1)
        change, own, bias = np.split(table, [free.shape[1], inputs.shape[1]], axis=1)
        outputs = prior + change if free.shape[1] else prior
        if not features.shape[1]:
            return Linear(outputs, None, bias[:, 0])
        weights = (own @ self._basis) * self._scale
        return Linear(outputs, weights, bias[:, 0] - weights @ self._mean)


def _shares(targets: Array) -> Floats:
    """Return the weight of each clip, [n]: classes weigh the same, and all together 1."""
    counts = targets.sum(axis=0)
    shares: Floats = (targets / np.maximum(counts, 1)).sum(axis=1)
    shares /= shares.sum()
    return shares
