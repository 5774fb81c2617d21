"""Find speech in one recording."""

from os import PathLike

from sertool import audio
from sertool._types import Array
from sertool.errors import UsageError
from sertool.speech.detect import Detected, detect
from sertool.speech.segments import Parameters


def detect_speech(
    recording: str | PathLike[str] | Array,
    rate: float | None = None,
    parameters: Parameters | None = None,
    *,
    probabilities: bool = False,
) -> Detected:
    """Find speech in a file, or in samples [n] or [n, channels] with their ``rate`` in Hz.

    The result has ``times``, [(start, end)] in seconds, and ``segments``, the same in samples at 16 kHz; with
    ``probabilities`` also one probability of speech every 10 ms. Raises AudioError if the file cannot be read,
    UsageError for an array without a rate.
    """
    if isinstance(recording, str | PathLike):
        blocks = audio.blocks(recording)
    elif rate is None:
        raise UsageError("an array needs its rate: detect_speech(samples, rate)")
    else:
        blocks = iter([audio.mono(recording, rate)])
    return detect(blocks, parameters, probabilities=probabilities)
