"""Subtitles: SubRip (.srt) and WebVTT (.vtt)."""

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from sertool.errors import UsageError
from sertool.segments import Annotated, Segment, Table, seconds

from .texts import filled, text_of

#: A speaker at the beginning of a line, as whisperX and this format write it; "[Applause]" is none.
_SPEAKER = re.compile(r"\[(SPEAKER_\d+)\]:?\s+|\[([^\]\n]{1,40})\]:\s+")


#: Formatting in SubRip files: HTML's, and that of SubStation Alpha.
_FORMATTING = re.compile(r"</?(?:[ibus]|font)(?:\s[^>\n]*)?>|\{\\[^}\n]*\}", re.IGNORECASE)


class _Subtitles:
    """One numbered cue per row, by default "[speaker]: text [angry 0.81]", with what there is of them."""

    def __init__(self, stream: TextIO, table: Table) -> None:
        self._stream, self._table, self._number = stream, table, 0

    def write(self, recording: Annotated) -> None:
        rows = [row for row in recording.rows if row["start"] is not None]
        for row in sorted(rows, key=lambda row: row["start"]):
            self._number += 1
            times = f"{self._time(row['start'])} --> {self._time(max(row['start'], row['end']))}"
            self._stream.write(f"{self._number}\n{times}\n{self._text(row)}\n\n")

    def close(self) -> None:
        self._stream.flush()

    def _text(self, row: Mapping[str, Any]) -> str:
        if self._table.template is not None:
            return self._escape(self._table.text(row)) or " "
        text, label = row.get("text") or "", self._table.label_text(row)
        if text and not self._table.outputs:
            label = ""  # it is speech: the text says so
        said = f"{text} [{label}]" if text and label else text or (f"[{label}]" if label else "")
        # An empty line would end the cue.
        return self._spoken(_who(row), self._escape(re.sub(r"\n\s*\n+", "\n", said).strip())) or " "

    def _escape(self, text: str) -> str:
        return text

    def _spoken(self, who: str, text: str) -> str:
        return f"[{who}]: {text}" if who else text

    def _time(self, time: float) -> str:
        milliseconds = round(time * 1000)
        minutes, rest = divmod(milliseconds, 60_000)
        return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{self.POINT}{rest % 1000:03}"

    POINT = ","


class Srt(_Subtitles):
    """SubRip."""


class Vtt(_Subtitles):
    """WebVTT (W3C)."""

    POINT = "."

    def __init__(self, stream: TextIO, table: Table) -> None:
        super().__init__(stream, table)
        stream.write("WEBVTT\n\n")

    def _escape(self, text: str) -> str:
        return html.escape(text, quote=False)

    def _spoken(self, who: str, text: str) -> str:
        return f"<v {self._escape(who)}>{text}" if who else text


def _who(row: Mapping[str, Any]) -> str:
    """Return who speaks in a row, or on which channel."""
    if row.get("speaker"):
        return " ".join(str(row["speaker"]).split())
    places = [f"{name} {row[name]}" for name in ("track", "channel") if isinstance(row.get(name), int)]
    return " ".join(places)


def read_srt(path: Path) -> list[Segment]:
    """Read SubRip subtitles; the text becomes a column, "[SPEAKER_01]: " before it the speaker. Raises UsageError."""
    import srt

    try:
        cues = list(srt.parse(text_of(path)))
    except (srt.SRTParseError, srt.TimestampParseError, ValueError, OverflowError) as error:
        raise UsageError(f"{path}: not SRT subtitles ({' '.join(str(error).split())[:100]})") from None
    return [
        _segment(cue.start.total_seconds(), cue.end.total_seconds(), _FORMATTING.sub("", cue.content)) for cue in cues
    ]


def read_vtt(path: Path) -> list[Segment]:
    """Read WebVTT subtitles; <v NAME> becomes the speaker. Raises UsageError."""
    import webvtt

    try:
        captions = webvtt.from_string(text_of(path)).captions
        return [
            _segment(seconds(cue.start), seconds(cue.end), html.unescape(cue.text), cue.voice or "") for cue in captions
        ]
    except (webvtt.errors.MalformedFileError, webvtt.errors.MalformedCaptionError, ValueError) as error:
        raise UsageError(f"{path}: not WebVTT subtitles ({' '.join(str(error).split())[:100]})") from None


def _segment(start: float, end: float, text: str, speaker: str = "") -> Segment:
    text = text.strip()
    match = _SPEAKER.match(text)
    if match and not speaker:
        speaker, text = match[1] or match[2], text[match.end() :]
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return Segment(start, end, filled({"speaker": speaker, "text": "\n".join(line for line in lines if line)}))
