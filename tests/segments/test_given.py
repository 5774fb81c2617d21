"""Which segments belong to which recording: a file for all, or a folder with a file for each."""

import os
from pathlib import Path

import pytest

from sertool.errors import UsageError
from sertool.recordings.recording import Recording
from sertool.recordings.scan import scan
from sertool.registry import Format
from sertool.segments import Segment
from sertool.segments.given import Given

HEAD = "file,start,end,speaker\n"


@pytest.fixture
def recordings(tmp_path, clip):
    for name in ("a.wav", "b c.flac", "sub/a.wav", "sub/d.wav"):
        clip(tmp_path / "in" / name, 0.1)
    return {recording.name: recording for recording in scan([str(tmp_path / "in")])}


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def starts(given, recording):
    return [segment.start for segment in given.of(recording)]


def test_a_file_names_recordings_by_name_path_or_the_end_of_a_path(tmp_path, recordings):
    lines = ["b c.flac,1,2,x", "b c,2,3,x", f"{tmp_path / 'in' / 'sub' / 'd.wav'},3,4,x", "d,4,5,y", "sub/a.wav,5,6,y"]
    lines += ["a.wav,6,7,y", "in/sub/d,7,8,y", "/elsewhere/sub/d.wav,8,9,y"]
    given = Given(put(tmp_path / "s.csv", HEAD + "\n".join(lines)), list(recordings.values()))
    assert starts(given, recordings["b c.flac"]) == [1, 2]
    assert starts(given, recordings["sub/d.wav"]) == [3, 4, 7, 8]
    assert starts(given, recordings["sub/a.wav"]) == [5]
    assert starts(given, recordings["a.wav"]) == [6]
    assert given.columns == ["speaker"]
    assert not given.unused


def test_a_file_in_another_folder_is_another_recording(tmp_path, recordings):
    text = HEAD + "sub/d.wav,0,1,x\nother/d.wav,1,2,x\n/elsewhere/other/d.wav,2,3,x\n"
    given = Given(put(tmp_path / "s.csv", text), list(recordings.values()))
    assert starts(given, recordings["sub/d.wav"]) == [0]
    assert given.unused == {"other/d.wav": 1, "/elsewhere/other/d.wav": 1}


def test_letters_are_compared_composed(tmp_path, clip):
    clip(tmp_path / "in" / "Gespra\u0308ch.wav", 0.1)  # as macOS writes it
    (recording,) = scan([str(tmp_path / "in")])
    assert starts(Given(put(tmp_path / "s.csv", HEAD + "Gespr\u00e4ch,1,2,x\n"), [recording]), recording) == [1]
    put(tmp_path / "seg" / "Gespr\u00e4ch.txt", "3\t4\tx\n")
    assert starts(Given(tmp_path / "seg", [recording]), recording) == [3]


def test_a_file_at_the_top_of_a_folder_is_not_given_to_a_recording_of_the_same_name_below(tmp_path, recordings):
    put(tmp_path / "seg" / "a.txt", "1\t2\tx\n")
    given = Given(tmp_path / "seg", list(recordings.values()))
    assert starts(given, recordings["a.wav"]) == [1]
    with pytest.raises(UsageError, match="no file with segments called a"):
        given.of(recordings["sub/a.wav"])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["1", "2"], [1, 2]),
        (["0", "1"], [1, 2]),
        (["A", "B"], [1, 2]),
        (["1", "1"], [None, None]),
        (["left", "right"], [None, None]),
        ([None, "2"], [None, None]),
    ],
)
def test_channels_by_name(names, expected):
    segments = [Segment(0.0, 1.0, channel=name) for name in names]
    given = Given.held({"a": segments})
    assert [given.channel(segment) for segment in segments] == expected


def test_a_reader_that_fails_is_an_error_of_one_line(tmp_path, recordings):
    def fail(path):
        raise IndexError("list index\nout of range")

    given = Given(put(tmp_path / "s.csv", HEAD + "d,0,1,x\n"), list(recordings.values()))
    form = Format("bad", "", (".bad",), read=fail)
    with pytest.raises(UsageError, match=r"s\.csv: not a complete file of format bad \(list index out of range\)"):
        given._read(tmp_path / "s.csv", form)


