"""A list that is not in memory: what goes in comes out, in order, once."""

import threading
from pathlib import Path

import pytest

from sertool.recordings import listing
from sertool.recordings.listing import Listing
from sertool.recordings.recording import Recording

ODD = [
    Recording(Path("a.wav"), "a.wav"),
    Recording(Path("/x/ü 日本\n.wav"), "ü 日本\n.wav", place=7),
    Recording(Path("b\udcff.wav"), "b\udcff.wav", "an error"),
    Recording.at("s3://bucket/a b.wav?x", "a b.wav", [3, 99]),
    Recording(Path("c.wav"), "d.wav"),
]


def many(count):
    return [Recording(Path(f"/calls/day {n % 9}/{n:07d}.wav"), f"day {n % 9}/{n:07d}.wav") for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_what_goes_in_comes_out(count):
    expected = (ODD + many(count))[:count] if count < 5 else ODD + many(count - 5)
    found = Listing(iter(expected))
    assert len(found) == len(expected)
    assert list(found) == expected
    assert [found[place] for place in range(len(found))] == expected
    assert found[-3:] == expected[-3:]
    assert bool(found) == bool(expected)
    with pytest.raises(IndexError):
        found[len(expected)]


def test_a_long_list_is_in_a_file(monkeypatch):
    monkeypatch.setattr(listing, "_IN_MEMORY", 10_000)
    expected = many(5000)
    found = Listing(expected)
    assert found._file._rolled
    assert list(found) == expected
    assert found[4321] == expected[4321]


def test_the_second_of_a_name_is_left_out():
    first, second = Recording(Path("/a/x.wav"), "x.wav"), Recording(Path("/b/x.wav"), "x.wav")
    assert list(Listing([*many(100), first, *many(200), second])) == [*many(100), first, *many(200)[100:]]


def test_names_with_the_same_hash_are_both_kept(monkeypatch):
    monkeypatch.setattr(listing, "key_of", lambda key: 1)
    assert list(Listing([*ODD, *ODD])) == ODD


def test_threads_read_it_at_once():
    expected, wrong = many(3000), []
    found = Listing(expected)

    def read(start):
        for place in range(start, 3000, 7):
            if found[place] != expected[place]:
                wrong.append(place)
        if list(found) != expected:
            wrong.append(-1)

    threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
