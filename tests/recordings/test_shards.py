"""How a list is cut into shards."""

from pathlib import Path

import numpy as np
import pytest

from sertool.errors import UsageError
from sertool.recordings.recording import Recording
from sertool.recordings.shards import Shard, digest, shards_of


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """400 files, most of them small, some large, a name that is not UTF-8, one that does not exist."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    result = []
    for number in range(400):
        path = folder / f"{number} ä.wav"
        path.write_bytes(bytes(int(rng.lognormal(5, 1.5))))
        result.append(Recording(path, path.name))
    return [*result, Recording(folder / "b\udcff.wav", "b\udcff.wav"), Recording(folder / "none.wav", "none.wav")]


@pytest.mark.parametrize("of", [1, 2, 7, 48, 1000])
def test_shards_are_the_whole_list_once(recordings, of):
    parts = [Shard(number, of).of_list(recordings) for number in range(1, of + 1)]
    names = [recording.name for part in parts for recording in part]
    assert sorted(names) == sorted(recording.name for recording in recordings)
    for part in parts:
        assert [recordings[recording.place].name for recording in part] == [recording.name for recording in part]
        assert [recording.place for recording in part] == sorted(recording.place for recording in part)


def test_shards_have_equal_bytes_up_to_a_file(recordings):
    def size(part):
        return sum(max(recording.path.stat().st_size, 1) for recording in part if recording.path.exists())

    largest, whole = max(size([one]) for one in recordings), size(recordings)
    for number in range(1, 8):
        assert abs(size(Shard(number, 7).of_list(recordings)) - whole / 7) <= largest + 2


def test_the_order_of_the_list_does_not_matter_and_few_files_move(recordings):
    def owner(files):
        return {one.name: number for number in range(1, 8) for one in Shard(number, 7).of_list(files)}

    before = owner(recordings)
    assert owner(recordings[::-1]) == before
    fewer = owner([one for one in recordings if not one.name.startswith("7")])
    moved = sum(before[name] != number for name, number in fewer.items())
    assert moved < len(fewer) / 4  # of 44 files that are gone; a cut by number would move most


def test_a_digest_tells_lists_apart(recordings):
    assert digest(recordings) == digest(list(recordings))
    assert digest(recordings) != digest(recordings[1:])


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "-1/3", "a/b", "1/3/5", "", "1 of 3"])
def test_wrong_numbers_are_one_line(text):
    with pytest.raises(UsageError, match="NUMBER/COUNT"):
        Shard.parse(text)


def test_files_of_shards(tmp_path):
    assert Shard.parse("3/48").path(Path("a/labels.v2.csv")) == Path("a/labels.v2.03-of-48.csv")
    assert str(Shard(3, 48)) == "3/48"
    for name in ("x.1-of-2.csv", "x.2-of-2.csv", "x.1-of-2.jsonl", "xx.1-of-2.csv", "x.csv"):
        (tmp_path / f"{name}.journal").write_text("")
    assert shards_of(tmp_path / "x.csv") == [tmp_path / "x.1-of-2.csv", tmp_path / "x.2-of-2.csv"]
    (tmp_path / "x.1-of-3.csv.journal").write_text("")
    with pytest.raises(UsageError, match="of 2 and of 3"):
        shards_of(tmp_path / "x.csv")
