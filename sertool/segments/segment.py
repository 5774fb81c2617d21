"""Segments of recordings, as annotation files give them."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording, from ``start`` to ``end`` in seconds; an infinite end is the end of the recording.

    ``columns`` are further values as text, such as speaker, text or tier. ``file`` names the recording and ``channel``
    its channel, if the annotation does.
    """

    start: float
    end: float
    columns: Mapping[str, str] = field(default_factory=dict)
    file: str | None = None
    channel: str | None = None


_DAYS = re.compile(r"(?:(\d+) days? ?)?(?:\+?(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?))?")


def seconds(text: str) -> float:
    """Parse a time: seconds ("1.5"), [h:]mm:ss ("1:02:03.5"), or a timedelta of pandas ("0 days 00:00:01.500000").

    Raises ValueError if it is neither, or if it is not finite.
    """
    text = text.strip()
    try:
        value = float(text)
    except ValueError:
        match = _DAYS.fullmatch(text)
        if not text or not match:
            raise ValueError(f"{text!r} is not a time") from None
        days, hours, minutes, rest = (float((part or "0").replace(",", ".")) for part in match.groups())
        value = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a time")
    return value
