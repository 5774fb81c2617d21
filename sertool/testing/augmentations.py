"""Checks of an augmentation."""

import pickle
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from sertool._types import Array, Samples
from sertool.plugins import load_plugins
from sertool.testing.clips import sound
from sertool.testing.faults import doing, require

LENGTHS = (1, 2, 33, 400, 16_001, 320_000)
DRAWS = 8

_Change: TypeAlias = Callable[[Samples, np.random.Generator], Samples]
_Apply: TypeAlias = Callable[..., Samples]  # (change, clip, seed=0)


def check(name: str, is_random: bool, options: dict[str, Any]) -> None:
    """Check an augmentation; see `sertool.testing.check_augmentation`."""
    augmentation, where = load_plugins().get("augmentations", name), f"augmentation {name!r}"
    with doing(where, f"build({_format(options)})"):
        change = augmentation.build(**options)
    require(callable(change), where, f"build returns {type(change).__name__}, not a function of samples and generator")

    def apply(change: _Change, clip: Samples, seed: int = 0) -> Samples:
        with doing(where, f"a clip of {len(clip)} samples"):
            return change(clip, np.random.default_rng(seed))

    for n in LENGTHS:
        for what, clip in _clips(n):
            _check_samples(apply(change, clip), f"{where}: {what} of {n} samples")
    clip = sound(16_001)
    given = clip.copy()
    first = apply(change, given)
    require(np.array_equal(given, clip), where, "changes its input: work on a copy")
    require(not np.shares_memory(first, given), where, "returns its input or a view of it, not new samples")

    states: list[str] = []
    answers = []
    for seed in (1, 2):
        with _GlobalGenerators(seed) as used:
            answers.append(apply(change, clip))
        states += used
    require(not states, where, f"draws from the global generator of {states[0] if states else ''}: draw from rng")
    require(
        _same(answers[0], answers[1]) and _same(answers[0], first),
        where,
        "the same generator state gives different samples",
    )

    other = augmentation.build(**options)
    require(
        _same(apply(other, clip), first), where, "a second build gives different samples: draw from rng, not in build"
    )
    draws = [apply(change, clip, seed) for seed in range(DRAWS)]
    if is_random:
        differ = any(not _same(draws[0], other) for other in draws[1:])
        require(differ, where, f"{DRAWS} generators give the same samples: it does not draw from rng (random=False?)")
    else:
        require(all(_same(draws[0], d) for d in draws), where, "random=False, but generators give different samples")

    with doing(where, "pickle, as for a worker process (return an object of a class, not an inner function),"):
        copied = pickle.loads(pickle.dumps(change))
    require(_same(apply(copied, clip), first), where, "a pickled copy gives different samples")
    _check_threads(where, apply, change, clip, draws)


def _clips(n: int) -> Iterator[tuple[str, Samples]]:
    yield "sound", sound(n)
    yield "silence", np.zeros(n, np.float32)
    yield "full scale", np.sign(sound(n, seed=1))


def _check_samples(samples: Array, where: str) -> None:
    require(isinstance(samples, np.ndarray), where, f"gives {type(samples).__name__}, not a numpy array")
    require(samples.dtype == np.float32, where, f"gives {samples.dtype}, not float32")
    require(samples.ndim == 1 and samples.size > 0, where, f"gives shape {samples.shape}, not [m] with m of 1 or more")
    require(bool(np.isfinite(samples).all()), where, "gives non-finite samples")


def _check_threads(where: str, apply: _Apply, change: _Change, clip: Samples, expected: list[Samples]) -> None:
    """Use one ``change`` in four threads: they must not affect each other."""
    answers: list[Samples | None] = [None] * len(expected)
    errors = []

    def run(first: int) -> None:
        try:
            for seed in range(first, len(expected), 4):
                answers[seed] = apply(change, clip, seed)
        except AssertionError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    require(
        all(map(_same, answers, expected)), where, "threads that share it get different samples: keep no state in it"
    )


class _GlobalGenerators:
    """Seed the global generators, list at exit which were used or seeded, and restore them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __enter__(self) -> list[str]:
        self.saved = random.getstate(), np.random.get_state()
        random.seed(self.seed)
        np.random.seed(self.seed)
        self.before = self._states()
        self.used: list[str] = []
        return self.used

    def __exit__(self, *exception: object) -> None:
        self.used += [name for name, state in self._states().items() if state != self.before[name]]
        random.setstate(self.saved[0])
        np.random.set_state(self.saved[1])

    def _states(self) -> dict[str, Any]:
        numpys = np.random.get_state(legacy=True)
        assert isinstance(numpys, tuple)
        return {"random": random.getstate(), "numpy.random": (numpys[1].tobytes(), *numpys[2:])}


def _same(one: Samples | None, other: Samples | None) -> bool:
    if one is None or other is None:
        return False
    return one.shape == other.shape and np.array_equal(one, other)


def _format(options: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in options.items())
