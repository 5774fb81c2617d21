"""Count the frames of an MP3 file to find its true length, and split concatenated recordings.

libsndfile takes the length of an MP3 from its Xing header or, without one, from the first frame's bit rate, and stops
there: of a variable-bit-rate recording without a header, or of concatenated files, it reads only a part and reports no
error. Header layout: ISO/IEC 11172-3 and 13818-3, section 2.4.2.3.
"""

import functools
import struct
from dataclasses import dataclass
from typing import TypeAlias

from sertool.audio.pieces import Piece, Window

_BIT_RATES = {  # kbit/s by (MPEG-1?, layer), index 1 to 14
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version bits
_SAMPLES = {(True, 1): 384, (True, 2): 1152, (True, 3): 1152, (False, 1): 384, (False, 2): 1152, (False, 3): 576}

#: Samples that may be missing at the end: an MP3 may end within a frame, and a decoder may drop one or two frames.
SLACK = 4 * 1152

#: (version, layer, rate, whether mono)
Kind: TypeAlias = tuple[int, int, int, bool]


@dataclass
class Recording:
    """Consecutive frames of one kind, at bytes ``start`` to ``end``: ``frames`` frames of ``samples`` samples each.

    ``headed`` says whether the first frame is a header, which ``frames`` does not count; ``told`` is the number of
    frames that the header gives, or None.
    """

    start: int
    end: int
    kind: Kind
    samples: int
    frames: int = 0
    told: int | None = None
    headed: bool = False

    @property
    def length(self) -> int:
        """Return samples per channel."""
        return self.frames * self.samples


def recordings(window: Window) -> list[Recording]:
    """Return the recordings of an MP3 file, skipping tags and garbage.

    A new one begins with a header, with another rate or number of channels, and after the number of frames that a
    header gives.
    """
    result: list[Recording] = []
    at = 0
    starts = [0, 0, 0]  # offsets of the last three frames
    while (frame := _next_frame(window, at)) is not None:
        at, (length, samples, kind) = frame
        head = window.get(at, 60)
        headed, told = _header(head, kind)
        last = result[-1] if result else None
        if last is None or headed or kind != last.kind:
            result.append(Recording(at, at, kind, samples, told=told, headed=headed))
        elif last.told and last.frames > last.told + 2:  # some headers count themselves: three extra frames are new
            last.frames, last.end = last.frames - 3, starts[0]
            result.append(Recording(starts[0], at, kind, samples, 3))
        result[-1].frames += not headed
        starts = [*starts[1:], at]
        at += length
        result[-1].end = at
    return [recording for recording in result if recording.frames]


def pieces(window: Window, promised: int, rate: int) -> list[Piece]:
    """Return the pieces of an MP3 file for which libsndfile reports ``promised`` samples at ``rate`` Hz."""
    parts = recordings(window)
    if len(parts) <= 1 and (not parts or parts[0].length <= promised * 1.01 + rate):
        reliable = not parts or parts[0].headed
        return [Piece(None, promised if reliable else min(promised, parts[0].length), slack=SLACK)]
    return [
        Piece(
            [(one.start, one.end)] if one.headed else [_xing_frame(window, one), (one.start, one.end)],
            slack=SLACK,
        )
        for one in parts
    ]


def _next_frame(window: Window, at: int) -> tuple[int, tuple[int, int, Kind]] | None:
    """Return (offset, frame as in ``_frame``) of the next frame after tags and garbage, or None."""
    head = window.get(at, 10)
    if frame := _frame(head):
        return at, frame
    at = _after_tag(head, at)
    if frame := _frame(window.get(at, 4)):
        return at, frame
    while (at := window.find(b"\xff", at)) >= 0:
        frame = _frame(window.get(at, 4))
        if frame:  # one in a thousand matches by chance, so require that a frame of the same kind follows
            behind = _frame(window.get(at + frame[0], 4))
            if behind and behind[2] == frame[2]:
                return at, frame
        at += 1
    return None


def _after_tag(head: bytes, at: int) -> int:
    """Return the end of the ID3v2 tag that begins with ``head`` at ``at``, or ``at`` if there is no tag."""
    if head[:3] != b"ID3" or len(head) < 10:
        return at
    return at + 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _frame(head: bytes) -> tuple[int, int, Kind] | None:
    """Return (bytes, samples, kind) of the frame that begins with ``head``, or None if it is not a frame."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    return _frame_of(head[1], head[2], head[3] >> 6 == 3)


@functools.cache
def _frame_of(first: int, second: int, mono: bool) -> tuple[int, int, Kind] | None:
    version, layer = first >> 3 & 3, 4 - (first >> 1 & 3)
    rate_index, frequency_index, padding = second >> 4, second >> 2 & 3, second >> 1 & 1
    if version == 1 or layer == 4 or rate_index in (0, 15) or frequency_index == 3:
        return None
    key = (version == 3, layer)
    samples, rate = _SAMPLES[key], _SAMPLE_RATES[version][frequency_index]
    slot = 4 if layer == 1 else 1
    length = samples // 8 // slot * 1000 * _BIT_RATES[key][rate_index - 1] // rate + padding
    return length * slot, samples, (version, layer, rate, mono)


def _header(frame: bytes, kind: Kind) -> tuple[bool, int | None]:
    """Return (whether a frame is a Xing, Info or VBRI header, the number of frames it gives or None)."""
    version, _, _, mono = kind
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    for at in (4 + side, 6 + side):  # without and with a checksum
        if frame[at : at + 4] in (b"Xing", b"Info"):
            frames = struct.unpack(">I", frame[at + 8 : at + 12])[0] if frame[at + 7] & 1 else None
            return True, frames or None
    if frame[36:40] == b"VBRI":
        return True, struct.unpack(">I", frame[50:54])[0] or None
    return False, None


def _xing_frame(window: Window, recording: Recording) -> bytes:
    """Return a frame with a Xing header that gives the number of frames."""
    head = bytearray(window.get(recording.start, 4))
    head[1] |= 1  # no checksum
    version, layer, rate, mono = recording.kind
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    for rate_index in range(1, 15):  # the first with enough room
        head[2] = rate_index << 4 | head[2] & 0x0C
        bit_rate = _BIT_RATES[version == 3, layer][rate_index - 1]
        length = recording.samples // 8 * bit_rate * 1000 // rate
        if length >= 4 + side + 12:
            break
    body = bytes(side) + b"Xing" + struct.pack(">II", 1, recording.frames)
    return (bytes(head) + body).ljust(length, b"\0")
