"""Rows by window, segment, speaker and channel, against labels of the same samples."""

import math
import sys
import types

import numpy as np
import pytest
import soundfile

from sertool import audio, bundle
from sertool.errors import AudioWarning, UsageError
from sertool.labelling import Labeller
from sertool.labelling.job import label_all, label_one
from sertool.labelling.plan import Plan
from sertool.recordings.recording import Recording
from sertool.recordings.scan import scan
from sertool.segments import Segment
from sertool.segments.given import Given
from sertool.speech.detection import detect

RATE = 16_000
SAMPLES = bundle.bundled_folder() / "wav2small" / "samples"
OUTPUTS = ("arousal", "dominance", "valence")


@pytest.fixture(scope="module")
def model():
    return Labeller("wav2small")


@pytest.fixture(scope="module")
def voices():
    """Two voices."""
    return [audio.read(SAMPLES / name) for name in ("plain.wav", "slow-low.wav")]


@pytest.fixture(scope="module")
def talk(voices):
    """Two voices in turn with pauses, 40 s, and where each speaks: (start, end, voice) in samples."""
    samples, turns, at = np.zeros(40 * RATE, np.float32), [], RATE
    while at + len(voices[0]) < len(samples) - 4 * RATE:
        voice = len(turns) % 2
        length = len(voices[voice])
        samples[at : at + length] = voices[voice]
        turns.append((at, at + length, voice))
        at += length + (2 if voice else 5) * RATE
    rng = np.random.default_rng(0)
    return samples + 1e-4 * rng.standard_normal(len(samples)).astype(np.float32), turns


def wav(path, samples):
    soundfile.write(path, samples, RATE, "FLOAT")
    return path


def values(row):
    return [row[name] for name in OUTPUTS]


def given(path, text, recordings):
    path.write_text(text)
    return Given(path, recordings)


# ---- windows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [997, 16_000, 10**6])
def test_windows_are_every_hop_of_the_recording(model, talk, size):
    samples, turns = talk
    labeller = Labeller("wav2small", window=4.0, hop=2.0)
    blocks = (samples[at : at + size] for at in range(0, len(samples), size))
    rows, length = labeller.window_rows(blocks)
    assert length == 40
    assert [(row.start, row.end) for row in rows] == [(at, at + 4) for at in range(0, 37, 2)]
    for row in rows:
        first, last = round(row.start * RATE), round(row.end * RATE)
        spoken = sum(max(0, min(last, end) - max(first, start)) for start, end, _ in turns) / RATE
        assert row.speech == pytest.approx(spoken, abs=1.0)
        if row.error is None:
            assert values(row) == model.runtime.run(samples[first:last]).tolist()
        else:
            assert spoken < 0.5
            assert row.error.startswith("no speech found")
            assert row.arousal is None
    assert any(row.error for row in rows)
    assert rows == list(labeller.windows(samples, RATE))


def test_a_recording_without_speech_is_an_error_by_window_too(model, tmp_path):
    noise = wav(tmp_path / "a.wav", 0.01 * np.random.default_rng(0).standard_normal(20 * RATE).astype(np.float32))
    result = label_one(model, Recording(noise, "a.wav"), Plan("window"))
    assert result.failed
    assert result.error.startswith("no speech found")


# ---- segments ---------------------------------------------------------------------------------------------------


def test_a_segment_has_the_labels_of_its_samples(model, talk, tmp_path):
    samples, turns = talk
    path = wav(tmp_path / "a.wav", samples)
    segments = [(start / RATE, end / RATE) for start, end, _ in reversed(turns)]
    rows = model.segments(path, segments)
    assert rows == model.segments(samples, segments, RATE)
    assert [(row.start, row.end) for row in rows] == segments
    for row, (start, end, _) in zip(rows, reversed(turns), strict=True):
        assert values(row) == model.runtime.run(samples[start:end]).tolist()
        assert (row.speech, row.repeats, row.error) == (pytest.approx((end - start) / RATE), 0, None)
    flac = tmp_path / "a.flac"
    soundfile.write(flac, samples, RATE, "PCM_24")
    assert [values(row) for row in model.segments(flac, segments)] == [
        pytest.approx(values(row), abs=1e-3) for row in rows
    ]


