"""FLAC (RFC 9639) as streams leave it: without a length in the header, or several put together."""

from sertool.audio.pieces import Piece, Window

_TAIL = 1 << 20  # bytes at the end in which the last frames are looked for: a frame is shorter
_BLOCK_SIZES = {1: 192, **{k: 576 << k - 2 for k in range(2, 6)}, **{k: 256 << k - 8 for k in range(8, 16)}}


def pieces(window: Window) -> list[Piece]:
    """What to read of a FLAC file: one piece for each header in it, with its length told."""
    starts, at = [], window.find(b"fLaC", 0)
    while at >= 0:
        if window.get(at + 4, 4) in (b"\x00\x00\x00\x22", b"\x80\x00\x00\x22"):
            starts.append(at)
        at = window.find(b"fLaC", at + 4)
    if not starts:
        return [Piece()]  # damaged: libsndfile says how
    found = []
    for start, end in zip(starts, [*starts[1:], window.length], strict=True):
        if total(window.get(start, 42)):
            found.append(Piece([(start, end)]))
        else:
            found.append(Piece([with_total(window.get(start, 42), counted(window, start, end)), (start + 42, end)]))
    if len(starts) == 1 and total(window.get(starts[0], 42)):
        return [Piece()]
    return found


def total(head: bytes) -> int:
    """Samples per channel by "fLaC" and STREAMINFO [42 bytes]; 0 if they are not told."""
    return int.from_bytes(head[18:26], "big") & (1 << 36) - 1


def with_total(head: bytes, samples: int) -> bytes:
    """The 42 bytes with so many samples told."""
    told = int.from_bytes(head[18:26], "big") >> 36 << 36 | samples
    return head[:18] + told.to_bytes(8, "big") + head[26:]


def counted(window: Window, start: int, end: int) -> int:
    """Samples of a stream between two places, by the number of its last frame; 0 if none is found."""
    info = window.get(start, 42)
    fixed = int.from_bytes(info[8:10], "big")
    tail = window.get(max(start + 42, end - _TAIL), _TAIL)[: end - start]
    known, at, last = set(), tail.find(b"\xff"), 0
    while at >= 0:
        frame = _frame(tail[at : at + 16], fixed)
        if frame:
            first, behind = frame
            if first in known or not known:  # follows another one: no chance meeting of bits
                last = max(last, behind)
            known.add(behind)
        at = tail.find(b"\xff", at + 1)
    return last


def _frame(head: bytes, fixed: int) -> tuple[int, int] | None:
    """(first sample, the one behind the last) of the frame that begins with ``head``; None if it is none."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return None
    size, rate = head[2] >> 4, head[2] & 15
    if size == 0 or rate == 15 or head[3] >> 4 > 10:
        return None
    length = max(1, 8 - (head[4] ^ 0xFF).bit_length()) if head[4] & 0x80 else 1  # of the number, as in UTF-8
    at = 4 + length
    number = head[4] & (0x7F >> length if length > 1 else 0x7F)
    for byte in head[5:at]:
        number = number << 6 | byte & 0x3F
    extra = {6: 1, 7: 2}.get(size, 0)
    samples = int.from_bytes(head[at : at + extra], "big") + 1 if extra else _BLOCK_SIZES[size]
    at += extra + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if at >= len(head) or _crc8(head[:at]) != head[at]:
        return None
    first = number if head[1] & 1 else number * fixed
    return first, first + samples


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ (0x107 if crc & 0x80 else 0)) & 0x1FF
    return crc
