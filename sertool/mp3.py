"""How long an MP3 file really is, counted frame by frame.

libsndfile takes the length of an MP3 from its Xing header or, without one, from the first frame's bit rate, and stops
there: of a recording of variable bit rate without a header, or of several files put together, it reads a part and
reports no error. Header layout: ISO/IEC 11172-3 and 13818-3, section 2.4.2.3.
"""

import mmap

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


def frames(path) -> int:
    """Samples per channel in all the frames of an MP3 file, an ID3v2 tag before any of them passed over; 0 if none."""
    total = 0
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = _after_tag(data, 0)
        while (frame := _frame(data, at)) is not None:
            length, samples = frame
            at = _after_tag(data, at + length)
            total += samples
    return total


def has_length(path) -> bool:
    """Whether the first frame is a header (Xing, Info, VBRI) that says how long the recording is."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = _after_tag(data, 0)
        first = _frame(data, at)
        return first is not None and any(tag in data[at : at + first[0]] for tag in (b"Xing", b"Info", b"VBRI"))


def _after_tag(data, at: int) -> int:
    """``at``, or where the ID3v2 tag that begins there ends."""
    if data[at : at + 3] != b"ID3":
        return at
    size = zip(data[at + 6 : at + 10], (21, 14, 7, 0), strict=False)  # 7 bits a byte
    return at + 10 + sum((byte & 0x7F) << shift for byte, shift in size)


def _frame(data, at: int) -> tuple[int, int] | None:
    """(bytes, samples) of the frame whose header is at ``at``; None if there is none."""
    head = data[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    rate_index, frequency_index, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or rate_index in (0, 15) or frequency_index == 3:
        return None
    kind = (version == 3, layer)
    samples, rate = _SAMPLES[kind], _SAMPLE_RATES[version][frequency_index]
    slot = 4 if layer == 1 else 1
    length = samples // 8 // slot * 1000 * _BIT_RATES[kind][rate_index - 1] // rate + padding
    return length * slot, samples
