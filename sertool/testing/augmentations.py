"""Checks of an augmentation."""

import pickle
import random
import threading

import numpy as np

from sertool.plugins import load_plugins
from sertool.testing.clips import sound
from sertool.testing.faults import doing, require

LENGTHS = (1, 2, 33, 400, 16_001, 320_000)
DRAWS = 8


def check(name: str, is_random: bool, options: dict) -> None:
    augmentation, where = load_plugins().get("augmentations", name), f"augmentation {name!r}"
    with doing(where, f"build({_shown(options)})"):
        change = augmentation.build(**options)
    require(callable(change), where, f"build returns {type(change).__name__}, not a function of samples and generator")

    def apply(change, clip, seed=0):
        with doing(where, f"a clip of {len(clip)} samples"):
            return change(clip, np.random.default_rng(seed))

    for n in LENGTHS:
        for what, clip in _clips(n):
            _check_samples(apply(change, clip), f"{where}: {what} of {n} samples")
    clip = sound(16_001)
    given = clip.copy()
    first = apply(change, given)
    require(np.array_equal(given, clip), where, "changes its input: work on a copy")
    require(not np.shares_memory(first, given), where, "returns its input, or a view of it, not new samples")

    states, answers = [], []
    for seed in (1, 2):
        with _global_generators(seed) as moved:
            answers.append(apply(change, clip))
        states += moved
    require(not states, where, f"draws from the global generator of {states[0] if states else ''}: draw from rng")
    require(_same(*answers) and _same(answers[0], first), where, "the same generator state gives other samples")

    other = augmentation.build(**options)
    require(
        _same(apply(other, clip), first), where, "built once more it gives other samples: draw from rng, not in build"
    )
    draws = [apply(change, clip, seed) for seed in range(DRAWS)]
    if is_random:
        differ = any(not _same(draws[0], other) for other in draws[1:])
        require(differ, where, f"{DRAWS} generators give the same samples: it draws nothing from rng (random=False?)")
    else:
        require(all(_same(draws[0], d) for d in draws), where, "random=False, but other generators give other samples")

    with doing(where, "pickle, as for a worker process (return an object of a class, not an inner function),"):
        copied = pickle.loads(pickle.dumps(change))
    require(_same(apply(copied, clip), first), where, "a copy through pickle gives other samples")
    _check_threads(where, apply, change, clip, draws)


def _clips(n: int):
    yield "sound", sound(n)
    yield "silence", np.zeros(n, np.float32)
    yield "full scale", np.sign(sound(n, seed=1))


def _check_samples(samples, where: str) -> None:
    require(isinstance(samples, np.ndarray), where, f"gives {type(samples).__name__}, not a numpy array")
    require(samples.dtype == np.float32, where, f"gives {samples.dtype}, not float32")
    require(samples.ndim == 1 and samples.size > 0, where, f"gives shape {samples.shape}, not [m] with m of 1 or more")
    require(bool(np.isfinite(samples).all()), where, "gives what is not finite")


def _check_threads(where: str, apply, change, clip, expected) -> None:
    """Four threads with one ``change``: what one draws another must not get."""
    answers, errors = [None] * len(expected), []

    def run(first):
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
    require(all(map(_same, answers, expected)), where, "threads that share it get other samples: keep no state in it")


class _global_generators:
    """Seed them, and at the end list which were drawn from or seeded; then they are as they were."""

    def __init__(self, seed: int):
        self.seed = seed

    def __enter__(self):
        self.outside = random.getstate(), np.random.get_state()
        random.seed(self.seed)
        np.random.seed(self.seed)
        self.before = self._states()
        self.moved = []
        return self.moved

    def __exit__(self, *exception):
        self.moved += [name for name, state in self._states().items() if state != self.before[name]]
        random.setstate(self.outside[0])
        np.random.set_state(self.outside[1])

    def _states(self) -> dict:
        numpys = np.random.get_state()
        return {"random": random.getstate(), "numpy.random": (numpys[1].tobytes(), *numpys[2:])}


def _same(one, other) -> bool:
    return one.shape == other.shape and np.array_equal(one, other)


def _shown(options: dict) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in options.items())