def test_a_long_segment_is_averaged_over_its_windows(model, talk):
    samples, _ = talk
    (row,) = model.segments(samples, [(2.0, 30.0)], RATE)
    parts = [(2, 10), (10, 18), (18, 26), (26, 30)]
    runs = np.array([model.runtime.run(samples[a * RATE : b * RATE]) for a, b in parts])
    assert values(row) == pytest.approx(np.average(runs, axis=0, weights=[8, 8, 8, 4]), abs=1e-6)
    assert (row.start, row.end, row.speech) == (2, 30, 28)


def test_segments_at_their_limits(model, talk):
    samples, _ = talk
    segments = [
        (39.0, 45.0),  # ends behind the recording
        (41.0, 42.0),  # outside
        (5.0, 5.0),  # of no length
        (6.0, 5.0),  # backwards
        (-1.0, 5.0),
        (2.0, 2.00001),  # less than a sample
        (1.5, math.inf),
        (1.0, 3.0),
        (2.0, 4.0),  # overlaps
    ]
    rows = model.segments(samples, segments, RATE)
    assert [row.error for row in rows] == [
        None,
        "the segment is outside the recording, which ends at 40.000 s",
        "the segment has no length",
        "the segment has no length",
        "the segment begins before the recording",
        "the segment has no length",
        None,
        None,
        None,
    ]
    assert (rows[0].start, rows[0].end) == (39, 40)
    assert (rows[6].start, rows[6].end) == (1.5, 40)
    assert values(rows[0]) == model.runtime.run(samples[39 * RATE :]).tolist()
    silent = model.segments(np.concatenate([samples[: 2 * RATE], np.zeros(RATE, np.float32)]), [(2.0, 3.0)], RATE)
    assert silent[0].error.startswith("silent")


def test_short_segments_are_repeated_or_an_error(talk):
    samples, turns = talk
    model = Labeller("wav2small")
    model.runtime.shortest = shortest = 4800
    start, length = turns[0][0], 1600
    segment = [(start / RATE, (start + length) / RATE)]
    (row,) = model.segments(samples, segment, RATE)
    assert row.repeats == 2
    assert values(row) == model.runtime.run(np.tile(samples[start : start + length], 3)).tolist()
    (row,) = model.segments(samples, segment, RATE, short="error")
    assert row.error == f"too short: {length} samples at 16 kHz, the model needs {shortest}"
    (row,) = model.segments(samples, [(start / RATE, start / RATE + 0.009)], RATE)
    assert row.error == f"too short: 144 samples at 16 kHz, the model needs {shortest}"


def test_a_wrong_unit_costs_no_memory(model, talk, tmp_path):
    samples, _ = talk
    for name in ("a.wav", "a.ogg"):
        soundfile.write(tmp_path / name, samples, RATE)
        (row,) = model.segments(tmp_path / name, [(0.0, 1e12)])
        assert (row.start, row.end, row.error) == (0, 40, None)
        (row,) = model.segments(tmp_path / name, [(1e9, 1e12)])
        assert "outside the recording" in row.error


@pytest.mark.parametrize("ending", ["wav", "ogg"])
def test_many_recordings_with_given_segments(model, talk, tmp_path, ending):
    """Formats that are read by seeking and those that are decoded once give the same rows."""
    samples, turns = talk
    folder = tmp_path / "in"
    folder.mkdir()
    soundfile.write(folder / f"a.{ending}", samples, RATE)
    soundfile.write(folder / f"b.{ending}", samples[: 8 * RATE], RATE)
    recordings = scan(str(folder))
    lines = [f"a.{ending},{start / RATE},{end / RATE},{'ab'[who]},x" for start, end, who in turns]
    segments = given(tmp_path / "s.csv", "\n".join(["file,start,end,speaker,emotion", *lines]), recordings)
    a, b = label_all(model, recordings, Plan("segment", segments=segments), jobs=2, ordered=True)
    assert [row["speaker"] for row in a.rows] == ["ab"[who] for _, _, who in turns]
    assert [(row["start"], row["end"]) for row in a.rows] == [(s / RATE, e / RATE) for s, e, _ in turns]
    assert b.error.startswith("no segments in s.csv")
    decoded = audio.read(folder / f"a.{ending}")
    for row, (start, end, _) in zip(a.rows, turns, strict=True):
        assert values(row) == pytest.approx(model.runtime.run(decoded[start:end]).tolist(), abs=1e-6)
    assert a.seconds == 40
    speakers = next(label_all(model, recordings[:1], Plan("speaker", segments=segments)))
    assert [row["speaker"] for row in speakers.rows] == ["a", "b"]
    for row in speakers.rows:
        own = [r for r in a.rows if r["speaker"] == row["speaker"]]
        weights = [r["end"] - r["start"] for r in own]
        assert row["speech"] == pytest.approx(sum(weights), abs=1e-6)
        assert (row["start"], row["end"]) == (own[0]["start"], own[-1]["end"])
        for name in OUTPUTS:
            assert row[name] == pytest.approx(np.average([r[name] for r in own], weights=weights), abs=2e-6)


