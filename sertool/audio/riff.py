"""WAV files (RIFF, RF64, Wave64) as recorders leave them: sizes that were never written, or do not fit."""

import struct
from dataclasses import dataclass

from sertool.audio.pieces import Part, Piece, Window

#: Bytes by which a header may be wrong where nothing is missing: some count the header itself, some forget a byte.
TOLERANCE = 128
_UNKNOWN = 0x7FFF_0000  # a size near 2 or 4 GiB: a recorder that wrote to a pipe and never knew the length
_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # of the names of Wave64's chunks


class Cut(Exception):
    """(seconds that are there, seconds that there should be)"""


@dataclass
class _Chunk:
    name: bytes
    start: int  # of what it holds
    size: int  # as its header says
    at: int  # of that header


def is_wave(head: bytes) -> bool:
    """Whether a file that begins with these 16 bytes is a WAV file of one of the three kinds."""
    return (head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE") or head == _W64_RIFF


def pieces(window: Window, note) -> list[Piece]:
    """What to read of a WAV file; raises Cut if audio is missing. ``note`` is told what was mended."""
    found: list[list[Part]] = []
    at = 0
    while is_wave(window.get(at, 16)):
        more, at = _file(window, at, note)
        found += more
    if not found:
        return [Piece()]
    if len(found) == 1 and found[0] == [(0, window.length)]:
        return [Piece()]
    return [Piece(parts) for parts in found]


def _file(window: Window, at: int, note) -> tuple[list[list[Part]], int]:
    """(the parts of each piece of the WAV file that begins at ``at``, where it ends)."""
    wide = window.get(at, 16) == _W64_RIFF
    big = window.get(at, 4) == b"RIFX"
    start, told, found = at, {}, []
    at += 40 if wide else 12
    asis, formats, plain = None, b"", True  # whether libsndfile finds the audio by itself
    while (chunk := _chunk(window, at, wide, big)) is not None:
        size = chunk.size
        if chunk.name == b"ds64":
            told = {b"data": struct.unpack("<8xQ", window.get(chunk.start, 16).ljust(16, b"\0"))[0]}
        elif chunk.name == b"fmt ":
            formats = window.get(chunk.at, chunk.start - chunk.at + min(size, 4096))
        elif chunk.name == b"data":
            if size == 0xFFFF_FFFF and told:
                size = told[b"data"]
            there = window.length - chunk.start
            if size > there + TOLERANCE and (wide or not _UNKNOWN <= size < 1 << 32):
                rate = int.from_bytes(formats[16 + 16 * wide :][:4], "big" if big else "little")
                raise Cut(there / (rate or 1), size / (rate or 1))
            mended = _mended(window, chunk, size, there, wide, big, note)
            if mended is None and plain and not found:
                found.append([(start, chunk.start + size)])
                asis = found[0]
            elif mended is None:
                found.append([*_header(window, start, wide, big, formats, size), (chunk.start, chunk.start + size)])
            else:
                found.append([*_header(window, start, wide, big, formats, mended), (chunk.start, chunk.start + mended)])
                size = there if mended == there else size
        end = chunk.start + size
        at = -(-end // 8) * 8 if wide else end + size % 2
        if not wide and size % 2 and _chunk(window, end, wide, big) and not _chunk(window, end + 1, wide, big):
            at, plain = end, False  # a writer that does not pad
    end = min(max(at, start + 12), window.length)
    behind = end if is_wave(window.get(end, 16)) else window.length
    if found == [asis]:
        found = [[(start, behind)]]
    return found, behind


def _chunk(window: Window, at: int, wide: bool, big: bool) -> _Chunk | None:
    """The chunk whose header is at ``at``; None if there is none."""
    if wide:
        head = window.get(at, 24)
        if len(head) < 24 or head[4:16] != _W64_TAIL:
            return None
        return _Chunk(head[:4], at + 24, max(0, struct.unpack("<Q", head[16:])[0] - 24), at)
    head = window.get(at, 8)
    if len(head) < 8 or not all(32 <= byte < 127 for byte in head[:4]) or head[:4] in (b"RIFF", b"RF64", b"RIFX"):
        return None
    return _Chunk(head[:4], at + 8, struct.unpack(">I" if big else "<I", head[4:])[0], at)


def _mended(window: Window, chunk: _Chunk, size: int, there: int, wide: bool, big: bool, note) -> int | None:
    """The size that a data chunk has in truth, None if its header is right or libsndfile knows better."""
    if size <= 0 < there and not _chunks_to_the_end(window, chunk.start, wide, big):
        note("its header says that it is empty, as after a crash: all to the end of the file is read")
        return there
    if size <= there:
        return None
    if size > there + TOLERANCE:  # a recorder that never knew the length, as libsndfile knows
        return None
    note(f"its header promises {size - there} bytes more than there are")
    return there


def _chunks_to_the_end(window: Window, at: int, wide: bool, big: bool) -> bool:
    """Whether from here on there are whole chunks to the end of the file."""
    while at < window.length:
        chunk = _chunk(window, at, wide, big)
        if chunk is None or chunk.start + chunk.size > window.length:
            return False
        at = chunk.start + chunk.size + chunk.size % 2
    return True


def _header(window: Window, start: int, wide: bool, big: bool, formats: bytes, size: int) -> list[Part]:
    """The beginning of a WAV file of that format, up to the data chunk's size and with it."""
    if wide:
        name = b"data" + _W64_TAIL
        head = window.get(start, 40)[16:]
        padded = formats.ljust(-(-len(formats) // 8) * 8, b"\0")
        length = struct.pack("<Q", 40 + len(padded) + 24 + size)
        return [_W64_RIFF + length + head[8:] + padded + name + struct.pack("<Q", size + 24)]
    order = ">I" if big else "<I"
    if size >= 1 << 32:
        size = 0xFFFF_FFFF
    name = b"RIFX" if big else b"RIFF"
    whole = struct.pack(order, min(4 + len(formats) + 8 + size, 0xFFFF_FFFF))
    return [name + whole + b"WAVE" + formats + b"data" + struct.pack(order, size)]
