"""What was typed to a list of recordings."""

import os
from pathlib import Path

import pytest

from sertool.recordings.scan import scan

posix = pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Two folders of empty files, as the current folder."""
    for name in [
        "one/b.wav",
        "one/a.wav",
        "one/sub/a.wav",
        "one/sub/deep/z.FLAC",
        "one/a10.mp3",
        "one/notes.txt",
        "one/.hidden.wav",
        "one/.git/c.wav",
        "two/a.wav",
        "two/x.ogg",
        "top.wav",
        "odd.bin",
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*paths, pattern=None):
    return [recording.name for recording in scan(paths, pattern)]


IN_ONE = ["a.wav", "a10.mp3", "b.wav", os.path.join("sub", "a.wav"), os.path.join("sub", "deep", "z.FLAC")]


@pytest.mark.parametrize("typed", ["one", "one/", "./one"])
def test_a_folder_is_searched_all_the_way_down_in_order_and_names_are_relative_to_it(tree, typed):
    assert names(typed) == IN_ONE
    assert [recording.path for recording in scan([typed])] == [Path("one") / name for name in IN_ONE]


def test_the_order_is_that_of_the_names_and_not_of_the_disk(tmp_path):
    for i in (5, 3, 9, 1, 7, 0, 2):
        (tmp_path / f"{i}.wav").touch()
    assert names(str(tmp_path)) == [f"{i}.wav" for i in (0, 1, 2, 3, 5, 7, 9)]


def test_an_absolute_folder_gives_the_same_names(tree):
    assert names(str(tree / "one")) == IN_ONE


def test_hidden_files_and_folders_are_passed_over_but_not_if_named(tree):
    assert not any("hidden" in name or ".git" in name for name in names("one"))
    assert names("one/.hidden.wav") == ["one/.hidden.wav"]
    assert names("one/.git") == ["c.wav"]


def test_of_several_paths_names_begin_with_the_path_as_typed(tree):
    assert names("one", "two", "top.wav") == [
        *(os.path.join("one", name) for name in IN_ONE),
        os.path.join("two", "a.wav"),
        os.path.join("two", "x.ogg"),
        "top.wav",
    ]
    typed = str(tree / "two")
    assert names(typed, "top.wav") == [os.path.join(typed, "a.wav"), os.path.join(typed, "x.ogg"), "top.wav"]


def test_files_of_one_name_in_different_folders_stay_apart(tree):
    found = scan(["one", "two"])
    named_a = [recording for recording in found if recording.path.name == "a.wav"]
    assert len(named_a) == 3
    assert len({recording.name for recording in found}) == len(found)


def test_a_file_is_named_as_typed_whatever_its_ending(tree):
    assert names("odd.bin", "./top.wav") == ["odd.bin", "./top.wav"]


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("*.wav", ["a.wav", "b.wav", os.path.join("sub", "a.wav")]),
        ("a*", ["a.wav", "a10.mp3", os.path.join("sub", "a.wav")]),
        ("sub/*", [os.path.join("sub", "a.wav"), os.path.join("sub", "deep", "z.FLAC")]),
        ("*.xyz", []),
    ],
)
def test_the_pattern_keeps_matching_files_of_folders(tree, pattern, kept):
    assert names("one", pattern=pattern) == kept


def test_the_pattern_leaves_named_files_alone(tree):
    assert names("top.wav", "two", pattern="*.ogg") == ["top.wav", os.path.join("two", "x.ogg")]


def test_a_glob_that_the_shell_left_alone_is_expanded(tree):
    assert names("one/*.wav") == ["one/a.wav", "one/b.wav"]
    assert names("**/a.wav") == ["one/a.wav", "one/sub/a.wav", "two/a.wav"]
    assert names("t*") == ["top.wav", os.path.join("two", "a.wav"), os.path.join("two", "x.ogg")]


def test_a_glob_without_a_match_is_a_row_that_says_so(tree):
    (found,) = scan(["*.nothing"])
    assert (found.name, found.error) == ("*.nothing", "no file matches this pattern")


def test_a_file_whose_name_looks_like_a_glob_is_taken_as_it_is(tree):
    (tree / "take[1].wav").touch()
    assert [(r.name, r.error) for r in scan(["take[1].wav"])] == [("take[1].wav", None)]


def test_a_missing_file_stays_in_the_list(tree):
    assert names("top.wav", "gone.wav", "two") == [
        "top.wav",
        "gone.wav",
        os.path.join("two", "a.wav"),
        os.path.join("two", "x.ogg"),
    ]


def test_a_file_given_twice_is_there_once(tree):
    assert names("top.wav", "two", "top.wav", "two", os.path.join("two", "a.wav")) == [
        "top.wav",
        os.path.join("two", "a.wav"),
        os.path.join("two", "x.ogg"),
    ]


def test_an_empty_folder_gives_nothing(tmp_path):
    assert list(scan([str(tmp_path)])) == []


@posix
def test_links_to_folders_are_followed_but_never_in_a_circle(tree):
    (tree / "one/up").symlink_to(tree / "one", target_is_directory=True)
    (tree / "two/down").symlink_to(tree / "one/sub", target_is_directory=True)
    (tree / "one/sub/back").symlink_to(tree / "two", target_is_directory=True)
    assert names("two") == ["a.wav", "x.ogg", "down/a.wav", "down/deep/z.FLAC"]
    found = names("one")
    assert set(IN_ONE) <= set(found)
    assert len(found) == len(set(found)) == len(IN_ONE) + 2  # and two/a.wav, two/x.ogg through the link, once


@posix
def test_a_link_to_a_file_is_a_file_and_a_dangling_one_stays_in_the_list(tree):
    (tree / "two/b.wav").symlink_to(tree / "top.wav")
    (tree / "two/c.wav").symlink_to(tree / "gone.wav")
    assert names("two") == ["a.wav", "b.wav", "c.wav", "x.ogg"]


def test_a_folder_that_cannot_be_searched_is_a_row_that_says_so(tree, monkeypatch):
    listed = os.scandir

    def refused(folder):
        if os.path.basename(folder) == "sub":
            raise PermissionError(13, "Permission denied", folder)
        return listed(folder)

    monkeypatch.setattr(os, "scandir", refused)  # mode bits would not keep root out
    found = {recording.name: recording.error for recording in scan(["one"])}
    assert found == {
        "a.wav": None,
        "a10.mp3": None,
        "b.wav": None,
        "sub": "folder cannot be searched (permission denied)",
    }
