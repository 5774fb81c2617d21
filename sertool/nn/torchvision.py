"""Let libraries import torchvision where its compiled half does not fit this torch."""

import functools


@functools.cache
def declare_operators():
    """What timm and transformers import is usable afterwards, whichever torchvision is installed.

    They import torchvision, which comes from the package index built for CUDA; beside a torch for the CPU its compiled
    half does not load ("operator torchvision::nms does not exist"), and neither do they. The models here need none of
    its operators: those that its other half asks for are declared without an implementation.
    """
    import torch

    try:
        import torchvision  # noqa: F401
    except ImportError:
        return None
    except RuntimeError:
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        return operators  # cached, as they are declared for as long as it lives
