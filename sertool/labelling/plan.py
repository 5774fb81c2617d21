"""What a row of the label table is: a file, a window, a segment, a speaker or a channel."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sertool._types import Samples
from sertool.errors import UsageError
from sertool.options import named_options
from sertool.recordings.places import Choice
from sertool.segments import Segment
from sertool.segments.given import Given

#: What a row can be.
BY = ("file", "window", "segment", "speaker", "channel", "speech-window")
#: What to do with segments that are shorter than the model takes.
SHORT = ("repeat", "error")


@dataclass(frozen=True)
class Plan:
    """What `label_all` makes a row of.

    ``by``: "file"; "window", every hop of the recording; "speech-window", windows of speech only, which may span
    pauses; "segment", each given segment, or each that the ``segmenter`` finds; "speaker", the mean over a speaker's
    segments; "channel", like "file" for each channel. ``channel`` and ``track`` choose what is labelled. ``segmenter``
    is a registered name with options, NAME:key=value. ``short`` segments are repeated to the model's shortest input or
    get an error. Raises UsageError for what does not go together.
    """

    by: str = "file"
    channel: Choice = None
    track: Choice = None
    segments: Given | None = None
    segmenter: str | None = None
    short: str = "repeat"

    def __post_init__(self) -> None:
        if self.by not in BY:
            raise UsageError(f"by must be one of {', '.join(BY)}, not {self.by!r}")
        if self.short not in SHORT:
            raise UsageError(f"short must be {' or '.join(SHORT)}, not {self.short!r}")
        for name, choice in (("channel", self.channel), ("track", self.track)):
            if not (choice is None or choice == "each" or (type(choice) is int and choice >= 1)):
                raise UsageError(f'{name} must be a number from 1, "each" or None, not {choice!r}')
        if self.by == "channel":
            if self.channel not in (None, "each"):
                raise UsageError(f"rows by channel are of each channel, not of channel {self.channel}")
            object.__setattr__(self, "channel", "each")
        if self.segments and self.segmenter:
            raise UsageError("segments are given: a segmenter has nothing to do")
        if (self.segments or self.segmenter) and self.by in ("window", "speech-window"):
            raise UsageError(f"with segments, a row is a segment, a speaker, a channel or a file, not a {self.by}")
        if self.by == "speaker" and not (self._names_speakers or self.channel == "each"):
            raise UsageError(
                "rows by speaker need speakers: segments with a column speaker, a segmenter that finds speakers, or "
                "a channel for each speaker"
            )

    @property
    def by_segment(self) -> bool:
        """Whether segments, given or found, are labelled, whatever is averaged afterwards."""
        return bool(self.segments or self.segmenter) or self.by == "segment"

    @property
    def places(self) -> list[str]:
        """The columns that say where a row comes from."""
        each = [name for name, choice in (("track", self.track), ("channel", self.channel)) if choice == "each"]
        return [*each, *(["speaker"] if self.by == "speaker" else [])]

    @property
    def given(self) -> list[str]:
        """The columns of given or found segments that rows by segment have."""
        if self.by != "segment":
            return []
        if self.segments is None:
            return ["speaker"] if self.segmenter else []
        # A column that tells the channels apart is not repeated.
        return [name for name in self.segments.columns if not (name == "channel" and self.channel == "each")]

    @property
    def marks(self) -> list[str]:
        """The columns after the seconds of speech."""
        return ["repeats"] if self.by_segment and self.by == "segment" else []

    @cached_property
    def find(self) -> Callable[[Iterable[Samples]], Iterable[Segment]]:
        """The segmenter. Raises UsageError."""
        from sertool.plugins import load_plugins  # its import alone takes 50 ms

        name, options = named_options(self.segmenter or "vad")
        segment: Callable[[Iterable[Samples]], Iterable[Segment]] = (
            load_plugins().get("segmenters", name).build(**options)
        )
        return segment

    @property
    def _names_speakers(self) -> bool:
        return bool(self.segmenter) or bool(self.segments and "speaker" in self.segments.columns)

    def described(self) -> dict[str, Any]:
        """Return the settings that must be equal for a run to be resumed."""
        return {
            "by": self.by,
            "channel": self.channel,
            "track": self.track,
            "segmenter": self.segmenter,
            "short": self.short,
        }
