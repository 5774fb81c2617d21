"""DistilHuBERT with four emotion classes (arXiv 2512.23435)."""

from pathlib import Path

from sertool import Model, hookimpl
from sertool.errors import UsageError


def build(**options):
    """The network; UsageError if transformers is not installed, or not in working order."""
    try:
        from .network import build
    except ImportError as error:
        if error.name == "torch":
            raise
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"distilhubert needs transformers: pip install 'sertool[hubert]' ({reason})") from None
    return build(**options)


@hookimpl
def register_models(register):
    register(
        Model(
            name="distilhubert",
            summary="DistilHuBERT and four classes: 23.5 M parameters; weights = the folder of ntu-spml/distilhubert",
            build=build,
            outputs=("angry", "happy", "neutral", "sad"),
            task="categorical",
            shortest=400,
            recipes=tuple(sorted(Path(__file__).parent.glob("*.toml"))),
            published={"source": "arXiv 2512.23435", "figures": {"int8": {"bytes": 23e6}}},
            parts={"feature extractor": "hubert.feature_extractor", "transformer layers": "hubert"},
        )
    )
