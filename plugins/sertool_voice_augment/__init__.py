"""Augmentations of the mobile DistilHuBERT (arXiv 2512.23435) besides `gain`: white noise, pitch, polarity."""

from collections.abc import Callable
from typing import Any

from sertool import Augmentation, hookimpl


def _lazily(name: str) -> Callable[..., Any]:
    def build(**options: Any) -> Any:
        from . import changes

        return getattr(changes, name)(**options)

    return build


@hookimpl
def register_augmentations(register: Callable[[Augmentation], None]) -> None:
    noise = "white noise at a random level: low, high (standard deviation; full scale is 1)"
    register(Augmentation("gaussian-noise", noise, _lazily("GaussianNoise")))
    register(Augmentation("pitch", "a pitch shift at the same speed: low, high (semitones)", _lazily("Pitch")))
    register(Augmentation("polarity", "every sample multiplied by -1: no options", _lazily("Polarity")))
