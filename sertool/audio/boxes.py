"""Check that containers for PyAV are complete, and split concatenated ones: PyAV reads only the first."""

from collections.abc import Callable

from sertool.audio.pieces import Piece, Window

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")


class Cut(Exception):
    """The file is truncated; the arguments are (actual bytes, expected bytes)."""


def pieces(window: Window, head: bytes) -> list[Piece]:
    """Return the pieces of a file that begins with ``head`` [16]. Raise Cut if its end is missing."""
    starts = _starts(head)(window)
    if len(starts) < 2:
        return [Piece()]
    return [Piece([(start, end)]) for start, end in zip(starts, [*starts[1:], window.length], strict=True)]


def _starts(head: bytes) -> Callable[[Window], list[int]]:
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _mp4
    if head[:4] == _EBML:
        return _matroska
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return _avi
    if head[:4] == b"caff":
        return _caf
    if head[:2] in (b"\xff\xf1", b"\xff\xf9"):
        return _adts
    for magic in (_ASF, b"#!AMR"):
        if head.startswith(magic):
            return lambda window: _each(window, magic)
    return lambda window: [0]


def _mp4(window: Window) -> list[int]:
    """Return the offset of each concatenated file that has its own index (moov)."""
    starts, indexed, at, began = [0], False, 0, 0
    while at + 8 <= window.length:
        head = window.get(at, 16)
        size, name = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        elif size == 0:
            size = window.length - at
        if size < 8 or not name.isalnum():
            break  # trailing garbage
        if at + size > window.length:
            if name in (b"free", b"skip"):
                break
            raise Cut(window.length, at + size)
        if name == b"ftyp":
            began = at
        if name == b"moov":
            if indexed:
                starts.append(began if began > starts[-1] else at)
            indexed = True
        at += size
    return starts


def _matroska(window: Window) -> list[int]:
    starts, at = [], 0
    while window.get(at, 4) == _EBML:
        starts.append(at)
        at = _behind(window, at, 4)
        while window.get(at, 1) in (b"\xec", b"\xbf"):  # Void, CRC-32
            at = _behind(window, at, 1)
        if window.get(at, 4) != _SEGMENT:
            break
        end = _behind(window, at, 4)
        if end > window.length:
            raise Cut(window.length, end)
        at = end if end > at else _next_header(window, at)
    return starts


def _next_header(window: Window, at: int) -> int:
    """Return the offset of the next EBML header after a segment of unknown length, or the end of the file."""
    while (at := window.find(_EBML, at + 4)) >= 0:
        if b"\x42\x86" in window.get(at + 5, 9):  # EBMLVersion, its first element
            return at
    return window.length


def _behind(window: Window, at: int, name: int) -> int:
    """Return the end of the EBML element at ``at`` with a ``name``-byte ID, or ``at`` if its length is unknown."""
    first = window.get(at + name, 1)
    if not first or not first[0]:
        return at
    length = 9 - first[0].bit_length()
    data = window.get(at + name, length)
    value = int.from_bytes(data, "big") & (1 << 7 * length) - 1
    if value == (1 << 7 * length) - 1:
        return at
    return at + name + length + value


def _avi(window: Window) -> list[int]:
    starts, at = [], 0
    while window.get(at, 4) == b"RIFF":
        head = window.get(at, 12)
        if head[8:] == b"AVI ":
            starts.append(at)
        size = int.from_bytes(head[4:8], "little")
        if size == 0 or size >= 0x7FFF_0000:
            break  # unknown
        if at + 8 + size > window.length + 1:
            raise Cut(window.length, at + 8 + size)
        at += 8 + size + size % 2
    return starts


def _caf(window: Window) -> list[int]:
    at = 8
    while len(head := window.get(at, 12)) == 12:
        size = int.from_bytes(head[4:], "big", signed=True)
        if size < 0:
            break  # to the end of the file
        at += 12 + size
        if at > window.length:
            raise Cut(window.length, at)
    return [0]


def _adts(window: Window) -> list[int]:
    """Return the offsets where raw AAC changes its rate or channels: PyAV would keep the first rate."""
    starts, at = [0], 0
    kind: tuple[int, int] | None = None
    while True:
        head = window.get(at, 7)
        if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
            return starts  # the end, or data that PyAV skips
        this = (head[2] & 0xFD, head[3] & 0xC0)  # profile and rate, channels
        if kind not in (None, this):
            starts.append(at)
        kind = this
        at += max(7, (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5)


def _each(window: Window, magic: bytes) -> list[int]:
    starts, at = [], 0
    while at >= 0:
        starts.append(at)
        at = window.find(magic, at + 1)
    return starts
