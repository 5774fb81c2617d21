"""Everyday changes of a recording: level, noise, room, speed, colour."""

from sertool import Augmentation, hookimpl


def _lazily(name):
    def build(**options):
        from . import changes

        return getattr(changes, name)(**options)

    return build


@hookimpl
def register_augmentations(register):
    register(Augmentation("gain", "a random level: low, high (dB)", _lazily("Gain")))
    register(Augmentation("noise", "recorded noise underneath: folder, low, high (dB SNR)", _lazily("Noise")))
    register(Augmentation("room", "a room's or telephone's impulse response: folder", _lazily("Room")))
    register(Augmentation("speed", "faster or slower, pitch with it: low, high (factor)", _lazily("Speed")))
    register(Augmentation("equaliser", "a random smooth frequency response: bands, range (dB)", _lazily("Equaliser")))
    register(Augmentation("band", "nothing above a random frequency: low, high (Hz)", _lazily("Band")))
    register(
        Augmentation("codec", "through a lossy codec and back: kinds (ulaw, gsm, mp3, vorbis, opus)", _lazily("Codec"))
    )
