"""Which channels and tracks of a recording are processed."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from sertool import audio
from sertool.errors import AudioError
from sertool.recordings.recording import Recording

#: One audio channel or track, counted from 1; all of them; or, as None, the mean of the channels or the default track.
Choice: TypeAlias = int | Literal["each"] | None


@dataclass(frozen=True)
class Place:
    """A channel and a track of a recording; ``columns`` are those of the two that differ between rows."""

    channel: int | None
    track: int | None
    columns: dict[str, int]

    @property
    def text(self) -> str:
        """The place in words: "track 1 channel 2"."""
        return " ".join(f"{name} {number}" for name, number in self.columns.items())


def parts(recording: Recording, channel: Choice, track: Choice) -> list[Place]:
    """Return the parts of a recording that are processed by themselves. Raise AudioError if it cannot be opened."""
    if recording.error:
        raise AudioError(recording.error)
    layout, default = audio.layout(recording.path) if "each" in (track, channel) else ([1], 1)
    result = []
    for number in range(1, len(layout) + 1) if track == "each" else [track]:
        own = number or default
        channels = layout[own - 1] if own <= len(layout) else 1
        for one in range(1, channels + 1) if channel == "each" else [channel]:
            columns = {}
            if track == "each" and number:
                columns["track"] = number
            if channel == "each" and one:
                columns["channel"] = one
            result.append(Place(one, number, columns))
    return result
