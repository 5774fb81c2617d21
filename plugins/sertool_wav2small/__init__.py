"""Wav2Small, the 72 K parameter student of arXiv 2408.13920."""

from pathlib import Path

from sertool import Model, hookimpl


def build(**options):
    from .network import Wav2Small

    return Wav2Small(**options)


@hookimpl
def register_models(register):
    register(
        Model(
            name="wav2small",
            summary="Wav2Small (arXiv 2408.13920): 72 K parameters, LogMel inside",
            build=build,
            outputs=("arousal", "dominance", "valence"),
            shortest=33,
            recipes=tuple(sorted(Path(__file__).parent.glob("*.toml"))),
        )
    )
