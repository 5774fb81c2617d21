"""The augmentations of Wav2Small's distillation (arXiv 2408.13920): mixing, rotation, frequency removal, shouting."""

from collections.abc import Callable
from typing import Any

from sertool import Augmentation, hookimpl


def _lazily(module: str, name: str) -> Callable[..., Any]:
    def build(**options: Any) -> Any:
        from importlib import import_module

        return getattr(import_module(f".{module}", __name__), name)(**options)

    return build


@hookimpl
def register_augmentations(register: Callable[[Augmentation], None]) -> None:
    mixup = "other audio mixed in: sounds, speech, ambience (folders), first, second (factors)"
    drop = "random frequency bands removed at constant energy: bands, width (Hz)"
    shout = "speech made to sound shouted: pitch, stretch ([low, high] factors), tilt ([low, high] dB per octave)"
    register(Augmentation("mixup", mixup, _lazily("changes", "Mixup")))
    register(Augmentation("rotate", "a random cyclic rotation in time: no options", _lazily("changes", "Rotate")))
    register(Augmentation("drop-frequencies", drop, _lazily("changes", "DropFrequencies")))
    register(Augmentation("shout", shout, _lazily("shout", "Shout")))
