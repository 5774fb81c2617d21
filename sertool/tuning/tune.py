"""Fit a bundle's last layer to a few labelled clips, and say what that is worth on clips it did not hear."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
import scipy.stats
import threadpoolctl

from sertool._types import Array, Floats
from sertool.bundle import TYPICAL, Calibration
from sertool.bundle.calibration import centred
from sertool.corpora.classes import class_of
from sertool.errors import UsageError
from sertool.evaluation.metrics import ccc, uar
from sertool.tuning.solver import Design, Linear, Penalties, softmax
from sertool.tuning.tail import Tail, inputs

#: Fewest clips of a class, or of numbers.
FEWEST, FEWEST_NUMBERS = 3, 10
#: Penalties that cross-validation chooses from, the strongest prior first.
GRID = [
    Penalties(outputs, embedding)
    for outputs, embedding in itertools.product((np.inf, 0.1, 0.01), (np.inf, 1.0, 0.3, 0.1, 0.03, 0.01))
]
#: Parts of a cross-validation; clips beyond MANY make three do.
PARTS, FEW_PARTS, MANY = 5, 3, 500
#: A label looks wrong if a model that did not hear the clip gives it less than DOUBT, and another class more than SURE.
DOUBT, SURE = 0.1, 0.7
#: Share of clips inside the intervals of numbers.
COVERAGE = 0.8
#: Share of clips that must be like speech, so that what is unlike it may be called other.
_MOSTLY = 0.9
#: Significance of "better than before".
_LEVEL = 0.05


@dataclass(frozen=True)
class Task:
    """What is learnt: ``targets`` [n, new], one-hot of ``names`` if ``classes``, else numbers.

    ``prior`` [new, k] maps the bundle's outputs to the new ones; ``z`` [n, k] and ``embeddings`` [n, width] are what it
    says of the clips. ``groups`` [n]: clips of equal value are never on both sides of a cross-validation; ``by`` is
    what they are, "speaker" or "file".
    """

    names: list[str]
    classes: bool
    targets: Floats
    prior: Floats
    z: Floats
    embeddings: Floats
    groups: Array
    by: str


@dataclass(frozen=True)
class Score:
    """Share of clips that are right (or CCC of numbers), with a 95 % interval, and UA (or mean absolute error)."""

    value: float
    low: float
    high: float
    other: float


@dataclass(frozen=True)
class Tuned:
    """The fit: ``linear``, and how good it is on clips that it did not hear.

    ``heard_not`` [n, new] are the answers of the models of the cross-validation to the clips left out; ``before`` is
    None if the bundle lacks one of the outputs. ``better``: whether these clips show that it is better than before.
    ``doubtful``: (clip, label that looks likelier).
    """

    linear: Linear
    penalties: Penalties
    heard_not: Floats
    before: Score | None
    after: Score
    better: bool
    doubtful: list[tuple[int, str]]


def task(
    names: list[str],
    classes: bool,
    targets: Floats,
    outputs: Floats,
    embeddings: Floats,
    output_names: list[str],
    had_classes: bool,
    speakers: Sequence[str],
) -> Task:
    """Return the Task of clips with ``outputs`` [n, k] and ``embeddings`` [n, width]. Raise UsageError for too few."""
    if classes:
        counts = dict(zip(names, targets.sum(axis=0).astype(int).tolist(), strict=True))
        if len(names) < 2:
            raise UsageError(f"all clips are {names[0]!r}: two classes are needed, also clips that are not it")
        if scarce := [f"{name} ({count})" for name, count in counts.items() if count < FEWEST]:
            raise UsageError(f"too few clips of {', '.join(scarce)}: {FEWEST} of each class are needed")
    elif len(targets) < FEWEST_NUMBERS:
        raise UsageError(f"{len(targets)} clips: at least {FEWEST_NUMBERS} are needed to learn numbers")
    same = had_classes == classes
    prior = np.array([[float(same and _equal(name, old, output_names)) for old in output_names] for name in names])
    groups, by = _groups(speakers, targets if classes else None)
    return Task(names, classes, targets, prior, inputs(outputs, had_classes), embeddings, groups, by)


def _equal(name: str, old: str, known: list[str]) -> bool:
    return old == (class_of(name, known) or name)


def _groups(speakers: Sequence[str], targets: Floats | None) -> tuple[Array, str]:
    """Return what is never split, by speaker if each class has several speakers, else each clip by itself."""
    names, group = np.unique(np.array(speakers), return_inverse=True)
    enough = len(names) >= 3 and all(speakers)
    if targets is not None:
        enough = enough and all(len(np.unique(group[column > 0])) >= 2 for column in targets.T)
    return (group, "speaker") if enough else (np.arange(len(speakers)), "file")


def tune(given: Task, progress: Callable[[int, int], None], seed: int = 0) -> Tuned:
    """Fit all clips with the penalties that cross-validation chooses; measure by a nested cross-validation."""
    with threadpoolctl.threadpool_limits(1):  # the matrices are small: more threads only wait for each other
        return _tune(given, progress, seed)


def _tune(given: Task, progress: Callable[[int, int], None], seed: int) -> Tuned:
    n = len(given.targets)
    parts = _parts(given, np.arange(n), seed)
    heard_not = np.zeros_like(given.targets)
    for done, left_out in enumerate(parts):
        progress(done, len(parts) + 1)
        rest = np.setdiff1d(np.arange(n), left_out)
        fitted = _fitted(given, rest, _chosen(given, rest, seed + 1 + done))
        heard_not[left_out] = fitted(given.z[left_out], given.embeddings[left_out])
    progress(len(parts), len(parts) + 1)
    penalties = _chosen(given, np.arange(n), seed)
    linear = _fitted(given, np.arange(n), penalties)
    progress(len(parts) + 1, len(parts) + 1)
    before = given.z @ given.prior.T if given.prior.any(axis=1).all() else None
    return Tuned(
        linear,
        penalties,
        heard_not,
        None if before is None else score(given, before),
        score(given, heard_not),
        before is not None and _better(given, before, heard_not),
        _doubtful(given, heard_not) if given.classes else [],
    )


def _fitted(given: Task, clips: Array, penalties: Penalties) -> Linear:
    design = Design(given.z[clips], given.embeddings[clips])
    return design.fit(given.targets[clips], given.prior, penalties, given.classes)


def _chosen(given: Task, clips: Array, seed: int) -> Penalties:
    """Return the penalties with the smallest loss on the left-out parts of ``clips``; the stronger of equal ones."""
    losses = np.zeros(len(GRID))
    grid = GRID if given.embeddings.shape[1] else [p for p in GRID if not np.isfinite(p.embedding)]
    for left_out in _parts(given, clips, seed):
        rest = np.setdiff1d(clips, left_out)
        design = Design(given.z[rest], given.embeddings[rest])
        targets = given.targets[left_out]
        for number, penalties in enumerate(grid):
            fitted = design.fit(given.targets[rest], given.prior, penalties, given.classes)
            answers = fitted(given.z[left_out], given.embeddings[left_out])
            losses[number] += (
                _loss(answers, targets, given.targets[clips]) if given.classes else _square(answers, targets)
            )
    return grid[int(np.argmin(losses[: len(grid)] - 1e-9 * np.arange(len(grid))[::-1]))]


def _loss(answers: Floats, targets: Floats, all_targets: Floats) -> float:
    weights = (targets / np.maximum(all_targets.sum(axis=0), 1)).sum(axis=1)
    return -float(weights @ np.log((softmax(answers) * targets).sum(axis=1) + 1e-3))


def _square(answers: Floats, targets: Floats) -> float:
    return float(((answers - targets) ** 2).sum())


def _parts(given: Task, clips: Array, seed: int) -> list[Array]:
    """Split clips into parts; those of a group stay together, and each class is spread over the parts."""
    rng = np.random.default_rng(seed)
    groups = np.unique(given.groups[clips])
    number = min(PARTS if len(clips) <= MANY else FEW_PARTS, len(groups))
    if given.classes and given.by == "file":
        number = min(number, int(given.targets[clips].sum(axis=0).min()))
    number = max(number, 2)
    labels = given.targets.argmax(axis=1) if given.classes else np.zeros(len(given.targets), int)
    rng.shuffle(groups)
    sizes = np.zeros((number, labels.max() + 1))
    parts: list[list[int]] = [[] for _ in range(number)]
    for group in groups:
        own = clips[given.groups[clips] == group]
        counts = np.bincount(labels[own], minlength=sizes.shape[1])
        # Where there are fewest of the same classes, then fewest of all.
        place = int(np.lexsort((sizes.sum(axis=1), sizes @ counts))[0])
        parts[place].extend(own.tolist())
        sizes[place] += counts
    return [np.array(part) for part in parts if part]


def score(given: Task, answers: Floats) -> Score:
    """Score answers [n, new], logits or numbers.

    The interval is Wilson's of a share, which clips of few people make too narrow for strangers, or for numbers that
    of Fisher's transformation.
    """
    n = len(answers)
    if not given.classes:
        values = [ccc(answers[:, i], given.targets[:, i]) for i in range(len(given.names))]
        value = float(np.mean(values))
        half = 1.96 / np.sqrt(max(n - 3, 1))
        low, high = np.tanh(np.arctanh(np.clip(value, -0.9999, 0.9999)) + np.array([-half, half])).tolist()
        return Score(value, low, high, float(np.abs(answers - given.targets).mean()))
    truth, chosen = given.targets.argmax(axis=1), answers.argmax(axis=1)
    right = int((truth == chosen).sum())
    interval = scipy.stats.binomtest(right, n).proportion_ci(method="wilson")
    return Score(right / n, float(interval.low), float(interval.high), uar(chosen, truth))


def _better(given: Task, before: Floats, after: Floats) -> bool:
    """Return whether the clips show an improvement: a sign test on those that changed."""
    if given.classes:
        truth = given.targets.argmax(axis=1)
        was, now = before.argmax(axis=1) == truth, after.argmax(axis=1) == truth
    else:
        errors = [np.abs(answers - given.targets).mean(axis=1) for answers in (before, after)]
        was, now = errors[0] < errors[1], errors[1] < errors[0]
    won, lost = int((now & ~was).sum()), int((was & ~now).sum())
    return won > lost and bool(scipy.stats.binomtest(won, won + lost, alternative="greater").pvalue < _LEVEL)


def _doubtful(given: Task, answers: Floats) -> list[tuple[int, str]]:
    shares = softmax(answers)
    given_share = (shares * given.targets).sum(axis=1)
    found = np.nonzero((given_share < DOUBT) & (shares.max(axis=1) > SURE))[0]
    ranked = sorted(found.tolist(), key=lambda clip: given_share[clip])
    return [(clip, given.names[int(shares[clip].argmax())]) for clip in ranked]


def calibration(given: Task, tuned: Tuned, speech: tuple[Floats, float] | None, about: dict[str, Any]) -> Calibration:
    """Calibrate the new outputs on the answers to clips that were left out; ``speech`` is the old bundle's."""
    if given.classes:
        shares = softmax(tuned.heard_not)
        truth = given.targets.argmax(axis=1)
        centre = np.mean([centred(shares[truth == label]).mean(axis=0) for label in range(len(given.names))], axis=0)
        return Calibration(temperature(shares, truth), tuple(centre.tolist()), speech=speech, about=about)
    errors = given.targets - tuned.heard_not
    pairs = {name: conformal(errors[:, i]) for i, name in enumerate(given.names)}
    return Calibration(coverage=COVERAGE, intervals=pairs, speech=speech, about=about)


