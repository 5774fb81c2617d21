"""Statistics of layer inputs on real recordings, for calibration."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from sertool._types import Floats

#: Inputs of a layer that are used per clip, evenly over its length; and most columns of a layer. Layers with more
#: columns are skipped, because time and memory grow with the square of the columns.
POSITIONS, COLUMNS = 1024, 1024


@torch.no_grad()
def second_moments(module: nn.Module, clips: Sequence[Any]) -> dict[str, Floats]:
    """Return name of a weight -> mean of x xᵀ, float64 [columns, columns], over a layer's inputs x.

    All clips have equal weight. Covers linear layers and convolutions without groups; x of a convolution is the
    receptive field of one output, ordered as weight.flatten(1). ``module`` is called with each of ``clips`` in order.
    """
    sums: dict[str, Floats] = {}
    hooks = []
    for name, part in module.named_modules():
        if _supported(part):
            hooks.append(part.register_forward_pre_hook(partial(_add, sums, f"{name}.weight".removeprefix("."))))
    try:
        for clip in clips:
            module(clip)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: total / len(clips) for name, total in sums.items()}


def _supported(part: nn.Module) -> bool:
    if isinstance(part, nn.Linear):
        return part.in_features <= COLUMNS
    if not isinstance(part, nn.Conv1d | nn.Conv2d) or isinstance(part.padding, str):
        return False
    return part.groups == 1 and part.padding_mode == "zeros" and part.weight[0].numel() <= COLUMNS


def _add(sums: dict[str, Floats], name: str, part: Any, inputs: tuple[torch.Tensor, ...]) -> None:
    x = inputs[0]
    if isinstance(part, nn.Linear):
        x = x.reshape(-1, x.shape[-1])
    else:
        flat = (1,) * (2 - len(part.kernel_size)), (0,) * (2 - len(part.kernel_size))
        x = x.unsqueeze(2) if flat[0] else x  # one row, because unfold takes images only
        sizes = flat[0] + part.kernel_size, flat[0] + part.dilation, flat[1] + part.padding, flat[0] + part.stride
        x = F.unfold(x, *sizes)[0].T
    x = x[:: -(-len(x) // POSITIONS)].double()
    sums[name] = sums.get(name, 0) + (x.T @ x / len(x)).numpy()
