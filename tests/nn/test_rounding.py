"""How weights are rounded: against exhaustive search, and what layers see against what they answer."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from sertool.nn.calibration import second_moments
from sertool.nn.rounding import rounded

pytestmark = pytest.mark.usefixtures("one_thread")


def correlated(columns, rng):
    """Inputs [500, columns], each much like its neighbours, and their second moments."""
    inputs = rng.standard_normal((500, 4)) @ rng.standard_normal((4, columns)) + 0.1 * rng.standard_normal(
        (500, columns)
    )
    return inputs, inputs.T @ inputs / len(inputs)


def loss(matrix, values, scales, inputs):
    return np.square(inputs @ (values * scales[:, None].astype(float) - matrix).T).mean(axis=0)


def test_eight_bits_are_the_nearest_to_the_largest():
    matrix = np.random.default_rng(0).standard_normal((5, 40))
    values, scales = rounded(matrix, -127, 127)
    assert (values.dtype, scales.dtype) == (np.int8, np.float32)
    assert np.allclose(scales, np.abs(matrix).max(axis=1) / 127, rtol=1e-6)
    assert np.array_equal(values, np.round(matrix / scales[:, None].astype(float)))


@pytest.mark.parametrize("levels", [(-8, 7), (-2, 1)])
def test_few_bits_have_the_best_of_many_scales(levels):
    low, high = levels
    matrix = np.random.default_rng(1).standard_normal((30, 64))
    values, scales = rounded(matrix, low, high)
    assert values.min() == low
    assert values.max() == high
    error = np.square(values * scales[:, None] - matrix).sum(axis=1)
    for share in (0.5, 0.6, 0.75, 0.9, 1.0, 1.1):
        scale = np.abs(matrix).max(axis=1, keepdims=True) / high * share
        tried = np.clip(np.round(matrix / scale), low, high) * scale
        assert np.all(error <= np.square(tried - matrix).sum(axis=1) * 1.01)


@pytest.mark.parametrize("levels", [(-127, 127), (-63, 63), (-8, 7), (-2, 1)])
@pytest.mark.parametrize("columns", [40, 150])
def test_moments_make_the_outputs_better(levels, columns):
    rng = np.random.default_rng(2)
    inputs, moments = correlated(columns, rng)
    matrix = rng.standard_normal((20, columns))
    nearest = loss(matrix, *rounded(matrix, *levels), inputs).mean()
    assert loss(matrix, *rounded(matrix, *levels, moments), inputs).mean() < 0.2 * nearest


def test_inputs_that_have_nothing_in_common_change_nothing():
    matrix = np.random.default_rng(3).standard_normal((6, 100))
    for levels in ((-127, 127), (-8, 7)):
        plain, known = rounded(matrix, *levels), rounded(matrix, *levels, np.eye(100))
        assert all(map(np.array_equal, plain, known))


@pytest.mark.slow("trains or exports a network")
def test_it_comes_close_to_the_best_there_is():
    """Of all roundings of seven weights to four levels, with the scale that was chosen."""
    rng = np.random.default_rng(4)
    inputs, moments = correlated(7, rng)
    matrix = rng.standard_normal((10, 7))
    values, scales = rounded(matrix, -2, 1, moments)
    found = loss(matrix, values, scales, inputs)
    every = np.array([*itertools.product(range(-2, 2), repeat=7)])
    pairs = zip(matrix, scales, strict=True)
    best = np.array([np.square(inputs @ (every * scale - row).T).mean(axis=0).min() for row, scale in pairs])
    nearest = loss(matrix, *rounded(matrix, -2, 1), inputs)
    assert np.all(found > best - 1e-6)
    assert found.mean() - best.mean() < 0.2 * (nearest.mean() - best.mean())


def test_rows_and_inputs_of_zeros_are_no_trouble():
    _, moments = correlated(12, np.random.default_rng(5))
    matrix = np.vstack([np.zeros(12), np.ones(12)])
    for given in (None, moments, np.zeros((12, 12))):
        values, scales = rounded(matrix, -8, 7, given)
        assert np.isfinite(scales).all()
        assert not values[0].any()
        assert np.abs(values[1] * scales[1] - 1).max() < 0.1


class Layers(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide = nn.Conv1d(1, 6, 9, stride=5, padding=2, dilation=2)
        self.image = nn.Conv2d(1, 3, (3, 2), stride=(1, 2), padding=(1, 0))
        self.grouped = nn.Conv1d(6, 6, 3, groups=2)
        self.line = nn.Linear(6, 4)

    def forward(self, waveform):
        x = torch.relu(self.wide(waveform[:, None]))
        self.image(x[:, None])
        self.grouped(x)
        return self.line(x.transpose(1, 2))


def test_second_moments_are_those_of_what_the_layers_answer():
    """W M Wᵀ is the second moment of a layer's outputs without bias."""
    torch.manual_seed(0)
    layers, answers = Layers().eval(), {}
    clips = [torch.randn(1, n) for n in (600, 800, 1_000)]  # all positions of each are looked at
    found = second_moments(layers, clips)
    assert found.keys() == {"wide.weight", "image.weight", "line.weight"}

    def note(name, part, inputs, outputs):
        y = outputs if name == "line" else outputs[0].flatten(1).T[None]
        y = (y[0] - part.bias).double()
        answers.setdefault(name, []).append((y.T @ y / len(y)).detach().numpy())

    for name in ("wide", "image", "line"):
        getattr(layers, name).register_forward_hook(lambda *all, name=name: note(name, *all))
    with torch.no_grad():
        for clip in clips:
            layers(clip)
    for name, seen in answers.items():
        weight = getattr(layers, name).weight.detach().flatten(1).double().numpy()
        assert np.allclose(weight @ found[f"{name}.weight"] @ weight.T, np.mean(seen, axis=0), rtol=1e-4)


def test_long_clips_count_as_short_ones_do():
    """And positions are taken from all over them."""
    layers, n = nn.Sequential(nn.Linear(1, 1)), 50_000
    ramp = torch.arange(n)[:, None] / n
    found = second_moments(layers, [ramp, torch.zeros(10, 1)])["0.weight"]
    assert found[0, 0] == pytest.approx(1 / 6, rel=0.01)


def test_without_clips_nothing_is_known():
    assert second_moments(Layers(), ()) == {}
