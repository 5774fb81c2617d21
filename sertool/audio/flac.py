"""Repair FLAC (RFC 9639) from streams: no length in the header, or several files concatenated."""

from sertool.audio.pieces import Piece, Window

_TAIL = 1 << 20  # bytes at the end to search for the last frames; a frame is shorter
_BLOCK_SIZES = {1: 192, **{k: 576 << k - 2 for k in range(2, 6)}, **{k: 256 << k - 8 for k in range(8, 16)}}


def pieces(window: Window) -> list[Piece]:
    """Return the pieces of a FLAC file, one per header, with the length filled in."""
    starts, at = [], window.find(b"fLaC", 0)
    while at >= 0:
        if window.get(at + 4, 4) in (b"\x00\x00\x00\x22", b"\x80\x00\x00\x22"):
            starts.append(at)
        at = window.find(b"fLaC", at + 4)
    if not starts:
        return [Piece()]  # damaged: let libsndfile report it
    result = []
    for start, end in zip(starts, [*starts[1:], window.length], strict=True):
        if total(window.get(start, 42)):
            result.append(Piece([(start, end)]))
        else:
            result.append(Piece([with_total(window.get(start, 42), counted(window, start, end)), (start + 42, end)]))
    if len(starts) == 1 and total(window.get(starts[0], 42)):
        return [Piece()]
    return result


def total(head: bytes) -> int:
    """Return samples per channel according to "fLaC" and STREAMINFO [42 bytes]; 0 if unknown."""
    return int.from_bytes(head[18:26], "big") & (1 << 36) - 1


def with_total(head: bytes, samples: int) -> bytes:
    """Return the 42 bytes with the number of samples set."""
    packed = int.from_bytes(head[18:26], "big") >> 36 << 36 | samples
    return head[:18] + packed.to_bytes(8, "big") + head[26:]


def counted(window: Window, start: int, end: int) -> int:
    """Return the samples of the stream at bytes ``start`` to ``end`` by its last frame number; 0 if not found."""
    info = window.get(start, 42)
    fixed = int.from_bytes(info[8:10], "big")
    tail = window.get(max(start + 42, end - _TAIL), _TAIL)[: end - start]
    known: set[int] = set()
    at, last = tail.find(b"\xff"), 0
    while at >= 0:
        frame = _frame(tail[at : at + 16], fixed)
        if frame:
            first, behind = frame
            if first in known or not known:  # it follows another frame, so it is not a random match
                last = max(last, behind)
            known.add(behind)
        at = tail.find(b"\xff", at + 1)
    return last


def _frame(head: bytes, fixed: int) -> tuple[int, int] | None:
    """Return (first sample, last sample + 1) of the frame that begins with ``head``; None if it is not a frame."""
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
