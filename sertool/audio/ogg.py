"""The streams of an Ogg file (RFC 3533), one after the other, of which libsndfile reads the first without a word."""

import struct
from dataclasses import dataclass, field

from . import flac
from .pieces import Piece, Window

_BEGINS = 2  # flag of a page that begins a stream
_UNKNOWN = -1  # granule position of a page on which no packet ends


class Cut(Exception):
    """The last page is not whole."""


class Damaged(Exception):
    """Pages are missing or broken, or several streams run beside each other: not for libsndfile."""


@dataclass
class _Link:
    start: int
    end: int
    granule: int = _UNKNOWN  # position at its end
    bodies: list[tuple[int, int]] = field(default_factory=list)  # of its pages


def pieces(window: Window) -> list[Piece]:
    """What to read of an Ogg file, a piece a link of its chain. Raises Damaged, and Cut."""
    links: list[_Link] = []
    at, sequence = 0, {}
    begun = False  # whether a page of data has come in this link
    while at < window.length:
        head = window.get(at, 27)
        if head[:4] != b"OggS" or len(head) < 27:
            if window.find(b"OggS", at + 1) >= 0:
                raise Damaged(f"what stands at byte {at} is no page")
            break  # garbage behind the end
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
                raise Damaged("several streams run beside each other")
            sequence = {serial: number}
        elif not links or serial not in sequence:
            raise Damaged("a stream has no beginning")
        elif number != sequence[serial] + 1:
            raise Damaged(f"{number - sequence[serial] - 1} pages are missing before byte {at}")
        begun |= not flags & _BEGINS
        sequence[serial] = number
        links[-1].end = end
        links[-1].bodies.append((at + 27 + segments, end))
        if granule != _UNKNOWN:
            links[-1].granule = granule
        at = end
    whole = len(links) == 1
    return [_flac(window, link) or Piece(None if whole else [(link.start, link.end)]) for link in links]


def _flac(window: Window, link: _Link) -> Piece | None:
    """A stream of FLAC as a FLAC file, that is without its pages; None if it is another kind of stream."""
    first, end = link.bodies[0]
    if window.get(first, 5) != b"\x7fFLAC":
        return None
    head = window.get(first + 9, 42)
    head = head if flac.total(head) else flac.with_total(head, max(0, link.granule))
    return Piece([head, (first + 51, end), *link.bodies[1:]])