def test_a_given_column_that_the_table_has_is_renamed(emotion_bundle, talk, tmp_path):
    samples, _ = talk
    path = wav(tmp_path / "a.wav", samples)
    recordings = [Recording(path, "a.wav")]
    segments = given(tmp_path / "s.csv", "start,end,emotion,repeats\n1,2,bored,x\n", recordings)
    (row,) = next(label_all(Labeller(str(emotion_bundle)), recordings, Plan("segment", segments=segments))).rows
    assert (row["emotion.given"], row["repeats.given"]) == ("bored", "x")
    assert row["emotion"] in ("angry", "happy", "neutral", "sad")
    assert row["repeats"] == 0


def test_names_of_given_columns_never_meet(emotion_bundle, talk, tmp_path):
    path = wav(tmp_path / "a.wav", talk[0])
    recordings = [Recording(path, "a.wav")]
    text = "start,end,Emotion,emotion.given,emotion\n1,2,a,b,c\n"
    segments = given(tmp_path / "s.csv", text, recordings)
    (row,) = next(label_all(Labeller(str(emotion_bundle)), recordings, Plan("segment", segments=segments))).rows
    assert [row[name] for name in ("Emotion.given", "emotion.given.given", "emotion.given.given.given")] == [
        "a",
        "b",
        "c",
    ]
    assert len({name.casefold() for name in row}) == len(row)


def test_a_recording_fails_if_all_its_segments_do(model, talk, tmp_path):
    path = wav(tmp_path / "a.wav", talk[0])
    outside = [Recording(path, "a.wav")]
    segments = given(tmp_path / "s.csv", "start,end\n50,51\n60,61\n", outside)
    result = label_one(model, outside[0], Plan("segment", segments=segments))
    assert (result.failed, len(result.rows)) == (True, 2)
    some = given(tmp_path / "t.csv", "start,end\n1,2\n60,61\n70,71\n", outside)
    result = label_one(model, outside[0], Plan("segment", segments=some))
    assert not result.failed
    assert result.notes == ("2 of 3 rows have no label: the segment is outside the recording, which ends at 40.000 s",)


def test_channels_that_cancel_in_a_segment_do_not_change_the_others(model, talk, tmp_path):
    samples, turns = talk
    stereo = np.stack([samples, samples], 1)
    first, second = turns[0], turns[1]
    stereo[second[0] : second[1], 1] *= -1
    path = wav(tmp_path / "a.wav", stereo)
    spans = [(start / RATE, end / RATE) for start, end, _ in (second, first)]
    with pytest.warns(AudioWarning, match=f"cancel each other: from {second[0] / RATE:.1f} s on"):
        both = model.segments(path, spans)
    assert values(both[1]) == values(model.segments(path, spans[1:])[0])
    assert values(both[0]) == pytest.approx(values(model.segments(samples, spans[:1], RATE)[0]))


