"""What the layers of a network get to see of real recordings."""

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

#: Inputs of a layer that are looked at in one clip, evenly over its length; and of more columns than these, none: time
#: and memory grow with their square.
POSITIONS, COLUMNS = 1024, 1024


@torch.no_grad()
def second_moments(module: nn.Module, clips) -> dict[str, np.ndarray]:
    """Name of a weight -> mean of x xᵀ, float64 [columns, columns], over a layer's inputs x, every clip counting alike.

    Of linear layers and of convolutions without groups, whose x is what one output sees, in the order of
    weight.flatten(1). ``module`` is called with each of ``clips``, in their order.
    """
    sums, hooks = {}, []
    for name, part in module.named_modules():
        if _known(part):
            hooks.append(part.register_forward_pre_hook(partial(_add, sums, f"{name}.weight".removeprefix("."))))
    try:
        for clip in clips:
            module(clip)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: total / len(clips) for name, total in sums.items()}


def _known(part: nn.Module) -> bool:
    if isinstance(part, nn.Linear):
        return part.in_features <= COLUMNS
    simple = isinstance(part, nn.Conv1d | nn.Conv2d) and part.groups == 1 and part.padding_mode == "zeros"
    return simple and not isinstance(part.padding, str) and part.weight[0].numel() <= COLUMNS


def _add(sums: dict, name: str, part: nn.Module, inputs) -> None:
    x = inputs[0]
    if isinstance(part, nn.Linear):
        x = x.reshape(-1, x.shape[-1])
    else:
        flat = (1,) * (2 - len(part.kernel_size)), (0,) * (2 - len(part.kernel_size))
        x = x.unsqueeze(2) if flat[0] else x  # one row, as unfold knows images alone
        sizes = flat[0] + part.kernel_size, flat[0] + part.dilation, flat[1] + part.padding, flat[0] + part.stride
        x = F.unfold(x, *sizes)[0].T
    x = x[:: -(-len(x) // POSITIONS)].double()
    sums[name] = sums.get(name, 0) + (x.T @ x / len(x)).numpy()
