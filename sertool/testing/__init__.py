"""Conformance checks for the tests of plugins, for pytest or any other runner.

    from sertool.testing import check_model

    def test_it_is_a_model_for_sertool():
        check_model("wav2small", formats=("onnx", "onnx-int8"))

Each takes a registered name, and the options of the registered object as in a recipe. Faults raise an AssertionError of
one line; an unknown name raises the UsageError that a user would get.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sertool.testing.clips import write_clips

__all__ = [
    "check_augmentation",
    "check_corpus",
    "check_decoder",
    "check_exporter",
    "check_format",
    "check_light",
    "check_loss",
    "check_model",
    "check_segmenter",
    "write_clips",
]


def check_model(name: str, formats: Sequence[str] = ("onnx",), **options: Any) -> None:
    """Build a registered model with random weights and check what training, export and labelling rely on.

    Outputs are [batch, len(outputs)] and finite for any length from ``shortest`` samples; fewer samples raise an error.
    A clip's outputs are equal alone and in a batch, and on every call in eval mode; models of classes return logits.
    Gradients reach all trainable parameters. Weights can be saved and loaded into a network built without its option
    ``weights``. Each of ``formats``, NAME[:key=value,...] as for `sertool export`, agrees with torch within the
    exporter's tolerance. The model's recipes can be loaded and refer to the model.
    """
    from sertool.testing.models import check

    check(name, formats, options)


def check_augmentation(name: str, random: bool = True, **options: Any) -> None:
    """Apply a registered augmentation to clips of many lengths, to silence and to full-scale audio.

    It returns new float32 samples, at least one, all finite. The result depends only on the generator's state; the
    global generators of `random` and `numpy.random` are not used. The input is not modified. Other draws give other
    samples (unless ``random`` is False). A pickled copy, as in worker processes, behaves identically.
    """
    from sertool.testing.augmentations import check

    check(name, random, options)


def check_exporter(
    name: str, inputs: Sequence[str] = ("waveform", "logmel"), models: Sequence[str] = (), **options: Any
) -> None:
    """Export networks of sertool's building blocks, one per LogMel geometry, for ``inputs`` in turn.

    For an exporter that supports some networks only, give registered ``models`` instead, each NAME[:key=value,...]; it
    must reject the building blocks with a SertoolError of one line. All networks have random weights.
    Exporting twice gives the same bytes and does not modify the network; the file's metadata can be read back; its
    outputs agree with torch within the exporter's tolerance at odd lengths; a network that cannot be exported raises a
    SertoolError of one line and leaves no file.
    """
    from sertool.testing.exporters import check

    check(name, inputs, models, options)


def check_corpus(name: str, folder: Path | str) -> None:
    """Read ``folder``, a corpus in the registered layout, which may be a small excerpt.

    Rows are equal on every read, one per existing file, with corpus and speaker. Ratings are from 0 to 1; there are
    ratings, or an emotion that sertool knows. No speaker is in two splits or sessions. A folder with another layout and
    a missing folder raise a SertoolError of one line.
    """
    from sertool.testing.corpora import check

    check(name, folder)


def check_format(name: str, folder: Path | str, **options: Any) -> None:
    """Write and read files of a registered format in an empty ``folder``, with awkward names and texts.

    The same rows give the same text, which is UTF-8; a recording that failed, one without segments and no recording at
    all can be written; the stream stays open. Times that it reads are those that it wrote, to a millisecond; columns
    are text. A broken and a missing file raise a SertoolError of one line.
    """
    from sertool.testing.formats import check

    check(name, Path(folder), options)


def check_segmenter(name: str, **options: Any) -> None:
    """Run a registered segmenter on sound, silence, one sample and none.

    Segments lie within the recording and have a length; they do not depend on how the recording is split into blocks.
    """
    from sertool.testing.segmenters import check

    check(name, options)


def check_loss(name: str, **options: Any) -> None:
    """Call a registered loss on batches of 1 to 64 clips, with random, constant and large outputs.

    It returns a scalar with a finite gradient and a dict of scalar terms, whose names are always the same. A second
    call gives the same loss; the arguments are not modified. Right outputs cost less than wrong ones. ``prepare``, if
    there is one, accepts the targets of all clips.
    """
    from sertool.testing.losses import check

    check(name, options)


def check_decoder(name: str, file: Path | str) -> None:
    """Decode ``file``, a sound recording of a registered format, shorter than an hour.

    Its extension is registered and its first bytes are recognised, those of other formats are not. Every read gives
    the same blocks, of at most a minute each, with finite samples around full scale 1, also in several threads. sertool
    reads the file, under another name too, to its full length. A truncated file gives fewer samples or raises an
    AudioError of one line. The file is not modified.
    """
    from sertool.testing.decoders import check

    check(name, file)


def check_light(package: str) -> None:
    """Import a plugin's package in a new process and call its hooks: this must not import heavy libraries."""
    from sertool.testing.light import check

    check(package)
