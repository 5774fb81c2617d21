"""Make torchvision importable when its compiled part does not match the installed torch."""

import functools
from typing import Any


@functools.cache
def declare_operators() -> Any:
    """Make timm and transformers importable with any installed torchvision.

    They import torchvision, whose builds on the package index are for CUDA. With a CPU build of torch its compiled part
    does not load ("operator torchvision::nms does not exist"), and the import fails. The models here need none of its
    operators, so those that its Python part requires are declared without an implementation.
    """
    import torch

    try:
        import torchvision  # noqa: F401
    except ImportError:
        return None
    except RuntimeError:
        operators: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]  # untyped in torch
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        return operators  # cached: the declarations last as long as this object
