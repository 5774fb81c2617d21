"""What Wav2Small's distillation does to its audio (arXiv 2408.13920): mixing, rotation, lost frequencies, shouting."""

from sertool import Augmentation, hookimpl


def _lazily(module, name):
    def build(**options):
        from importlib import import_module

        return getattr(import_module(f".{module}", __name__), name)(**options)

    return build


@hookimpl
def register_augmentations(register):
    mixup = "other sound underneath: sounds, speech, ambience (folders), first, second (factors)"
    drop = "random bands taken out, their energy given to the rest: bands, width (Hz)"
    shout = "as if shouted: pitch, stretch ([low, high] factors), tilt ([low, high] dB per octave)"
    register(Augmentation("mixup", mixup, _lazily("changes", "Mixup")))
    register(Augmentation("rotate", "a random cyclic rotation in time: no options", _lazily("changes", "Rotate")))
    register(Augmentation("drop-frequencies", drop, _lazily("changes", "DropFrequencies")))
    register(Augmentation("shout", shout, _lazily("shout", "Shout")))
