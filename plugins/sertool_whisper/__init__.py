"""Whisper's frozen encoder with an emotion head: the teacher of the small students, and the model `mobile`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sertool import Model, hookimpl

if TYPE_CHECKING:
    from .network import Whisper

RECIPES = tuple(sorted(Path(__file__).parent.glob("*.toml")))

#: Samples at 16 kHz: one frame, and 30 s, the length of Whisper's position table.
SHORTEST, LONGEST = 400, 480_000


def build(**options: Any) -> "Whisper":
    from .network import build

    return build(**options)


@hookimpl
def register_models(register: Callable[[Model], None]) -> None:
    about = "weights = the folder of openai/whisper-tiny, -base or -small"
    register(
        Model(
            name="whisper",
            summary=f"a head on the first layers of Whisper's frozen encoder; {about}",
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
            summary=f"the same network with four classes; {about}",
            build=partial(build, outputs=4),
            outputs=("angry", "happy", "neutral", "sad"),
            shortest=SHORTEST,
            longest=LONGEST,
            task="categorical",
            recipes=tuple(path for path in RECIPES if "emotion" in path.stem),
            parts={"front end and convolutions": "encoder.conv1", "transformer layers": "encoder"},
        )
    )
