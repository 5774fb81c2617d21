"""How long an MP3 file really is, counted frame by frame, and the recordings that it consists of.

libsndfile takes the length of an MP3 from its Xing header or, without one, from the first frame's bit rate, and stops
there: of a recording of variable bit rate without a header, or of several files put together, it reads a part and
reports no error. Header layout: ISO/IEC 11172-3 and 13818-3, section 2.4.2.3.
"""

import functools
import struct
from dataclasses import dataclass

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

#: Samples that may be missing at the end: an MP3 may end within a frame, and its decoder may keep one or two to itself.
SLACK = 4 * 1152


@dataclass
class Recording:
    """Frames of one kind that follow each other: from ``start`` to ``end``, ``frames`` of ``samples`` each.

    ``told`` is how many there are by a header in its first frame (which is not one of them), None without one.
    """

    start: int
    end: int
    kind: tuple
    samples: int
    frames: int = 0
    told: int | None = None
    headed: bool = False

    @property
    def length(self) -> int:
        """Samples per channel."""
        return self.frames * self.samples


def recordings(window: Window) -> list[Recording]:
    """The recordings of an MP3 file; a new one begins with a header, another rate or number of channels.

    So it does behind as many frames as a header has told of. What is no frame is passed over: tags, garbage.
    """
    found: list[Recording] = []
    at: int | None = 0
    starts = [0, 0, 0]  # of the last three frames
    while (at := _next_frame(window, at)) is not None:
        head = window.get(at, 60)
        length, samples, kind = _frame(head)
        headed, told = _header(head, kind)
        last = found[-1] if found else None
        if last is None or headed or kind != last.kind:
            found.append(Recording(at, at, kind, samples, told=told, headed=headed))
        elif last.told and last.frames > last.told + 2:  # some count the header, too: three more are another's
            last.frames, last.end = last.frames - 3, starts[0]
            found.append(Recording(starts[0], at, kind, samples, 3))
        found[-1].frames += not headed
        starts = [*starts[1:], at]
        at += length
        found[-1].end = at
    return [recording for recording in found if recording.frames]


def pieces(window: Window, promised: int, rate: int) -> list[Piece]:
    """What to read of an MP3 file of which libsndfile promises so many samples at so many Hz."""
    found = recordings(window)
    if len(found) <= 1 and (not found or found[0].length <= promised * 1.01 + rate):
        told = not found or found[0].headed
        return [Piece(None, promised if told else min(promised, found[0].length), slack=SLACK)]
    return [
        Piece(
            [(one.start, one.end)] if one.headed else [_frame_that_tells(window, one), (one.start, one.end)],
            slack=SLACK,
        )
        for one in found
    ]


def _next_frame(window: Window, at: int) -> int | None:
    """Where the next frame begins; tags and garbage before it are passed over. None if there is none."""
    head = window.get(at, 10)
    if _frame(head):
        return at
    at = _after_tag(head, at)
    if _frame(window.get(at, 4)):
        return at
    while (at := window.find(b"\xff", at)) >= 0:
        frame = _frame(window.get(at, 4))
        if frame:  # a chance of one in a thousand, unless another one follows
            behind = _frame(window.get(at + frame[0], 4))
            if behind and behind[2] == frame[2]:
                return at
        at += 1
    return None


def _after_tag(head: bytes, at: int) -> int:
    """``at``, or where the ID3v2 tag ends of which ``head`` is the beginning."""
    if head[:3] != b"ID3" or len(head) < 10:
        return at
    return at + 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))


def _frame(head: bytes) -> tuple[int, int, tuple] | None:
    """(bytes, samples, (version, layer, rate, mono?)) of the frame that begins with ``head``; None if it is none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    return _frame_of(head[1], head[2], head[3] >> 6 == 3)


@functools.cache
def _frame_of(first: int, second: int, mono: bool) -> tuple[int, int, tuple] | None:
    version, layer = first >> 3 & 3, 4 - (first >> 1 & 3)
    rate_index, frequency_index, padding = second >> 4, second >> 2 & 3, second >> 1 & 1
    if version == 1 or layer == 4 or rate_index in (0, 15) or frequency_index == 3:
        return None
    kind = (version == 3, layer)
    samples, rate = _SAMPLES[kind], _SAMPLE_RATES[version][frequency_index]
    slot = 4 if layer == 1 else 1
    length = samples // 8 // slot * 1000 * _BIT_RATES[kind][rate_index - 1] // rate + padding
    return length * slot, samples, (version, layer, rate, mono)


def _header(frame: bytes, kind: tuple) -> tuple[bool, int | None]:
    """(whether a frame is a header (Xing, Info, VBRI), the frames that it says there are, None if it does not)."""
    version, _, _, mono = kind
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    for at in (4 + side, 6 + side):  # with a checksum, too
        if frame[at : at + 4] in (b"Xing", b"Info"):
            told = struct.unpack(">I", frame[at + 8 : at + 12])[0] if frame[at + 7] & 1 else None
            return True, told or None
    if frame[36:40] == b"VBRI":
        return True, struct.unpack(">I", frame[50:54])[0] or None
    return False, None


def _frame_that_tells(window: Window, recording: Recording) -> bytes:
    """A frame with a Xing header, which says how many frames there are."""
    head = bytearray(window.get(recording.start, 4))
    head[1] |= 1  # no checksum
    version, layer, rate, mono = recording.kind
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    for rate_index in range(1, 15):  # the first that has room
        head[2] = rate_index << 4 | head[2] & 0x0C
        bit_rate = _BIT_RATES[version == 3, layer][rate_index - 1]
        length = recording.samples // 8 * bit_rate * 1000 // rate
        if length >= 4 + side + 12:
            break
    body = bytes(side) + b"Xing" + struct.pack(">II", 1, recording.frames)
    return (bytes(head) + body).ljust(length, b"\0")
