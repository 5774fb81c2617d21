"""Speakers by a pipeline of pyannote.audio."""

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from sertool._types import Samples
from sertool.errors import AudioError, UsageError
from sertool.segments import Segment


def build(folder: str = "", **options: Any) -> Callable[[Iterable[Samples]], list[Segment]]:
    """Load a pipeline from a local folder with config.yaml, or from that file; nothing is downloaded.

    ``options``, such as num_speakers, min_speakers and max_speakers, are passed to the pipeline. The whole recording
    is held in memory (3.8 MB a minute), and one recording is diarised at a time. Raises UsageError.
    """
    if not folder:
        raise UsageError("segmenter pyannote: name a local pipeline: pyannote:folder=FOLDER")
    path = Path(folder)
    config = path / "config.yaml" if path.is_dir() else path
    if not config.is_file():
        raise UsageError(f"segmenter pyannote: there is no {config}")
    try:
        import torch
        from pyannote.audio import Pipeline
    except ImportError:
        raise UsageError("segmenter pyannote needs pyannote.audio: pip install pyannote.audio") from None
    try:
        pipeline = Pipeline.from_pretrained(config)
    except Exception as error:  # whatever a configuration leads to
        raise UsageError(f"segmenter pyannote: {config}: {' '.join(str(error).split())}") from None
    if pipeline is None:
        raise UsageError(f"segmenter pyannote: {config}: the pipeline refers to models that are not on this computer")
    lock = threading.Lock()

    def segment(blocks: Iterable[Samples]) -> list[Segment]:
        samples = np.concatenate([np.zeros(0, np.float32), *blocks])
        with lock:
            try:
                result = pipeline({"waveform": torch.from_numpy(samples)[None], "sample_rate": 16_000}, **options)
            except Exception as error:  # one recording must not end the run
                raise AudioError(f"pyannote: {' '.join(str(error).split())}") from error
        # Version 4 returns an object with several results, version 3 the annotation.
        annotation = getattr(result, "speaker_diarization", result)
        return [
            Segment(turn.start, turn.end, {"speaker": str(speaker)})
            for turn, _, speaker in annotation.itertracks(yield_label=True)
        ]

    return segment
