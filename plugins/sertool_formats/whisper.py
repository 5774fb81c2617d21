"""Transcripts of whisper, whisper.cpp, whisperX and faster-whisper."""

import json
import math
from pathlib import Path
from typing import Any

from sertool.errors import UsageError
from sertool.segments import Segment

from .texts import filled, text_of


def read(path: Path) -> list[Segment]:
    """Read the segments, with text and, where it is known, speaker. Raises UsageError."""
    try:
        content = json.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON ({error})") from None
    if isinstance(content, dict) and isinstance(content.get("transcription"), list):  # whisper.cpp
        entries, times = content["transcription"], _in_milliseconds
    else:
        entries = content.get("segments") if isinstance(content, dict) else content
        times = _in_seconds
    if not isinstance(entries, list):
        raise UsageError(f'{path}: there is no list "segments", as whisper writes it')
    segments = []
    for number, entry in enumerate(entries, start=1):
        try:
            start, end = times(entry)
            if not (math.isfinite(start) and math.isfinite(end)):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise UsageError(f"{path}: segment {number} has no start and end in seconds") from None
        columns = {"speaker": entry.get("speaker"), "text": " ".join(str(entry.get("text") or "").split())}
        segments.append(Segment(start, end, filled(columns)))
    return segments


def _in_seconds(entry: Any) -> tuple[float, float]:
    return float(entry["start"]), float(entry["end"])


def _in_milliseconds(entry: Any) -> tuple[float, float]:
    return float(entry["offsets"]["from"]) / 1000, float(entry["offsets"]["to"]) / 1000
