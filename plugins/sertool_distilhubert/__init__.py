"""DistilHuBERT with four emotion classes (arXiv 2512.23435)."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sertool import Model, hookimpl
from sertool.errors import UsageError

if TYPE_CHECKING:
    from .network import Classifier


def build(kind: str, **options: Any) -> "Classifier":
    """Build the network. Raises UsageError if transformers is not installed or cannot be imported."""
    try:
        from sertool.nn.torchvision import declare_operators

        declare_operators()
        from .network import build
    except ImportError as error:
        if error.name == "torch":
            raise
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{kind} needs transformers: pip install 'sertool[hubert]' ({reason})") from None
    return build(kind=kind, **options)


def _recipes(prefix: str) -> tuple[Path, ...]:
    return tuple(sorted(Path(__file__).parent.glob(f"{prefix}*.toml")))


PARTS = {"feature extractor": "transformer.feature_extractor", "transformer layers": "transformer"}


@hookimpl
def register_models(register: Callable[[Model], None]) -> None:
    register(
        Model(
            name="distilhubert",
            summary="DistilHuBERT with four classes: 23.5 M parameters; weights = the folder of ntu-spml/distilhubert",
            build=partial(build, "distilhubert"),
            outputs=("angry", "happy", "neutral", "sad"),
            task="categorical",
            shortest=400,
            recipes=_recipes("distilhubert"),
            published={"source": "arXiv 2512.23435", "figures": {"int8": {"bytes": 23e6}}},
            parts=PARTS,
        )
    )
    register(
        Model(
            name="wav2vec2-base",
            summary="Wav2Vec 2.0 base with four classes: 94.4 M parameters; weights = facebook/wav2vec2-base's folder",
            build=partial(build, "wav2vec2-base"),
            outputs=("angry", "happy", "neutral", "sad"),
            task="categorical",
            shortest=400,
            recipes=_recipes("wav2vec2"),
            published={"source": "arXiv 2512.23435", "figures": {"fp32": {"bytes": 318e6}}},
            parts=PARTS,
        )
    )