def are_typical(calibration: Calibration, embeddings: Array) -> bool:
    """Return whether nearly all clips are like the speech that a model was trained on, or nothing is known of it."""
    typical = [calibration.typical(embedding) for embedding in embeddings]
    return all(value is None for value in typical) or float(np.mean([(v or 0) >= TYPICAL for v in typical])) >= _MOSTLY


def temperature(probabilities: Array, truth: Array) -> float:
    """Return the temperature with the smallest cross-entropy for probabilities [n, k] of classes ``truth`` [n].

    As if one of n + 2 clips were wrong (Platt 1999): a few clips that are all right do not show that all are.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-7))
    n, k = logits.shape
    targets = np.full((n, k), 1 / (n + 2) / (k - 1))
    targets[np.arange(n), truth] = 1 - 1 / (n + 2)

    def loss(logarithm: float) -> float:
        return -float((targets * np.log(softmax(logits / np.exp(logarithm)) + 1e-12)).sum())

    return float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=(-2.3, 2.3), method="bounded").x))


def conformal(errors: Array, coverage: float = COVERAGE) -> tuple[float, float]:
    """Return (low, high) offsets that contain ``coverage`` of new errors [n] (truth - output) if they are alike.

    Split conformal prediction (Vovk et al. 2005), half of the rest on each side.
    """
    n, tail = len(errors), (1 - coverage) / 2
    ordered = np.sort(errors)
    below = max(int(np.floor((n + 1) * tail)) - 1, 0)
    above = min(int(np.ceil((n + 1) * (1 - tail))) - 1, n - 1)
    return float(ordered[below]), float(ordered[above])


def tail(given: Task, tuned: Tuned, had_classes: bool) -> Tail:
    """Return what the new bundle computes after the old one."""
    return Tail(tuned.linear, had_classes, given.classes)


def counts(given: Task) -> dict[str, int]:
    """Return class -> number of clips."""
    return Counter({name: int(given.targets[:, i].sum()) for i, name in enumerate(given.names)})
