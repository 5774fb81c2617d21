"""The lines of a journal: what is written is read, and what is damaged is known to be."""

import random
from dataclasses import replace

import pytest

from sertool.labelling import log
from sertool.labelling.log import Entry

ROWS = [
    {"start": 0.0, "end": 1.5, "emotion": "sad", "error": None},
    {"start": 1.0, "end": 2.0, "emotion": "ü", "error": None},
]
ENTRIES = [
    Entry("a.wav", "/calls/a.wav", [3, 1_700_000_000_000_000_001], False, 2.345678, ROWS),
    Entry("b\udcff.wav", "/calls/b\udcff.wav", None, True, 0.0, ROWS[:1], place=4),
    Entry("c.wav", "s3://bucket/c.wav", [-1, 5], False, 1.0, []),
    Entry("d.wav", "/elsewhere/d.wav", [1, 2], False, 1.0, [{"start": 0.0, "arousal": 0.123457}]),
    Entry("e.wav", "/calls/e.wav", [1, 2], False, 1.0, [{"start": 0.0, "arousal": -1e-6}]),
]


def written(path, entries=ENTRIES):
    context, parts = None, [log.line({"model": "m"})]
    for entry in entries:
        own = entry.context(context)
        if own is not context:
            parts.append(own.lines)
            context = own
        parts.append(entry.line(own))
    path.write_bytes(b"".join(parts))
    return path


def entries(path):
    return [found.thing for found in log.read(path) if found and isinstance(found.thing, Entry)]


def test_what_is_written_is_read(tmp_path):
    path = written(tmp_path / "log")
    assert entries(path) == ENTRIES
    assert next(log.read(path)).thing == {"model": "m"}
    with open(path, "rb") as stream:
        for found in log.read(path):
            if isinstance(found.thing, Entry):
                assert log.read_at(stream, found.offset, found.size, found.context) == found.thing


def test_a_path_that_is_the_base_and_the_name_is_not_written(tmp_path):
    assert b"/calls/a.wav" not in written(tmp_path / "log").read_bytes()
    assert b"/elsewhere/d.wav" in (tmp_path / "log").read_bytes()


def test_any_flipped_bit_and_any_cut_is_noticed(tmp_path):
    path, rng = written(tmp_path / "log"), random.Random(0)
    whole, first = path.read_bytes(), path.read_bytes().index(b"\n") + 1
    for _ in range(500):
        damaged = bytearray(whole)
        damaged[rng.randrange(first, len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        left = entries(path)
        assert all(entry in ENTRIES for entry in left)
        assert len(left) >= len(ENTRIES) - 2
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert entries(path) == ENTRIES[: len(entries(path))]


def test_rows_are_not_read_with_the_columns_of_others(tmp_path):
    """The lines that say what the columns are may be lost."""
    path = written(tmp_path / "log", [ENTRIES[3], replace(ENTRIES[0], rows=[{"end": 2.0, "valence": 0.5}])])
    lines = path.read_bytes().splitlines(keepends=True)
    assert [line for line in lines if b"valence" in line] == lines[5:8]
    path.write_bytes(b"".join([*lines[:5], *lines[8:]]))
    assert entries(path) == [ENTRIES[3]]


@pytest.mark.parametrize("line", [b"", b"\n", b"[]\n", b'{"base": 1}\n', b"\0\0\n", b"[1] 00000000\n"])
def test_lines_that_are_none(tmp_path, line):
    path = written(tmp_path / "log")
    path.write_bytes(path.read_bytes() + line)
    assert entries(path) == ENTRIES
