"""Statistics against float64 numpy, and the same bits however the recording is cut."""

import numpy as np
import pytest

from sertool.features import Statistics

N = 48_000


def recording(name: str) -> np.ndarray:
    rng = np.random.default_rng(3)
    noise = rng.standard_normal(N)
    x = {
        "noise": 0.1 * noise,
        "faint_noise": 1e-4 * noise,
        "offset_and_tiny_noise": 0.5 + 1e-4 * noise,
        "offset_after_a_first_zero": np.where(np.arange(N) == 0, 0, 0.5 + 1e-4 * noise),
        "large_offset": 1e4 + noise,
        "largest_values": 1e11 * noise.clip(-5, 5),
        "ramp": np.linspace(-1, 1, N),
        "constant": np.full(N, 0.1),
        "silence": np.zeros(N),
        "one_sample": np.array([0.7]),
        "two_samples": np.array([-1.0, 1.0]),
        "nine_samples": noise[:9],
    }[name]
    return x.astype(np.float32)


RECORDINGS = [
    "noise",
    "faint_noise",
    "offset_and_tiny_noise",
    "offset_after_a_first_zero",
    "large_offset",
    "largest_values",
    "ramp",
    "constant",
    "silence",
    "one_sample",
    "two_samples",
    "nine_samples",
]


def statistics(*pieces) -> tuple[float, float]:
    s = Statistics()
    for piece in pieces:
        s.push(piece)
    return s.finish()


@pytest.mark.parametrize("name", RECORDINGS)
def test_mean_and_scale_equal_float64_numpy(name):
    samples = recording(name)
    exact = samples.astype(np.float64)
    mean, scale = statistics(samples)
    # Two float32 results: half a unit in the last place is 6e-8. The mean of noise is the difference of large sums.
    assert mean == pytest.approx(exact.mean(), rel=1.2e-7, abs=1e-15 * np.abs(exact).max())
    assert scale == pytest.approx(1 / np.sqrt(exact.var() + 1e-7), rel=1.2e-7)


@pytest.mark.parametrize("name", RECORDINGS)
def test_same_bits_however_it_is_cut(name):
    samples = recording(name)
    whole, rng = statistics(samples), np.random.default_rng(11)
    for pieces in [1, 3, 100, 2000]:
        cuts = np.sort(rng.integers(0, len(samples) + 1, pieces))
        assert statistics(*np.split(samples, cuts)) == whole
    for size in [1, 7, 8, 9]:
        head = samples[:1000]
        assert statistics(*np.split(head, range(size, len(head), size))) == statistics(head)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e13])
def test_an_unusable_sample_is_refused_as_if_never_pushed(bad):
    samples = recording("noise")
    for at in [0, 5, 99]:
        broken = np.ones(100, np.float32)
        broken[at] = bad
        s = Statistics()
        for piece in [samples[:1000], samples[1000:]]:
            with pytest.raises(ValueError, match="NaN"):
                s.push(broken)
            s.push(piece)
        assert s.finish() == statistics(samples)


@pytest.mark.parametrize("pieces", [[], [[]], [[], []]])
def test_nothing_pushed_is_an_error(pieces):
    with pytest.raises(ValueError, match="too few samples"):
        statistics(*pieces)


def test_finish_may_be_asked_on_the_way():
    samples = recording("noise")
    s = Statistics()
    s.push(samples[:100])
    assert s.finish() == statistics(samples[:100])
    s.push(samples[100:])
    assert s.finish() == statistics(samples)