def test_segments_of_the_detector(model, talk, tmp_path):
    samples, _ = talk
    recording = Recording(wav(tmp_path / "a.wav", samples), "a.wav")
    found = detect([samples]).segments
    result = label_one(model, recording, Plan("segment"))
    assert [(row["start"], row["end"]) for row in result.rows] == [(s / RATE, e / RATE) for s, e in found]
    shorter = label_one(model, recording, Plan("segment", segmenter="vad:longest_speech_s=1"))
    assert max(row["end"] - row["start"] for row in shorter.rows) <= 1
    assert len(shorter.rows) > len(result.rows)
    with pytest.raises(UsageError, match="unexpected keyword argument 'longest'"):
        next(label_all(model, [recording], Plan("segment", segmenter="vad:longest=1")))


# ---- channels ---------------------------------------------------------------------------------------------------


@pytest.fixture
def call(talk, tmp_path):
    """A call: one voice on each of two channels, and the mono files of both."""
    samples, turns = talk
    channels = np.zeros((len(samples), 2), np.float32)
    for start, end, who in turns:
        channels[start:end, who] = samples[start:end]
    for who in (0, 1):
        wav(tmp_path / f"{who + 1}.wav", channels[:, who])
    return wav(tmp_path / "call.wav", channels)


@pytest.mark.parametrize("by", ["channel", "file", "window", "segment", "speech-window"])
def test_each_channel_is_labelled_like_a_file_of_it(model, call, by):
    each = label_one(model, Recording(call, "call.wav"), Plan(by, "each"))
    for channel in (1, 2):
        kind = "file" if by == "channel" else by
        alone = label_one(model, Recording(call.with_name(f"{channel}.wav"), "call.wav"), Plan(kind))
        own = [{k: v for k, v in row.items() if k != "channel"} for row in each.rows if row["channel"] == channel]
        assert own == alone.rows
        one = label_one(model, Recording(call, "call.wav"), Plan(kind, channel))
        assert one.rows == alone.rows
    assert not each.notes


def test_speakers_are_channels_where_segments_name_none(model, call):
    result = label_one(model, Recording(call, "call.wav"), Plan("speaker", "each"))
    assert [(row["channel"], row["speaker"]) for row in result.rows] == [(1, "1"), (2, "2")]


def test_segments_that_name_channels_are_read_from_them(model, call, talk, tmp_path):
    _, turns = talk
    recordings = [Recording(call, "call.wav")]
    lines = [f"SPEAKER call {w + 1} {s / RATE} {(e - s) / RATE} <NA> <NA> {'ab'[w]} <NA> <NA>" for s, e, w in turns]
    segments = given(tmp_path / "s.rttm", "\n".join(lines), recordings)
    each = label_one(model, recordings[0], Plan("segment", "each", segments=segments))
    assert {(row["channel"], row["speaker"]) for row in each.rows} == {(1, "a"), (2, "b")}
    assert len(each.rows) == len(turns)
    right = label_one(model, recordings[0], Plan("segment", 2, segments=segments))
    assert {row["speaker"] for row in right.rows} == {"b"}
    # If all name the same one, as diarisers do, every channel is labelled.
    same = given(tmp_path / "t.rttm", "\n".join(lines).replace("call 2", "call 1"), recordings)
    assert len(label_one(model, recordings[0], Plan("segment", "each", segments=same)).rows) == 2 * len(turns)


def test_a_silent_channel_is_a_row_and_a_note_and_no_failure(model, voices, tmp_path):
    stereo = np.stack([voices[0], np.zeros_like(voices[0])], 1)
    result = label_one(model, Recording(wav(tmp_path / "a.wav", stereo), "a.wav"), Plan("channel"))
    assert not result.failed
    assert result.notes == ("channel 2 is silent",)
    assert [row["error"] for row in result.rows] == [None, "silent: nothing above -80 dB full scale"]
    nothing = label_one(model, Recording(wav(tmp_path / "b.wav", 0 * stereo), "b.wav"), Plan("channel"))
    assert nothing.failed
    assert len(nothing.rows) == 2
    missing = label_one(model, Recording(tmp_path / "c.wav", "c.wav"), Plan("channel"))
    assert (missing.failed, missing.error) == (True, "no such file or directory")


def test_a_channel_that_is_not_there(model, call):
    result = label_one(model, Recording(call, "call.wav"), Plan(channel=3))
    assert result.error == "it has 2 channels: there is no channel 3"


