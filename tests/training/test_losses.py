"""The losses against audmetric, by their gradients and by hand."""

import audmetric
import pytest
import torch

from sertool.training.losses import ccc, ccc_loss, quadrant_correction


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
