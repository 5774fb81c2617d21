"""Checks of a loss."""

from typing import Any

import torch
from torch import Tensor

from sertool.plugins import load_plugins
from sertool.tasks import TASKS
from sertool.testing.faults import doing, require

#: Sizes of a batch to check, and outputs of the model.
BATCHES, OUTPUTS = (1, 2, 7, 64), (1, 3, 4)
#: Columns of log.csv that a term cannot have the name of.
TAKEN = ("loss", "lr", "step", "seconds")


def check(name: str, options: dict[str, Any]) -> None:
    """Check a loss; see `sertool.testing.check_loss`."""
    chosen, where = load_plugins().get("losses", name), f"loss {name!r}"
    has_classes = TASKS[chosen.task].has_classes
    seen: set[tuple[str, ...]] = set()
    for k in OUTPUTS[has_classes:]:
        with doing(where, f"build({', '.join(f'{key}={value!r}' for key, value in options.items())})"):
            loss = chosen.build(**options)
        require(callable(loss), where, f"build returns {type(loss).__name__}, not a function of outputs and targets")
        if hasattr(loss, "prepare"):
            with doing(where, f"prepare with the targets of 64 clips, {k} outputs,"):
                loss.prepare(_targets(64, k, has_classes).numpy())
        for n in BATCHES:
            targets = _targets(n, k, has_classes)
            noise = torch.randn(n, k, generator=torch.Generator().manual_seed(n))
            for what, outputs in (("random", noise), ("constant", torch.full((n, k), 0.5)), ("large", 300 * noise)):
                seen.add(_check_call(loss, outputs, targets, f"{where}: {what} outputs [{n}, {k}]"))
        require(len(seen) == 1, where, f"its terms have other names in other calls: {sorted(seen)}")
        _check_order(loss, _targets(64, k, has_classes), has_classes, where)


def _targets(n: int, k: int, has_classes: bool) -> Tensor:
    """Return targets [n, k]: numbers from 0 to 1, or shares of classes, of which each occurs if n is large."""
    numbers = torch.rand(n, k, generator=torch.Generator().manual_seed(0))
    if not has_classes:
        return numbers
    hard = torch.nn.functional.one_hot(torch.arange(n) % k, k).float()
    mixed = (torch.arange(n) % 3 == 2)[:, None]  # as from a teacher
    return torch.where(mixed, (hard + numbers) / (hard + numbers).sum(dim=1, keepdim=True), hard)


def _check_call(loss: Any, outputs: Tensor, targets: Tensor, where: str) -> tuple[str, ...]:
    """Call a loss twice and check what it returns; return the names of its terms."""
    given = outputs.clone().requires_grad_()
    before = targets.clone()
    with doing(where, "the loss"):
        result = loss(given, targets)
        again = loss(outputs.clone(), targets)
    pair = isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)
    require(pair, where, f"returns {type(result).__name__}, not the loss and a dict of its terms")
    value, terms = result
    for what, scalar in {"the loss": value, **{f"term {key!r}": term for key, term in terms.items()}}.items():
        require(isinstance(scalar, Tensor), where, f"{what} is {type(scalar).__name__}, not a tensor")
        require(scalar.ndim == 0, where, f"{what} has shape {list(scalar.shape)}, not []: take the mean")
        require(bool(scalar.isfinite()), where, f"{what} is {float(scalar.detach())}")
    taken = [key for key in terms if not isinstance(key, str) or key in TAKEN]
    require(not taken, where, f"a term cannot be called {taken[0] if taken else ''!r}")
    require(value.requires_grad, where, "the loss has no gradient")
    with doing(where, "its gradient"):
        (gradient,) = torch.autograd.grad(value, given, allow_unused=True)
    require(gradient is not None, where, "the loss does not depend on the outputs")
    require(bool(gradient.isfinite().all()), where, "its gradient is not finite")
    require(torch.equal(given.detach(), outputs) and torch.equal(targets, before), where, "changes its arguments")
    require(float(value.detach()) == float(again[0]), where, "a second call gives another loss: keep no state")
    return tuple(terms)


def _check_order(loss: Any, targets: Tensor, has_classes: bool, where: str) -> None:
    """Check that right outputs cost less than wrong ones."""
    right = 10 * targets if has_classes else targets
    wrong = right.roll(1, dims=1) if has_classes else 1 - targets
    with torch.no_grad():
        costs = [float(loss(outputs, targets)[0]) for outputs in (right, wrong)]
    require(costs[0] < costs[1], where, f"right outputs cost {costs[0]:.3g}, wrong ones {costs[1]:.3g}")
