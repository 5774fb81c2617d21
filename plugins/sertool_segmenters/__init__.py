"""Segmenters: sertool's detector of speech, and diarisation pipelines of pyannote.audio."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from sertool import Segmenter, hookimpl

if TYPE_CHECKING:
    from sertool._types import Samples
    from sertool.segments import Segment


def _vad(**options: Any) -> "Callable[[Iterable[Samples]], Iterable[Segment]]":
    from .vad import build

    return build(**options)


def _pyannote(**options: Any) -> "Callable[[Iterable[Samples]], Iterable[Segment]]":
    from .pyannote import build

    return build(**options)


@hookimpl
def register_segmenters(register: Callable[[Segmenter], None]) -> None:
    register(Segmenter("vad", "stretches of speech; options as of sertool vad: threshold, longest_speech_s, ...", _vad))
    register(
        Segmenter(
            "pyannote", "speakers by a local pipeline of pyannote.audio; options: folder, min_speakers, ...", _pyannote
        )
    )
