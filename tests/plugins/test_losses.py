"""The losses that ship against audmetric and torch, by their gradients and by hand."""

import math

import audmetric
import numpy as np
import pytest
import torch

from sertool.errors import UsageError
from sertool.plugins import load_plugins
from sertool_losses.classes import focal_loss
from sertool_losses.numbers import ccc, ccc_loss, quadrant_correction


def test_ccc_is_audmetrics_per_column():
    generator = torch.Generator().manual_seed(0)
    output, target = torch.rand(16, 3, generator=generator), torch.rand(16, 3, generator=generator)
    expected = [audmetric.concordance_cc(target[:, i].numpy(), output[:, i].numpy()) for i in range(3)]
    assert ccc(output, target).tolist() == pytest.approx(expected, abs=1e-6)
    assert ccc_loss(output, target).item() == pytest.approx(1 - sum(expected) / 3, abs=1e-6)
    assert ccc_loss(target, target).item() == pytest.approx(0, abs=1e-6)


def test_gradient_of_ccc_is_right():
    generator = torch.Generator().manual_seed(0)
    output = torch.rand(8, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    target = torch.rand(8, 3, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda o: ccc_loss(o, target), output)


@pytest.mark.parametrize("value", [0.5, 0.7])
def test_a_batch_of_equal_values_has_a_finite_loss_and_gradient(value):
    output = torch.full((4, 3), 0.5, requires_grad=True)
    target = torch.full((4, 3), value)
    loss = ccc_loss(output, target) + quadrant_correction(output, target)
    loss.backward()
    assert loss.item() >= 1
    assert torch.isfinite(output.grad).all()


def test_quadrant_correction_counts_only_clips_in_another_octant():
    teacher = torch.tensor([[0.6, 0.6, 0.6], [0.6, 0.6, 0.6], [0.4, 0.9, 0.1]])
    output = torch.tensor([[0.9, 0.51, 0.6], [0.9, 0.6, 0.4], [0.1, 0.6, 0.49]])
    # Only the second clip is elsewhere, in valence; all three of its distances count: 0.3 + 0 + 0.2, over 9 values.
    assert quadrant_correction(output, teacher).item() == pytest.approx(0.5 / 9)
    assert quadrant_correction(teacher, teacher).item() == 0
    assert quadrant_correction(output[[0, 2]], teacher[[0, 2]]).item() == 0
    # Around another neutral point another clip is elsewhere.
    assert quadrant_correction(output, teacher, neutral=0.55).item() == pytest.approx((0.3 + 0.09 + 0.5) / 9)


def test_gradient_of_the_quadrant_correction_is_right_and_stays_away_from_the_others():
    teacher = torch.tensor([[0.6, 0.6, 0.6], [0.6, 0.7, 0.6]], dtype=torch.float64)
    output = torch.tensor([[0.9, 0.51, 0.65], [0.9, 0.65, 0.4]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda o: quadrant_correction(o, teacher), output)
    quadrant_correction(output, teacher).backward()
    assert output.grad.tolist() == [[0, 0, 0], pytest.approx([1 / 6, -1 / 6, -1 / 6])]


def logits_and_classes(batch=12, classes=4):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(batch, classes, dtype=torch.float64, generator=generator)
    return logits, torch.randint(classes, (batch,), generator=generator)


def one_hot(classes, number=4):
    return torch.nn.functional.one_hot(classes, number).double()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_without_gamma_the_focal_loss_is_torchs_cross_entropy(smoothing):
    logits, classes = logits_and_classes()
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64)
    expected = torch.nn.functional.cross_entropy(logits, classes, label_smoothing=smoothing)
    assert focal_loss(logits, one_hot(classes), None, 0.0, smoothing).item() == pytest.approx(expected.item())
    each = torch.nn.functional.cross_entropy(logits, classes, label_smoothing=smoothing, reduction="none")
    weighted = (weights[classes] * each).mean()
    assert focal_loss(logits, one_hot(classes), weights, 0.0, smoothing).item() == pytest.approx(weighted.item())


def test_the_focal_loss_by_hand():
    # Probabilities 0.5, 0.25, 0.25 of the first clip, 0.1, 0.2, 0.7 of the second.
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]).log() + 3
    targets = torch.tensor([[1.0, 0, 0], [0, 0, 1]])
    first, second = 0.5**2 * math.log(2), 0.3**2 * -math.log(0.7)
    assert focal_loss(logits, targets, smoothing=0).item() == pytest.approx((first + second) / 2, rel=1e-5)
    weights = torch.tensor([2.0, 1, 0.5])
    weighted = (2 * first + 0.5 * second) / 2
    assert focal_loss(logits, targets, weights, smoothing=0).item() == pytest.approx(weighted, rel=1e-5)
    # Smoothed: 0.1 spread over three classes; the factor stays that of the true class.
    smooth = (0.9 + 0.1 / 3) * -math.log(0.5) + 2 * (0.1 / 3) * -math.log(0.25)
    found = focal_loss(logits[:1], targets[:1]).item()
    assert found == pytest.approx(0.5**2 * smooth, rel=1e-5)
    # A mixture: p is its expected probability, w its share of the weights.
    mixed = torch.tensor([[0.5, 0.5, 0.0]])
    entropy = -(0.5 * math.log(0.5) + 0.5 * math.log(0.25))
    found = focal_loss(logits[:1], mixed, weights, smoothing=0).item()
    assert found == pytest.approx(1.5 * (1 - 0.375) ** 2 * entropy, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_gradient_of_the_focal_loss_is_right(gamma):
    logits, classes = logits_and_classes(6)
    targets = 0.7 * one_hot(classes) + 0.3 * one_hot(classes.roll(1))
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64)
    loss = lambda z: focal_loss(z, targets, weights, gamma, 0.1)  # noqa: E731
    assert torch.autograd.gradcheck(loss, logits.requires_grad_())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_a_clip_that_is_certain_has_a_finite_gradient(gamma):
    logits = torch.tensor([[200.0, 0, 0, 0], [0, 200.0, 0, 0]], requires_grad=True)
    focal_loss(logits, torch.eye(4)[[0, 0]], gamma=gamma).backward()
    assert torch.isfinite(logits.grad).all()