def test_a_folder_is_listed_once(tmp_path, recordings, monkeypatch):
    listed, listdir = [], os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or listdir(path))
    Given(tmp_path / "in", list(recordings.values()))
    assert len(listed) == len(set(listed)) == 2


def test_an_ambiguous_name_is_refused(tmp_path, recordings):
    below = [recordings["sub/a.wav"], Recording(tmp_path / "in" / "a.wav", "other/a.wav")]
    with pytest.raises(UsageError, match=r"a\.wav may mean other/a\.wav or sub/a\.wav: write a longer path"):
        Given(put(tmp_path / "s.csv", HEAD + "a.wav,1,2,x\n"), below)


def test_what_belongs_to_no_recording_is_counted_and_who_has_none_says_so(tmp_path, recordings):
    given = Given(put(tmp_path / "s.csv", HEAD + "z,1,2,x\nz,2,3,x\nsub/d.wav,0,1,x\n"), list(recordings.values()))
    assert given.unused == {"z": 2}
    with pytest.raises(UsageError, match=r"no segments in s\.csv; s\.csv has segments of 'z', say"):
        given.of(recordings["b c.flac"])


def test_a_file_without_names_is_for_one_recording(tmp_path, recordings):
    path = put(tmp_path / "s.srt", "1\n00:00:01,000 --> 00:00:02,000\nhi\n\n")
    assert starts(Given(path, [recordings["b c.flac"]]), recordings["b c.flac"]) == [1]
    with pytest.raises(UsageError, match="does not say to which of 4 recordings"):
        Given(path, list(recordings.values()))


def test_a_folder_holds_a_file_for_each_in_its_place_or_at_the_top(tmp_path, recordings):
    folder = tmp_path / "seg"
    put(folder / "a.txt", "1\t2\tx\n")
    put(folder / "b c.SRT", "1\n00:00:02,000 --> 00:00:03,000\nhi\n\n")
    put(folder / "sub" / "a.txt", "3\t4\tx\n")
    put(folder / "d.txt", "broken\n")
    given = Given(folder, list(recordings.values()))
    assert starts(given, recordings["a.wav"]) == [1]
    assert starts(given, recordings["b c.flac"]) == [2]
    assert starts(given, recordings["sub/a.wav"]) == [3]
    with pytest.raises(UsageError, match=r"d\.txt: line 1: not START, END and LABEL"):
        given.of(recordings["sub/d.wav"])
    assert given.columns == ["text"]
    before = given.stamp(recordings["a.wav"])
    put(folder / "a.txt", "1\t2\txyz\n")
    assert given.stamp(recordings["a.wav"]) != before


def test_two_files_for_one_recording_need_a_choice(tmp_path, recordings):
    put(tmp_path / "in" / "a.txt", "1\t2\tx\n")
    put(tmp_path / "in" / "a.csv", "start,end\n3,4\n")
    given = Given(tmp_path / "in", [recordings["a.wav"]])
    with pytest.raises(UsageError, match=r"a\.csv and a\.txt are both there: choose one with --segments-format"):
        given.of(recordings["a.wav"])
    assert starts(Given(tmp_path / "in", [recordings["a.wav"]], "csv"), recordings["a.wav"]) == [3]


@pytest.mark.parametrize(
    ("name", "form", "tier", "named"),
    [
        ("s.csv", "ctm2", None, "there is no 'ctm2'"),
        ("s.csv", "parquet", None, "can only be written"),
        ("s.csv", None, "words", "--tier: a file of format csv has no tiers"),
        ("s.doc", None, None, "unknown extension"),
        ("none.csv", None, None, "no such file or folder"),
        ("empty.csv", None, None, "there are no segments"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, recordings, name, form, tier, named):
    put(tmp_path / "s.csv", HEAD + "a.wav,0,1,x\n")
    put(tmp_path / "s.doc", "x")
    put(tmp_path / "empty.csv", HEAD)
    with pytest.raises(UsageError, match=named):
        Given(Path(tmp_path / name), list(recordings.values()), form, tier)
