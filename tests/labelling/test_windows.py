"""Windows over blocks, against the plain definition on a whole array."""

import itertools

import numpy as np
import pytest

from sertool.labelling.windows import windows

LENGTHS = (0, 1, 7, 79, 80, 81, 89, 90, 91, 120, 160, 169, 170, 171, 400, 403, 725, 1000)
HOPS = (1, 10, 33, 40, 79, 80)
BLOCKS = (1, 3, 80, 97, 10_000)


def reference(samples, window, hop):
    """By the docstring: full windows while at least an eighth of one is left behind them, then one to the end."""
    count = 0
    while len(samples) - count * hop >= window + max(window // 8, 1):
        count += 1
    cut = [(i * hop, samples[i * hop : i * hop + window]) for i in range(count)]
    last = samples[count * hop :]
    if len(last):
        cut.append((count * hop, last))
    return cut


def in_blocks(samples, size):
    return [samples[at : at + size] for at in range(0, len(samples), size)]


def same(found, expected):
    assert [start for start, _ in found] == [start for start, _ in expected]
    for (_, a), (_, b) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("size", BLOCKS)
@pytest.mark.parametrize("hop", HOPS)
def test_windows_are_those_of_the_definition_whatever_the_blocks(hop, size):
    for length in LENGTHS:
        samples = np.arange(length, dtype=np.float32)
        same(list(windows(in_blocks(samples, size), 80, hop)), reference(samples, 80, hop))


def test_rests_that_do_not_join_are_windows_of_their_own():
    for length in LENGTHS:
        samples = np.arange(length, dtype=np.float32)
        found = list(windows(in_blocks(samples, 97), 80, 80, join=False))
        same(found, [(start, samples[start : start + 80]) for start in range(0, length, 80)])


@pytest.mark.parametrize("seed", range(20))
def test_blocks_of_random_lengths_and_empty_ones_change_nothing(seed):
    rng = np.random.default_rng(seed)
    length, window = int(rng.integers(1, 3000)), int(rng.integers(1, 300))
    hop = int(rng.integers(1, window + 1))
    samples = np.arange(length, dtype=np.float32)
    cuts = np.sort(rng.integers(0, length, 12))
    same(list(windows(np.split(samples, cuts), window, hop)), reference(samples, window, hop))


@pytest.mark.parametrize(("window", "hop"), [(w, h) for w, h in itertools.product((1, 5, 8, 80), HOPS) if h <= w])
def test_every_sample_is_in_a_window(window, hop):
    for length in LENGTHS:
        covered = np.zeros(length, bool)
        for start, samples in windows([np.arange(length, dtype=np.float32)], window, hop):
            np.testing.assert_array_equal(samples, np.arange(start, start + len(samples)))
            covered[start : start + len(samples)] = True
        assert covered.all()


@pytest.mark.parametrize("hop", HOPS)
def test_no_window_is_shorter_than_an_eighth_unless_the_recording_is(hop):
    for length in range(1, 500):
        lengths = [len(samples) for _, samples in windows([np.zeros(length, np.float32)], 80, hop)]
        assert lengths == [length] or min(lengths) >= 10
        assert max(lengths) < 90 or length < 90


def test_up_to_9_8_of_a_window_is_one_window():
    for length in (1, 127_999, 128_000, 128_001, 143_999):
        found = list(windows(in_blocks(np.zeros(length, np.float32), 160_000), 128_000, 128_000))
        assert [(start, len(samples)) for start, samples in found] == [(0, length)]
    assert len(list(windows([np.zeros(144_000, np.float32)], 128_000, 128_000))) == 2


def test_nothing_gives_no_window():
    assert list(windows([], 80, 80)) == []