def build(name, **options):
    return load_plugins().get("losses", name).build(**options)


def test_ccc_is_registered():
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.rand(8, 3, generator=generator), torch.rand(8, 3, generator=generator)
    loss, terms = build("ccc")(outputs, targets)
    assert (loss, terms) == (ccc_loss(outputs, targets), {})


def test_ccc_quadrant_is_the_weighted_sum_of_its_terms():
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.rand(8, 3, generator=generator), torch.rand(8, 3, generator=generator)
    for options, ccc_weight, quadrant_weight, neutral in (
        ({}, 100, 4, 0.5),
        ({"ccc": 1, "quadrant": 0.04}, 1, 0.04, 0.5),
    ):
        loss, terms = build("ccc-quadrant", **options)(outputs, targets)
        assert terms["ccc"].item() == pytest.approx(ccc_weight * ccc_loss(outputs, targets).item())
        wrong = quadrant_correction(outputs, targets, neutral).item()
        assert terms["quadrant"].item() == pytest.approx(quadrant_weight * wrong)
        assert loss == terms["ccc"] + terms["quadrant"]
    assert build("ccc-quadrant", neutral=0.9)(outputs, targets)[1]["quadrant"] != terms["quadrant"]


def test_focal_is_weighted_by_the_training_clips_unless_it_says_not_to():
    training = np.eye(4, dtype=np.float32)[[0, 0, 0, 1, 2, 2, 3, 3]]
    logits, classes = logits_and_classes()
    logits, targets = logits.float(), one_hot(classes).float()
    loss = build("focal")
    loss.prepare(training)
    found, terms = loss(logits, targets)
    weights = torch.tensor([8 / 12, 2.0, 1.0, 1.0])
    assert (found.item(), terms) == (pytest.approx(focal_loss(logits, targets, weights, 2.0, 0.1).item()), {})
    plain = build("focal", weights="none", gamma=1, smoothing=0)
    assert not hasattr(plain, "prepare")
    assert plain(logits, targets)[0] == focal_loss(logits, targets, None, 1.0, 0.0)


def test_cross_entropy_is_torchs_for_mixed_targets_too():
    logits, classes = logits_and_classes()
    targets = 0.7 * one_hot(classes) + 0.3 * one_hot(classes.roll(1))
    loss, terms = build("cross-entropy")(logits, targets)
    assert (loss.item(), terms) == (pytest.approx(torch.nn.functional.cross_entropy(logits, targets).item()), {})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("focal", {"gamma": -1}, "loss focal: gamma must be at least 0, not -1"),
        ("focal", {"smoothing": 1.1}, r"loss focal: smoothing must be from 0 to 1, not 1\.1"),
        ("focal", {"weights": "even"}, "loss focal: weights is 'even'; write balanced or none"),
        ("ccc-quadrant", {"quadrant": -2}, "loss ccc-quadrant: quadrant must be at least 0, not -2"),
        ("ccc-quadrant", {"ccc": float("nan")}, "loss ccc-quadrant: ccc must be at least 0, not nan"),
    ],
)
def test_options_out_of_range_are_refused(name, options, message):
    with pytest.raises(UsageError, match=message):
        build(name, **options)
