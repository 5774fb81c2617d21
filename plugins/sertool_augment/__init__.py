"""Common augmentations: level, noise, room, speed, frequency response, codec."""

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
    register(Augmentation("gain", "a random level: low, high (dB)", _lazily("Gain")))
    register(Augmentation("noise", "added recorded noise: folder, low, high (dB SNR)", _lazily("Noise")))
    register(Augmentation("room", "convolution with a room's or telephone's impulse response: folder", _lazily("Room")))
    register(Augmentation("speed", "a random speed, pitch changes with it: low, high (factor)", _lazily("Speed")))
    register(Augmentation("equaliser", "a random smooth frequency response: bands, range (dB)", _lazily("Equaliser")))
    register(Augmentation("band", "a low-pass filter at a random frequency: low, high (Hz)", _lazily("Band")))
    register(
        Augmentation(
            "codec", "a round trip through a lossy codec: kinds (ulaw, gsm, mp3, vorbis, opus)", _lazily("Codec")
        )
    )
