"""Conformance checks for a plugin's own tests, under pytest or any other runner.

    from sertool.testing import check_model

    def test_it_is_a_model_for_sertool():
        check_model("wav2small", formats=("onnx", "onnx-int8"))

Each takes the name under which a thing is registered, and the thing's own options as a recipe gives them. What is wrong
is an AssertionError of one line; a name that nobody registered is the UsageError that a user would get.
"""

from sertool.testing.clips import write_clips

__all__ = ["check_augmentation", "check_corpus", "check_exporter", "check_light", "check_model", "write_clips"]


def check_model(name: str, formats=("onnx",), **options) -> None:
    """Build a registered model with random weights and hold it to what training, export and labelling rely on.

    Outputs are [batch, len(outputs)], finite, from ``shortest`` samples on at any length; fewer samples are an error; a
    clip has the same outputs alone and in a batch, and in eval mode each time; classes are logits. Gradients reach all
    that is to be trained. Weights go through a file into a network built without its option ``weights``. Each of
    ``formats``, NAME[:key=value,...] as `sertool export` takes them, agrees with torch within the exporter's tolerance.
    The model's recipes load, and name it.
    """
    from sertool.testing.models import check

    check(name, formats, options)


def check_augmentation(name: str, random: bool = True, **options) -> None:
    """Apply a registered augmentation to clips of many lengths, to silence and to full scale.

    It returns new float32 samples, one or more, finite; the generator's state decides everything, the global generators
    of `random` and `numpy.random` are neither used nor moved; its input stays as it was; other draws give other samples
    (unless it is not ``random``); a copy through pickle, as worker processes get it, does the same.
    """
    from sertool.testing.augmentations import check

    check(name, random, options)


def check_exporter(name: str, inputs=("waveform", "logmel"), models=(), **options) -> None:
    """Export networks of sertool's building blocks, of each LogMel, for ``inputs`` in turn.

    An exporter that is for some networks only is given registered ``models`` instead, each NAME[:key=value,...]; it
    must refuse those building blocks with a SertoolError of one line. Each has random weights.
    The same network gives the same bytes twice and stays as it was; the file's metadata reads back; its outputs agree
    with torch's within the exporter's tolerance at odd lengths; a network that cannot be exported is a SertoolError of
    one line and leaves no file.
    """
    from sertool.testing.exporters import check

    check(name, inputs, models, options)


def check_corpus(name: str, folder) -> None:
    """Read ``folder``, a corpus in the registered layout, maybe in miniature.

    Rows are the same each time, one a file that is there, with corpus and speaker; ratings are from 0 to 1; there are
    some, or some emotion is one that sertool knows; no speaker is in two splits or sessions. A folder of another
    layout, and one that is not there, is a SertoolError of one line.
    """
    from sertool.testing.corpora import check

    check(name, folder)


def check_light(package: str) -> None:
    """Import a plugin's package in a process of its own and call its hooks: no heavy library may come along."""
    from sertool.testing.light import check

    check(package)
