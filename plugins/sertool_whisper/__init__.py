"""Whisper's encoder, frozen, under a head for emotion: the teacher of the small students, and `mobile`."""

from functools import partial
from pathlib import Path

from sertool import Model, hookimpl

RECIPES = tuple(sorted(Path(__file__).parent.glob("*.toml")))

#: Samples at 16 kHz: one frame, and the 30 s that Whisper has positions for.
SHORTEST, LONGEST = 400, 480_000


def build(**options):
    from .network import build

    return build(**options)


@hookimpl
def register_models(register):
    about = "weights = the folder of openai/whisper-tiny, -base or -small"
    register(
        Model(
            name="whisper",
            summary=f"the first layers of Whisper's encoder, frozen, and a head; {about}",
            build=build,
            outputs=("arousal", "dominance", "valence"),
            shortest=SHORTEST,
            longest=LONGEST,
            recipes=tuple(path for path in RECIPES if "emotion" not in path.stem),
            parts={"front end and convolutions": "encoder.conv1", "transformer layers": "encoder"},
        )
    )
    register(
        Model(
            name="whisper-emotion",
            summary=f"the same with four classes; {about}",
            build=partial(build, outputs=4),
            outputs=("angry", "happy", "neutral", "sad"),
            shortest=SHORTEST,
            longest=LONGEST,
            task="categorical",
            recipes=tuple(path for path in RECIPES if "emotion" in path.stem),
            parts={"front end and convolutions": "encoder.conv1", "transformer layers": "encoder"},
        )
    )
