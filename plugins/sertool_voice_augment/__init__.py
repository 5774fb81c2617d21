"""What the mobile DistilHuBERT is trained with beside `gain` (arXiv 2512.23435): white noise, pitch, polarity."""

from sertool import Augmentation, hookimpl


def _lazily(name):
    def build(**options):
        from . import changes

        return getattr(changes, name)(**options)

    return build


@hookimpl
def register_augmentations(register):
    noise = "white noise at a random level: low, high (standard deviation; full scale is 1)"
    register(Augmentation("gaussian-noise", noise, _lazily("GaussianNoise")))
    register(Augmentation("pitch", "higher or lower at the same speed: low, high (semitones)", _lazily("Pitch")))
    register(Augmentation("polarity", "every sample times -1: no options", _lazily("Polarity")))
