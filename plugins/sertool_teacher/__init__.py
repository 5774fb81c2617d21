"""Teachers: ensembles of arbitrary members, and the networks they consist of."""

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sertool import Model, hookimpl
from sertool.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from .ensemble import Ensemble
    from .resnet import ResNet

DIMENSIONS = ("arousal", "dominance", "valence")
CLASSES = ("angry", "happy", "neutral", "sad")


def _published(millions: float, macs: float, megabytes: float, ms: float, **network: str) -> dict[str, Any]:
    """Return a row of the paper's Table I, for 5 s: operations in G, memory in MB, time in ms."""
    table = {"parameters": millions * 1e6, "macs": macs * 1e9}
    measured = table | {"added_bytes": megabytes * 1e6, "seconds": ms / 1e3}
    return {"source": "arXiv 2408.13920, Table I", "figures": {"fp32": measured, "int8": table}, **network}


def _encoder(name: str) -> dict[str, str]:
    """Return the parts shown in arXiv 2408.13920, Fig. 5."""
    return {"feature extractor": f"{name}.feature_extractor", "transformer layers": name}


def build_resnet(**options: Any) -> "ResNet":
    from .resnet import ResNet

    return ResNet(**options)


def build_with_transformers(name: str, **options: Any) -> "nn.Module":
    """Build wavlm or dawn. Raises UsageError if transformers is not installed or cannot be imported."""
    try:
        from sertool.nn.torchvision import declare_operators

        declare_operators()
        module = importlib.import_module(f".{name}", __name__)
    except ImportError as error:
        if error.name == "torch":
            raise
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{name} needs transformers: pip install 'sertool[hubert]' ({reason})") from None
    network: nn.Module = module.build(**options)
    return network


def build_teacher(**options: Any) -> "Ensemble":
    from .ensemble import Ensemble

    return Ensemble(**options)


@hookimpl
def register_models(register: Callable[[Model], None]) -> None:
    register(
        Model(
            name="resnet",
            summary="a residual network on a fine LogMel: 1.1 M parameters, trained on labels; a teacher's member",
            build=build_resnet,
            outputs=DIMENSIONS,
            shortest=257,
            recipes=(Path(__file__).with_name("resnet.toml"),),
        )
    )
    register(
        Model(
            name="resnet-emotion",
            summary="the same network with four classes",
            build=functools.partial(build_resnet, outputs=len(CLASSES)),
            outputs=CLASSES,
            shortest=257,
            task="categorical",
            recipes=(Path(__file__).with_name("resnet-emotion.toml"),),
        )
    )
    register(
        Model(
            name="wavlm",
            summary="WavLM-large with the Odyssey 2024 baseline's head: 318.6 M, frozen; weights = its folder",
            build=functools.partial(build_with_transformers, "wavlm"),
            outputs=DIMENSIONS,
            shortest=400,
            published=_published(318.6, 95, 1284, 688),
            parts=_encoder("ssl_model"),
        )
    )
    register(
        Model(
            name="dawn",
            summary="12 layers of wav2vec2-large-robust tuned on MSP-Podcast: 165.3 M, frozen; weights = its folder",
            build=functools.partial(build_with_transformers, "dawn"),
            outputs=DIMENSIONS,
            shortest=400,
            published=_published(165.3, 55, 697, 372),
            parts=_encoder("wav2vec2"),
        )
    )
    register(
        Model(
            name="teacher",
            summary="the mean of its members: registered models, bundles and runs of sertool train; frozen",
            build=functools.partial(build_teacher, names=DIMENSIONS),
            outputs=DIMENSIONS,
            shortest=400,
            published=_published(483.9, 149, 1929, 1089, network='teacher:members=[{model="wavlm"},{model="dawn"}]'),
        )
    )
    register(
        Model(
            name="teacher-emotion",
            summary="the same for four classes: the mean of the members' probabilities",
            build=functools.partial(build_teacher, names=CLASSES),
            outputs=CLASSES,
            shortest=400,
            task="categorical",
        )
    )
