"""Wav2Small, the 72 K parameter student of arXiv 2408.13920."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sertool import Model, hookimpl

if TYPE_CHECKING:
    from .network import Transformer, Wav2Small

RECIPES = tuple(sorted(Path(__file__).parent.glob("*.toml")))


def build(**options: Any) -> "Wav2Small":
    from .network import Wav2Small

    return Wav2Small(**options)


def build_transformer(**options: Any) -> "Transformer":
    from .network import Transformer

    return Transformer(**options)


@hookimpl
def register_models(register: Callable[[Model], None]) -> None:
    register(
        Model(
            name="wav2small",
            summary="Wav2Small (arXiv 2408.13920): 72 K parameters, LogMel inside",
            build=build,
            outputs=("arousal", "dominance", "valence"),
            shortest=33,
            recipes=tuple(path for path in RECIPES if "emotion" not in path.stem),
            published={
                "source": "arXiv 2408.13920, abstract and Table I",
                "figures": {
                    "fp32": {"parameters": 72e3, "macs": 0.4e9, "added_bytes": 9e6, "seconds": 9e-3},
                    "int8": {"parameters": 72e3, "macs": 0.4e9, "bytes": 120e3},
                },
            },
        )
    )
    register(
        Model(
            name="wav2small-emotion",
            summary="Wav2Small with four classes instead of three dimensions",
            build=partial(build, outputs=4),
            outputs=("angry", "happy", "neutral", "sad"),
            shortest=33,
            task="categorical",
            recipes=tuple(path for path in RECIPES if "emotion" in path.stem),
        )
    )
    register(
        Model(
            name="wav2small-transformer",
            summary="transformer layers on Wav2Small's tokens instead of Wav2Vec2's convolutions: 1.9 M parameters",
            build=build_transformer,
            outputs=("arousal", "dominance", "valence"),
            shortest=33,
            longest=30 * 16_000,
            parts={"feature extractor": "extractor", "transformer layers": "layers"},
        )
    )
