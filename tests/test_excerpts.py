"""Stretches of recordings: the same samples as from reading the whole, by seeking where that is exact."""

import numpy as np
import pytest
import soundfile

from sertool import audio
from sertool.errors import AudioError, AudioWarning
from sertool.recordings.places import parts
from sertool.recordings.recording import Recording

SPANS = [(0, 1600), (8000, 8001), (4001, 24_000), (4001, 24_000), (15_999, 40_000), (0, 0), (70_000, 90_000)]
#: Format and sample format -> whether it is read by seeking.
FORMATS = {
    ("WAV", "PCM_16"): True,
    ("WAV", "PCM_24"): True,
    ("WAV", "FLOAT"): True,
    ("WAV", "ULAW"): True,
    ("WAV", "IMA_ADPCM"): False,
    ("W64", "PCM_16"): True,
    ("RF64", "PCM_16"): True,
    ("AIFF", "PCM_16"): True,
    ("AU", "PCM_16"): True,
    ("CAF", "PCM_16"): True,
    ("FLAC", "PCM_16"): True,
    ("FLAC", "PCM_24"): True,
    ("OGG", "VORBIS"): False,
    ("OGG", "OPUS"): False,
    ("MP3", "MPEG_LAYER_III"): False,
}


def close(excerpts, whole, tolerance):
    parts = dict(excerpts.read(SPANS))
    assert sorted(parts) == list(range(len(SPANS)))
    for index, (start, end) in enumerate(SPANS):
        expected = whole[start:end]
        assert len(parts[index]) == len(expected), SPANS[index]
        np.testing.assert_allclose(parts[index], expected, atol=tolerance)
    assert excerpts.length == len(whole)


@pytest.mark.parametrize(("form", "subtype"), FORMATS)
def test_excerpts_equal_the_whole(tmp_path, tone, form, subtype):
    rate = 48_000 if subtype == "OPUS" else 16_000
    samples = tone(3.1, rate, 2)
    soundfile.write(tmp_path / "a", np.clip(samples, -0.9, 0.9), rate, subtype, format=form)
    excerpts = audio.Excerpts(tmp_path / "a")
    assert excerpts.seekable == FORMATS[form, subtype]
    close(excerpts, audio.read(tmp_path / "a"), 0 if rate == 16_000 else 1e-6)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 24_000, 32_000, 44_056, 44_100, 48_000, 96_000])
def test_resampled_excerpts_lie_on_the_same_grid(tmp_path, clip, rate):
    path = clip(tmp_path / "a.wav", 3.1, rate, seed=rate)
    excerpts = audio.Excerpts(path)
    assert excerpts.seekable
    close(excerpts, audio.read(path), 1e-6)


def test_only_what_is_asked_for_is_read(tmp_path, clip, monkeypatch):
    path, read = clip(tmp_path / "a.wav", 60.0), []
    frames = soundfile.SoundFile.read

    def counted(file, n=-1, **options):
        read.append(n)
        return frames(file, n, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    dict(audio.Excerpts(path).read([(16_000, 32_000), (800_000, 800_160)]))
    assert read == [16_000, 160]


def test_one_channel_is_that_channel(tmp_path, tone):
    samples = tone(1.0, 16_000, 3).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 16_000, "FLOAT")
    for channel in (1, 2, 3):
        assert np.array_equal(audio.read(tmp_path / "a.wav", channel=channel), samples[:, channel - 1])
        ((_, part),) = audio.Excerpts(tmp_path / "a.wav", channel=channel).read([(100, 200)])
        assert np.array_equal(part, samples[100:200, channel - 1])
    with pytest.raises(AudioError, match="it has 3 channels: there is no channel 4"):
        audio.read(tmp_path / "a.wav", channel=4)
    with pytest.raises(AudioError, match="only one audio track: there is no track 2"):
        audio.read(tmp_path / "a.wav", track=2)


def test_channels_that_cancel_are_said_and_one_is_used(tmp_path, tone):
    samples = tone(1.0, 16_000, 1)[:, 0].astype(np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([samples, -samples], 1), 16_000, "FLOAT")
    with pytest.warns(AudioWarning, match="cancel each other"):
        ((_, part),) = audio.Excerpts(tmp_path / "a.wav").read([(0, 16_000)])
    assert np.abs(part).max() > 0.1


def test_tracks_of_a_container(tmp_path, tone):
    av = pytest.importorskip("av")
    tones = [tone(1.0, 16_000, 1, seed=seed)[:, 0].astype(np.float32) for seed in (1, 2)]
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in tones]
        for stream, samples in zip(streams, tones, strict=True):
            pcm = (samples * 32_767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(pcm, "s16", "mono")
            frame.sample_rate, frame.pts = 16_000, 0
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
    assert audio.layout(tmp_path / "a.mkv") == ([1, 1], 1)
    for number, samples in enumerate(tones, start=1):
        np.testing.assert_allclose(audio.read(tmp_path / "a.mkv", track=number), samples, atol=1e-4)
    with pytest.raises(AudioError, match="it has 2 audio tracks: there is no track 3"):
        audio.read(tmp_path / "a.mkv", track=3)
    with pytest.warns(AudioWarning, match="2 audio tracks: number 1 is used"):
        audio.read(tmp_path / "a.mkv")


def test_layout_counts_channels(tmp_path, clip):
    assert audio.layout(clip(tmp_path / "a.wav", 0.1, channels=5)) == ([5], 1)
    with pytest.raises(AudioError, match="no such file"):
        audio.layout(tmp_path / "none.wav")


def test_damage_is_found_as_in_reading_the_whole(tmp_path, clip):
    path = clip(tmp_path / "a.wav", 2.0)
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(AudioError, match="truncated or damaged"):
        list(audio.Excerpts(path).read([(0, 100)]))
    bad = np.zeros(16_000, np.float32)
    bad[8000] = np.nan
    soundfile.write(tmp_path / "b.wav", bad, 16_000, "FLOAT")
    assert len(dict(audio.Excerpts(tmp_path / "b.wav").read([(0, 100)]))[0]) == 100
    with pytest.raises(AudioError, match=r"NaN or infinity at 0\.500 s"):
        list(audio.Excerpts(tmp_path / "b.wav").read([(7900, 8100)]))


def test_held_samples_are_read_the_same_way(tone):
    samples = tone(1.0)[:, 0].astype(np.float32)
    parts = dict(audio.Held(samples).read([(10, 20), (15_990, 17_000)]))
    assert np.array_equal(parts[0], samples[10:20])
    assert len(parts[1]) == 10


def test_the_channels_are_those_of_the_default_track(tmp_path, tone):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        layouts = ("mono", "stereo")
        streams = [container.add_stream("pcm_s16le", rate=16_000, layout=layout) for layout in layouts]
        streams[0].disposition = 0
        streams[1].disposition = av.stream.Disposition.default
        for stream, layout in zip(streams, layouts, strict=True):
            frame = av.AudioFrame.from_ndarray(np.ones((1, 3200 * (1 + (layout == "stereo"))), np.int16), "s16", layout)
            frame.sample_rate, frame.pts = 16_000, 0
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
    assert audio.layout(tmp_path / "a.mkv") == ([1, 2], 2)
    places = parts(Recording(tmp_path / "a.mkv", "a.mkv"), "each", None)
    assert [(place.track, place.channel) for place in places] == [(None, 1), (None, 2)]
