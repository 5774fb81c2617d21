"""Split chained Ogg files (RFC 3533) into their streams: libsndfile silently reads only the first one."""

import struct
from dataclasses import dataclass, field

from sertool.audio import flac
from sertool.audio.pieces import Piece, Window

_BEGINS, _ENDS = 2, 4  # flags of the first and the last page of a stream
_UNKNOWN = -1  # granule position of a page on which no packet ends


class Cut(Exception):
    """The last page is incomplete."""


class Damaged(Exception):
    """Pages are missing or broken, or streams are multiplexed: libsndfile cannot read the file."""


@dataclass
class _Link:
    start: int
    end: int
    last: int = 0  # offset of the last page
    granule: int = _UNKNOWN  # position at its end
    bodies: list[tuple[int, int]] = field(default_factory=list)  # byte ranges of the page bodies


def pieces(window: Window) -> list[Piece]:
    """Return the pieces of an Ogg file, one per link of its chain. Raise Damaged or Cut."""
    links: list[_Link] = []
    at = 0
    sequence: dict[int, int] = {}  # serial number -> number of the last page
    begun = False  # whether this link has had a data page
    while at < window.length:
        head = window.get(at, 27)
        if head[:4] != b"OggS" or len(head) < 27:
            if window.find(b"OggS", at + 1) >= 0:
                raise Damaged(f"no Ogg page at byte {at}")
            break  # trailing garbage
        flags, granule, serial, number, segments = head[5], *struct.unpack("<qII", head[6:22]), head[26]
        table = window.get(at + 27, segments)
        end = at + 27 + segments + sum(table)
        if len(table) < segments or end > window.length:
            raise Cut
        if flags & _BEGINS:
            if begun or not links:
                links.append(_Link(at, end))
                begun = False
            else:
                raise Damaged("its streams are multiplexed")
            sequence = {serial: number}
        elif not links or serial not in sequence:
            raise Damaged("a stream has no first page")
        elif number != sequence[serial] + 1:
            raise Damaged(f"{number - sequence[serial] - 1} pages are missing before byte {at}")
        begun |= not flags & _BEGINS
        sequence[serial] = number
        links[-1].end, links[-1].last = end, at
        links[-1].bodies.append((at + 27 + segments, end))
        if granule != _UNKNOWN:
            links[-1].granule = granule
        at = end
    return [_flac(window, link) or _piece(window, link, len(links) == 1) for link in links]


def _piece(window: Window, link: _Link, whole: bool) -> Piece:
    """Return a link as libsndfile accepts it: libsndfile rejects Opus streams whose last page lacks the end flag."""
    page = bytearray(window.get(link.last, link.end - link.last))
    if page[5] & _ENDS:
        return Piece(None if whole else [(link.start, link.end)])
    page[5] |= _ENDS
    page[22:26] = bytes(4)
    page[22:26] = struct.pack("<I", _crc(page))
    return Piece([(link.start, link.last), bytes(page)])


def _crc(data: bytes | bytearray) -> int:
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC[crc >> 24 ^ byte]
    return crc


def _crc_of_byte(byte: int) -> int:
    crc = byte << 24
    for _ in range(8):
        crc = crc << 1 ^ (0x104C11DB7 if crc & 0x80000000 else 0)
    return crc


_CRC = [_crc_of_byte(byte) for byte in range(256)]


def _flac(window: Window, link: _Link) -> Piece | None:
    """Return an Ogg FLAC stream as a FLAC file, without Ogg pages; None for another kind of stream."""
    first, end = link.bodies[0]
    if window.get(first, 5) != b"\x7fFLAC":
        return None
    head = window.get(first + 9, 42)
    head = head if flac.total(head) else flac.with_total(head, max(0, link.granule))
    return Piece([head, (first + 51, end), *link.bodies[1:]])