# ---- plans ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"by": "word"}, "by must be one of"),
        ({"short": "pad"}, "short must be repeat or error"),
        ({"channel": 0}, "channel must be a number from 1"),
        ({"track": "all"}, "track must be a number from 1"),
        ({"by": "speaker"}, "rows by speaker need speakers"),
        ({"by": "window", "segmenter": "vad"}, "a row is a segment"),
        ({"by": "channel", "channel": 1}, "rows by channel are of each channel, not of channel 1"),
    ],
)
def test_what_does_not_go_together_is_refused(options, named):
    with pytest.raises(UsageError, match=named):
        Plan(**options)


def test_given_segments_exclude_a_segmenter(tmp_path, call):
    segments = given(tmp_path / "s.csv", "start,end\n0,1\n", [Recording(call, "call.wav")])
    with pytest.raises(UsageError, match="a segmenter has nothing to do"):
        Plan("segment", segments=segments, segmenter="vad")
    with pytest.raises(UsageError, match="rows by speaker need speakers"):
        Plan("speaker", segments=segments)


# ---- pyannote ---------------------------------------------------------------------------------------------------


@pytest.fixture
def pyannote(monkeypatch, tmp_path, talk):
    """A stand-in for pyannote.audio with the parts of its interface that are used, and real annotations."""
    core = pytest.importorskip("pyannote.core")
    pytest.importorskip("torch")
    _, turns = talk
    calls = []

    class Pipeline:
        @classmethod
        def from_pretrained(cls, path):
            calls.append(path)
            return None if "refuses" in path.read_text() else cls()

        def __call__(self, file, **options):
            calls.append((tuple(file["waveform"].shape), file["sample_rate"], options))
            if options.get("max_speakers") == 0:
                raise ValueError("no\nspeakers")
            annotation = core.Annotation()
            for start, end, who in turns:
                annotation[core.Segment(start / RATE, end / RATE), who] = f"SPEAKER_0{who}"
            return types.SimpleNamespace(speaker_diarization=annotation) if options.get("new") else annotation

    module = types.ModuleType("pyannote.audio")
    module.Pipeline = Pipeline
    monkeypatch.setitem(sys.modules, "pyannote.audio", module)
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "config.yaml").write_text("pipeline: {}\n")
    return tmp_path / "pipeline", calls


@pytest.mark.parametrize("more", ["", ",new=true"])
def test_speakers_by_pyannote(model, talk, tmp_path, pyannote, more):
    folder, calls = pyannote
    samples, turns = talk
    recording = Recording(wav(tmp_path / "a.wav", samples), "a.wav")
    segmenter = f"pyannote:folder={folder},min_speakers=2{more}"
    (result,) = label_all(model, [recording], Plan("speaker", segmenter=segmenter))
    assert [row["speaker"] for row in result.rows] == ["SPEAKER_00", "SPEAKER_01"]
    assert calls[0] == folder / "config.yaml"
    assert calls[1][:2] == ((1, len(samples)), RATE)
    assert calls[1][2]["min_speakers"] == 2
    (rows,) = label_all(model, [recording], Plan("segment", segmenter=segmenter))
    assert [row["speaker"] for row in rows.rows] == [f"SPEAKER_0{who}" for *_, who in turns]


def test_what_pyannote_cannot_do_is_said(model, talk, tmp_path, pyannote):
    folder, _ = pyannote
    recording = Recording(wav(tmp_path / "a.wav", talk[0]), "a.wav")
    (result,) = label_all(model, [recording], Plan("segment", segmenter=f"pyannote:folder={folder},max_speakers=0"))
    assert result.error == "pyannote: no speakers"
    (folder / "config.yaml").write_text("refuses")
    for segmenter, named in (
        ("pyannote", "name a local pipeline"),
        (f"pyannote:folder={tmp_path / 'none'}", "there is no"),
        (f"pyannote:folder={folder}", "models that are not on this computer"),
    ):
        with pytest.raises(UsageError, match=named):
            next(label_all(model, [recording], Plan("segment", segmenter=segmenter)))


def test_segments_are_values():
    assert Segment(0.0, 1.0) == Segment(0.0, 1.0, {}, None, None)
