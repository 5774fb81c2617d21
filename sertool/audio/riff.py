"""Repair WAV files (RIFF, RF64, Wave64) from recorders whose sizes were never written or are wrong."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from sertool.audio.pieces import Part, Piece, Window

#: Bytes by which a size may be wrong without missing audio: some include the header itself, some omit a byte.
TOLERANCE = 128
_UNKNOWN = 0x7FFF_0000  # sizes near 2 or 4 GiB: the recorder wrote to a pipe and did not know the length
_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # common end of Wave64's chunk names


class Cut(Exception):
    """Audio is missing; the arguments are (actual seconds, expected seconds)."""


@dataclass
class _Chunk:
    name: bytes
    start: int  # offset of its content
    size: int  # of its content, by its header
    at: int  # offset of its header


def is_wave(head: bytes) -> bool:
    """Return whether a file that begins with these 16 bytes is a WAV file of one of the three kinds."""
    return (head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE") or head == _W64_RIFF


def pieces(window: Window, note: Callable[[str], None]) -> list[Piece]:
    """Return the pieces of a WAV file and report repairs to ``note``. Raise Cut if audio is missing."""
    result: list[list[Part]] = []
    at = 0
    while is_wave(window.get(at, 16)):
        more, at = _file(window, at, note)
        result += more
    if not result:
        return [Piece()]
    if len(result) == 1 and result[0] == [(0, window.length)]:
        return [Piece()]
    return [Piece(parts) for parts in result]


def _file(window: Window, at: int, note: Callable[[str], None]) -> tuple[list[list[Part]], int]:
    """Return (the parts of each piece, the end) of the WAV file that begins at ``at``."""
    wide = window.get(at, 16) == _W64_RIFF
    big = window.get(at, 4) == b"RIFX"
    start = at
    ds64_size: int | None = None  # size of the data chunk according to RF64's ds64 chunk
    result: list[list[Part]] = []
    at += 40 if wide else 12
    asis: list[Part] | None = None
    formats, plain = b"", True  # plain: whether libsndfile finds the audio by itself
    while (chunk := _chunk(window, at, wide, big)) is not None:
        size = chunk.size
        if chunk.name == b"ds64":
            ds64_size = struct.unpack("<8xQ", window.get(chunk.start, 16).ljust(16, b"\0"))[0]
        elif chunk.name == b"fmt ":
            formats = window.get(chunk.at, chunk.start - chunk.at + min(size, 4096))
        elif chunk.name == b"data":
            if size == 0xFFFF_FFFF and ds64_size is not None:
                size = ds64_size
            actual = window.length - chunk.start
            if size > actual + TOLERANCE and (wide or not _UNKNOWN <= size < 1 << 32):
                rate = int.from_bytes(formats[16 + 16 * wide :][:4], "big" if big else "little")
                raise Cut(actual / (rate or 1), size / (rate or 1))
            mended = _mended(window, chunk, size, actual, wide, big, note)
            if mended is None and plain and not result:
                result.append([(start, chunk.start + size)])
                asis = result[0]
            elif mended is None:
                result.append([*_header(window, start, wide, big, formats, size), (chunk.start, chunk.start + size)])
            else:
                result.append(
                    [*_header(window, start, wide, big, formats, mended), (chunk.start, chunk.start + mended)]
                )
                size = actual if mended == actual else size
        end = chunk.start + size
        at = -(-end // 8) * 8 if wide else end + size % 2
        if not wide and size % 2 and _chunk(window, end, wide, big) and not _chunk(window, end + 1, wide, big):
            at, plain = end, False  # the writer does not pad chunks
    end = min(max(at, start + 12), window.length)
    behind = end if is_wave(window.get(end, 16)) else window.length
    if result == [asis]:
        result = [[(start, behind)]]
    return result, behind


def _chunk(window: Window, at: int, wide: bool, big: bool) -> _Chunk | None:
    """Return the chunk whose header is at ``at``, or None."""
    if wide:
        head = window.get(at, 24)
        if len(head) < 24 or head[4:16] != _W64_TAIL:
            return None
        return _Chunk(head[:4], at + 24, max(0, struct.unpack("<Q", head[16:])[0] - 24), at)
    head = window.get(at, 8)
    if len(head) < 8 or not all(32 <= byte < 127 for byte in head[:4]) or head[:4] in (b"RIFF", b"RF64", b"RIFX"):
        return None
    return _Chunk(head[:4], at + 8, struct.unpack(">I" if big else "<I", head[4:])[0], at)


def _mended(
    window: Window, chunk: _Chunk, size: int, actual: int, wide: bool, big: bool, note: Callable[[str], None]
) -> int | None:
    """Return the true size of a data chunk, or None if its header is right or libsndfile handles it."""
    if size <= 0 < actual and not _chunks_to_the_end(window, chunk.start, wide, big):
        note("its header gives a size of zero, as after a crash: read to the end of the file")
        return actual
    if size <= actual:
        return None
    if size > actual + TOLERANCE:  # unknown length, which libsndfile handles
        return None
    note(f"its header claims {size - actual} bytes more than the file has")
    return actual


def _chunks_to_the_end(window: Window, at: int, wide: bool, big: bool) -> bool:
    """Return whether the file consists of complete chunks from ``at`` to its end."""
    while at < window.length:
        chunk = _chunk(window, at, wide, big)
        if chunk is None or chunk.start + chunk.size > window.length:
            return False
        at = chunk.start + chunk.size + chunk.size % 2
    return True


def _header(window: Window, start: int, wide: bool, big: bool, formats: bytes, size: int) -> list[Part]:
    """Return the beginning of a WAV file with that format, up to and including the data chunk's size."""
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
