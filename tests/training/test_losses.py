"""The CCC loss against audmetric and by its gradient."""

import audmetric
import pytest
import torch

from sertool.training.losses import ccc, ccc_loss


def test_ccc_is_audmetrics_per_column():
    generator = torch.Generator().manual_seed(0)
    output, target = torch.rand(32, 3, generator=generator), torch.rand(32, 3, generator=generator)
    expected = [audmetric.concordance_cc(target[:, i].numpy(), output[:, i].numpy()) for i in range(3)]
    assert ccc(output, target).tolist() == pytest.approx(expected, abs=1e-6)
    assert ccc_loss(target, target).item() == pytest.approx(0, abs=1e-6)


def test_gradient_is_right():
    generator = torch.Generator().manual_seed(0)
    output = torch.rand(8, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    target = torch.rand(8, 3, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda o: ccc_loss(o, target), output)


def test_a_batch_of_equal_values_has_a_finite_loss_and_gradient():
    output = torch.full((4, 3), 0.5, requires_grad=True)
    loss = ccc_loss(output, torch.full((4, 3), 0.5))
    loss.backward()
    assert loss.item() == 1
    assert torch.isfinite(output.grad).all()
