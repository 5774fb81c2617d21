"""Files as other tools write them: Praat, ELAN, pyannote, whisper, Audacity, subtitle editors."""

import json

import pytest

from sertool.errors import UsageError
from sertool.plugins import load_plugins
from sertool.segments import Segment, seconds


def read(form, path, **options):
    return load_plugins().get("formats", form).read(path, **options)


def put(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def times(segments):
    return [(round(s.start, 6), round(s.end, 6)) for s in segments]


# ---- Praat ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grid():
    """A TextGrid made by Praat itself."""
    parselmouth = pytest.importorskip("parselmouth")
    call = parselmouth.praat.call
    grid = call("Create TextGrid...", 0, 10, "words phones clicks", "clicks")
    for time in (1.2345, 2.5):
        call(grid, "Insert boundary...", 1, time)
    call(grid, "Set interval text...", 1, 2, 'hällo "you" ß 你好')
    call(grid, "Insert boundary...", 2, 3)
    call(grid, "Set interval text...", 2, 1, "a")
    call(grid, "Insert point...", 3, 4.5, "click")
    return grid


@pytest.mark.parametrize("kind", ["text", "short text"])
@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16", "try ASCII, then UTF-16"])
def test_praats_own_files(grid, tmp_path, kind, encoding):
    call = pytest.importorskip("parselmouth").praat.call
    call("Text writing preferences...", encoding)
    call(grid, f"Save as {kind} file...", str(tmp_path / "a.TextGrid"))
    segments = read("textgrid", tmp_path / "a.TextGrid")
    assert segments == [
        Segment(1.2345, 2.5, {"tier": "words", "text": 'hällo "you" ß 你好'}),
        Segment(0.0, 3.0, {"tier": "phones", "text": "a"}),
    ]
    assert times(read("textgrid", tmp_path / "a.TextGrid", tier="phones")) == [(0, 3)]
    with pytest.raises(UsageError, match=r"there is no tier 'word' \(there are: words, phones\)"):
        read("textgrid", tmp_path / "a.TextGrid", tier="word")


def test_a_binary_textgrid_says_what_to_do(grid, tmp_path):
    pytest.importorskip("parselmouth").praat.call(grid, "Save as binary file...", str(tmp_path / "a.TextGrid"))
    with pytest.raises(UsageError, match="save it as a text file"):
        read("textgrid", tmp_path / "a.TextGrid")


# ---- ELAN -------------------------------------------------------------------------------------------------------

EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-01T00:00:00+01:00" FORMAT="3.0" VERSION="3.0"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
<TIME_ORDER>
  <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="ts2"/><TIME_SLOT TIME_SLOT_ID="ts3"/>
  <TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="4000"/><TIME_SLOT TIME_SLOT_ID="ts5" TIME_VALUE="5125"/>
</TIME_ORDER>
<TIER TIER_ID="words" PARTICIPANT="Anna" LINGUISTIC_TYPE_REF="default-lt">
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
    <ANNOTATION_VALUE>one</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
    <ANNOTATION_VALUE>two &amp; more</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
    <ANNOTATION_VALUE></ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER>
<TIER TIER_ID="glosses" PARENT_REF="words" LINGUISTIC_TYPE_REF="ref">
  <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a2">
    <ANNOTATION_VALUE>zwei</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a5" ANNOTATION_REF="a4">
    <ANNOTATION_VALUE>deux</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
</TIER>
<TIER TIER_ID="noise"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a6" TIME_SLOT_REF1="ts4" TIME_SLOT_REF2="ts5">
    <ANNOTATION_VALUE>door</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
</ANNOTATION_DOCUMENT>"""


def test_elan_spreads_open_times_and_follows_references(tmp_path):
    path = put(tmp_path / "a.eaf", EAF)
    assert read("eaf", path) == [
        Segment(1.0, 2.0, {"tier": "words", "speaker": "Anna", "text": "one"}),
        Segment(2.0, 3.0, {"tier": "words", "speaker": "Anna", "text": "two & more"}),
        Segment(3.0, 4.0, {"tier": "words", "speaker": "Anna"}),
        Segment(2.0, 3.0, {"tier": "glosses", "text": "deux"}),
        Segment(2.0, 3.0, {"tier": "glosses", "text": "zwei"}),
        Segment(4.0, 5.125, {"tier": "noise", "text": "door"}),
    ]
    assert times(read("eaf", path, tier="noise")) == [(4, 5.125)]
    # Other programs leave the schema out.
    bare = EAF.replace("xsi:noNamespaceSchemaLocation", "other").replace("xmlns:xsi", "xmlns:x")
    assert read("eaf", put(tmp_path / "b.eaf", bare)) == read("eaf", path)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("<html/>", "its root is html"),
        ("<ANNOTATION_DOCUMENT>", "no element found"),
        (EAF.replace('TIME_SLOT_REF1="ts4"', 'TIME_SLOT_REF1="ts9"'), "ts9"),
        (EAF.replace('"1000"', '"soon"'), "soon"),
    ],
)
def test_a_broken_eaf_is_an_error(tmp_path, text, named):
    with pytest.raises(UsageError, match=named):
        read("eaf", put(tmp_path / "a.eaf", text))


def test_pympi_reads_the_same_times(tmp_path):
    elan = pytest.importorskip("pympi.Elan")
    path = put(
        tmp_path / "a.eaf",
        EAF.replace('"ts2"/>', '"ts2" TIME_VALUE="2000"/>').replace('"ts3"/>', '"ts3" TIME_VALUE="3000"/>'),
    )
    document = elan.Eaf(str(path))
    for tier in ("words", "noise"):
        expected = [(start / 1000, end / 1000) for start, end, _ in document.get_annotation_data_for_tier(tier)]
        assert times(read("eaf", path, tier=tier)) == sorted(expected)


# ---- subtitles --------------------------------------------------------------------------------------------------


def test_srt_as_people_have_it(tmp_path):
    text = (
        "\ufeff1\r\n00:00:01,500 --> 00:00:03,250 X1:40\r\n<i>Hello,</i>\r\n{\\an8}you!\r\n\r\n"
        "2\r\n01:00:00,000 --> 01:00:01,000\r\n[SPEAKER_01]: Bye\r\n\r\n"
        "3\r\n01:00:02,000 --> 01:00:03,000\r\n\r\n"
    )
    assert read("srt", put(tmp_path / "a.srt", text)) == [
        Segment(1.5, 3.25, {"text": "Hello,\nyou!"}),
        Segment(3600.0, 3601.0, {"speaker": "SPEAKER_01", "text": "Bye"}),
        Segment(3602.0, 3603.0, {}),
    ]
    cues = ("[Applause] Thank you", "[Anna]: Thank you", "[SPEAKER_02] Thank you")
    text = "\n".join(f"1\n00:00:0{i},000 --> 00:00:0{i},500\n{cue}\n" for i, cue in enumerate(cues))
    assert [segment.columns for segment in read("srt", put(tmp_path / "c.srt", text))] == [
        {"text": "[Applause] Thank you"},
        {"speaker": "Anna", "text": "Thank you"},
        {"speaker": "SPEAKER_02", "text": "Thank you"},
    ]
    latin = put(tmp_path / "b.srt", "1\n00:00:01,500 --> 00:00:02,000\ncafé\n", "latin-1")
    assert read("srt", latin)[0].columns == {"text": "café"}


def test_vtt_with_voices_styles_and_short_times(tmp_path):
    text = (
        "WEBVTT - a title\n\nSTYLE\n::cue { color: red }\n\nNOTE nothing\n\n"
        "intro\n00:01.500 --> 00:03.250 align:start\n<v Jane Doe>Hello <b>you</b> &amp; me\n\n"
        "01:00:00.000 --> 01:00:01.000\nBye\n"
    )
    assert read("vtt", put(tmp_path / "a.vtt", text)) == [
        Segment(1.5, 3.25, {"speaker": "Jane Doe", "text": "Hello you & me"}),
        Segment(3600.0, 3601.0, {"text": "Bye"}),
    ]


# ---- lines ------------------------------------------------------------------------------------------------------


def test_rttm_as_pyannote_reads_it(tmp_path):
    util = pytest.importorskip("pyannote.database.util")
    text = (
        ";; a comment\n"
        "SPKR-INFO a 1 <NA> <NA> <NA> unknown anna <NA> <NA>\n"
        "SPEAKER a 1 1.500 2.250 <NA> <NA> anna 0.9 <NA>\n"
        "SPEAKER b 2 0.125 1.000 <NA> <NA> ben <NA> <NA>\n"
    )
    path = put(tmp_path / "a.rttm", text)
    segments = read("rttm", path)
    assert segments == [
        Segment(1.5, 3.75, {"speaker": "anna"}, "a", "1"),
        Segment(0.125, 1.125, {"speaker": "ben"}, "b", "2"),
    ]
    loaded = util.load_rttm(str(put(tmp_path / "b.rttm", text.split("\n", 2)[2])))
    for segment in segments:
        (turn,) = loaded[segment.file].itersegments()
        assert (turn.start, turn.end) == pytest.approx((segment.start, segment.end))


def test_ctm_is_words(tmp_path):
    path = put(tmp_path / "a.ctm", ";; header\ncall A 0.5 0.25 hello 0.9\ncall B 1.0 0.5 you\n")
    assert read("ctm", path) == [
        Segment(0.5, 0.75, {"text": "hello"}, "call", "A"),
        Segment(1.0, 1.5, {"text": "you"}, "call", "B"),
    ]


def test_audacity_skips_lines_with_frequencies(tmp_path):
    """The manual's example of labels with spectral selections."""
    text = "1.500000\t3.250000\tangry\n\\\t1000.0\t2000.0\n4,000000\t4,500000\t\n"
    path = put(tmp_path / "a.txt", text)
    assert read("audacity", path) == [Segment(1.5, 3.25, {"text": "angry"}), Segment(4.0, 4.5, {})]


@pytest.mark.parametrize(
    ("form", "text", "named"),
    [
        ("rttm", "SPEAKER a 1 x 2 <NA> <NA> anna <NA> <NA>\n", "line 1: 'x' is not a time"),
        ("rttm", "SPEAKER a 1 1.0\n", "line 1: 4 fields instead of at least 8"),
        ("ctm", "a 1 0.5 nan word\n", "line 1: 'nan' is not a time"),
        ("audacity", "1.0 2.0 angry\n", "line 1: not START, END and LABEL"),
        ("csv", "file,begin,end\n", "there is no column 'start'"),
        ("csv", "start,end\n0,1\n1\n", "line 3: 1 cells, but 2 columns"),
        ("csv", "start,end\n0,soon\n", "line 2: 'soon' is not a time"),
        ("csv", 'start,end\n0,"1\n', "line"),
        ("csv", "start,end,end\n", "two columns are called 'end'"),
        ("srt", "hello\n", "not SRT subtitles"),
        ("vtt", "hello\n", "not WebVTT subtitles"),
        ("whisper", "[1, 2]", "segment 1 has no start and end"),
        ("whisper", "{}", 'there is no list "segments"'),
        ("whisper", "{", "not JSON"),
        ("textgrid", "hello\n", "not a TextGrid"),
    ],
)
def test_broken_files_are_errors_of_one_line(tmp_path, form, text, named):
    with pytest.raises(UsageError) as error:
        read(form, put(tmp_path / "a.x", text))
    assert named in str(error.value)
    assert "\n" not in str(error.value)


# ---- whisper ----------------------------------------------------------------------------------------------------


def test_transcripts_of_whisper_whisperx_and_whisper_cpp(tmp_path):
    whisper = {"text": " Hello you", "segments": [{"id": 0, "start": 0.5, "end": 2.25, "text": " Hello  you"}]}
    assert read("whisper", put(tmp_path / "a.json", json.dumps(whisper))) == [Segment(0.5, 2.25, {"text": "Hello you"})]
    whisperx = {"segments": [{"start": 0.5, "end": 2.25, "text": "Hi", "speaker": "SPEAKER_00", "words": []}]}
    assert read("whisper", put(tmp_path / "b.json", json.dumps(whisperx))) == [
        Segment(0.5, 2.25, {"speaker": "SPEAKER_00", "text": "Hi"})
    ]
    assert read("whisper", put(tmp_path / "c.json", json.dumps(whisperx["segments"])))[0].end == 2.25
    cpp = {"transcription": [{"offsets": {"from": 500, "to": 2250}, "text": " Hi"}]}
    assert read("whisper", put(tmp_path / "d.json", json.dumps(cpp))) == [Segment(0.5, 2.25, {"text": "Hi"})]


def test_the_table_of_whisper_is_in_milliseconds(tmp_path):
    path = put(tmp_path / "a.tsv", "start\tend\ttext\n500\t2250\tHi\n3661004\t3662500\tBye\n")
    assert read("csv", path) == [Segment(0.5, 2.25, {"text": "Hi"}), Segment(3661.004, 3662.5, {"text": "Bye"})]
    path = put(tmp_path / "b.tsv", "start\tend\ttext\n500\t2250.5\tHi\n")
    assert read("csv", path) == [Segment(500.0, 2250.5, {"text": "Hi"})]
    path = put(tmp_path / "c.tsv", "start\tend\ttext\n5\t22\tHi\n")
    assert read("csv", path) == [Segment(5.0, 22.0, {"text": "Hi"})]


# ---- tables -----------------------------------------------------------------------------------------------------


def test_audformats_tables(tmp_path):
    audformat, pandas = pytest.importorskip("audformat"), pytest.importorskip("pandas")
    index = audformat.segmented_index(["a.wav", "b.wav"], ["0.5s", "1s"], ["2.25s", pandas.NaT])
    frame = pandas.DataFrame({"emotion": ["angry", "sad"]}, index=index)
    frame.to_csv(tmp_path / "a.csv")
    assert read("csv", tmp_path / "a.csv") == [
        Segment(0.5, 2.25, {"emotion": "angry"}, "a.wav"),
        Segment(1.0, float("inf"), {"emotion": "sad"}, "b.wav"),
    ]


def test_tables_of_spreadsheets(tmp_path):
    excel = put(tmp_path / "a.csv", "\ufefffile;start;end;note\r\na.wav;0,5;0:02,25;x, y\r\n;;;\r\n")
    assert read("csv", excel) == [Segment(0.5, 2.25, {"note": "x, y"}, "a.wav")]
    for name in ("a.tsv", "b.csv"):
        tabs = put(tmp_path / name, "Start\tEnd\tNote\n0.5\t1:00:02.25\tx,y;z\n")
        assert read("csv", tabs) == [Segment(0.5, 3602.25, {"Note": "x,y;z"})]
    channels = put(tmp_path / "c.csv", "start,end,channel\n0,1,2\n")
    assert read("csv", channels) == [Segment(0.0, 1.0, {"channel": "2"}, None, "2")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5", 1.5),
        ("01:02", 62.0),
        ("1:02:03.5", 3723.5),
        ("0 days 00:00:01.500000", 1.5),
        ("1 day 00:00:01", 86_401.0),
        ("2 days", 172_800.0),
        (" 7 ", 7.0),
    ],
)
def test_times(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1:2:3:4", "days", "-"])
def test_wrong_times(text):
    with pytest.raises(ValueError, match="is not a time"):
        seconds(text)
