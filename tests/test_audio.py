"""Decoding: every format to the same samples, every fault to a reason that can be acted on."""

import itertools
import os
import shutil
import sys

import numpy as np
import pytest
import soundfile
import soxr

from sertool import audio
from sertool.audio import mp3
from sertool.audio.pieces import Window
from sertool.errors import AudioError

LOSSLESS = {
    "wav": {"format": "WAV", "subtype": "PCM_16"},
    "flac": {"format": "FLAC", "subtype": "PCM_16"},
    "aiff": {"format": "AIFF", "subtype": "PCM_16"},
}
LOSSY = {
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "mp3": {"format": "MP3", "subtype": "MPEG_LAYER_III"},
}
RATES, CHANNELS = (8_000, 16_000, 22_050, 44_100, 48_000), (1, 2, 6)
LOSSY_COMBINATIONS = [
    (form, rate, channels)
    for form, rate, channels in itertools.product(LOSSY, RATES, CHANNELS)
    # Opus knows no 22.05 and 44.1 kHz, MP3 no six channels.
    if not (form == "opus" and rate in (22_050, 44_100)) and not (form == "mp3" and channels == 6)
]
posix = pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")


def mean_at_16k(samples, rate):
    """What should come out, without any of sertool's code."""
    mean = samples.mean(axis=1).astype(np.float32)
    return mean if rate == 16_000 else soxr.resample(mean, rate, 16_000)


def joined(path):
    return np.concatenate(list(audio.blocks(path)))


def cut(path, share):
    """The file's first part, as a broken transfer leaves it."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def reason(path):
    with pytest.raises(AudioError) as error:
        audio.read(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("form", LOSSLESS)
def test_lossless_gives_the_mean_of_channels_at_16_khz(tmp_path, clip, tone, form, rate, channels):
    path = clip(tmp_path / f"a.{form}", 0.61, rate, channels, **LOSSLESS[form])
    samples = audio.read(path)
    expected = mean_at_16k(tone(0.61, rate, channels), rate)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert abs(len(samples) - 0.61 * 16_000) <= 2
    np.testing.assert_allclose(samples[: len(expected)], expected[: len(samples)], atol=1e-4)


@pytest.mark.parametrize(("form", "rate", "channels"), LOSSY_COMBINATIONS)
def test_lossy_keeps_length_place_and_level(tmp_path, tone, form, rate, channels):
    # One signal on all channels: coders drop what differs little, and the sixth, the bass, by design.
    one = tone(0.61, rate, 1)
    path = tmp_path / f"a.{form}"
    soundfile.write(path, np.repeat(one, channels, axis=1), rate, **LOSSY[form])
    samples = audio.read(path)
    expected = mean_at_16k(one, rate)
    assert abs(len(samples) - 0.61 * 16_000) <= 2
    count = min(len(samples), len(expected))
    samples, expected = samples[:count], expected[:count]
    assert np.dot(samples, expected) / np.linalg.norm(samples) / np.linalg.norm(expected) > 0.97
    assert 0.8 < np.linalg.norm(samples) / np.linalg.norm(expected) < 1.1


@pytest.mark.slow("decodes long or many files")
@pytest.mark.parametrize(("form", "rate"), [("wav", 16_000), ("wav", 44_100), ("flac", 8_000), ("mp3", 48_000)])
def test_blocks_joined_are_the_whole_recording(tmp_path, clip, form, rate):
    path = clip(tmp_path / f"a.{form}", 21.3, rate, 1, **{**LOSSLESS, **LOSSY}[form])
    assert sum(1 for _ in audio.blocks(path)) >= 3
    blocks = joined(path)
    np.testing.assert_array_equal(blocks, audio.read(path))
    native, _ = soundfile.read(path, dtype="float32", always_2d=True)
    whole = mean_at_16k(native, rate)
    assert abs(len(blocks) - len(whole)) <= 1
    count = min(len(blocks), len(whole))
    np.testing.assert_allclose(blocks[:count], whole[:count], atol=1e-6)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_every_sample_format_of_wav_has_the_same_scale(tmp_path, clip, tone, subtype):
    path = clip(tmp_path / "a.wav", 0.2, subtype=subtype)
    tolerance = {"PCM_U8": 1 / 128, "ULAW": 0.03}.get(subtype, 1e-6)
    np.testing.assert_allclose(audio.read(path), tone(0.2)[:, 0], atol=tolerance)


@pytest.mark.parametrize("name", ["text.wav", "text.mp3", "text.flac"])
def test_text_under_an_audio_name_is_not_audio(tmp_path, name):
    (tmp_path / name).write_text("not a sound, only words\n" * 40)
    assert reason(tmp_path / name).startswith("cannot be read as audio")


def test_zero_bytes(tmp_path):
    (tmp_path / "a.wav").touch()
    assert reason(tmp_path / "a.wav") == "empty: zero bytes"


@pytest.mark.parametrize("form", ["wav", "aiff"])
def test_zero_samples(tmp_path, form):
    soundfile.write(tmp_path / f"a.{form}", np.zeros(0), 16_000)
    assert reason(tmp_path / f"a.{form}") == "empty: the file holds no audio"


@pytest.mark.slow("decodes long or many files")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_what_is_not_finite_is_named_with_its_time(tmp_path, tone, value, rate):
    samples = tone(21.0, rate, 2)
    samples[int(20.5 * rate), 1] = value  # in the third block
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    assert reason(tmp_path / "a.wav") == "NaN or infinity at 20.500 s"


@pytest.mark.parametrize("form", ["wav", "aiff", "mp3", "au"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_cut_off_is_not_taken_for_a_whole_one(tmp_path, clip, form, share):
    how = {"au": {"format": "AU", "subtype": "PCM_16"}, **LOSSLESS, **LOSSY}[form]
    said = reason(cut(clip(tmp_path / f"my talk.{form}", 4.0, **how), share))
    assert said.startswith("truncated or damaged: ")
    assert "of 4.0 s" in said
    assert abs(float(said.split()[3]) - 4.0 * share) < 0.4
    assert f"ffmpeg -i 'my talk.{form}'" in said


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_flac_cut_off_is_not_taken_for_a_whole_one(tmp_path, clip, share):
    said = reason(cut(clip(tmp_path / "a.flac", 2.0, **LOSSLESS["flac"]), share))
    assert said.startswith("truncated or damaged: not all of its 2.0 s can be decoded")


def test_a_wav_from_a_pipe_that_never_knew_its_length_is_whole(tmp_path, clip, tone):
    path = clip(tmp_path / "a.wav", 0.5)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    data[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    np.testing.assert_allclose(audio.read(path), tone(0.5)[:, 0], atol=1e-4)


@pytest.mark.parametrize("name", ["missing.wav", "missing/a.wav"])
def test_a_missing_file(tmp_path, name):
    assert reason(tmp_path / name) == "no such file or directory"


def test_a_folder(tmp_path):
    assert reason(tmp_path) == "is a folder"


@posix
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    assert reason(tmp_path / "a.wav") == "not a regular file"


@pytest.mark.slow("decodes long or many files")
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("name", "container"), [("a.m4a", None), ("a.aac", "adts"), ("a.wav", "mp4"), ("b.wav", "adts")]
)
def test_aac_is_recognised_by_its_content_and_read_right(tmp_path, tone, encode, name, container, channels):
    samples = tone(1.5, 44_100, channels)
    samples = audio.read(encode(tmp_path / name, samples, 44_100, container=container))
    expected = mean_at_16k(tone(1.5, 44_100, channels), 44_100)
    assert -100 < len(samples) - 1.5 * 16_000 < 0.1 * 16_000  # coder delay in front, frames filled up behind
    lag = int(np.argmax(np.correlate(samples, expected[2_000:22_000], "valid"))) - 2_000
    assert 0 <= lag <= 2_112 / 44_100 * 16_000
    count = min(len(samples) - lag, len(expected))
    alike = np.corrcoef(samples[lag : lag + count], expected[:count])[0, 1]
    assert alike > 0.97


def test_m4a_of_an_odd_name_is_no_protocol(tmp_path, tone, encode, monkeypatch):
    encode(tmp_path / "a.m4a", tone(0.3), 16_000)
    monkeypatch.chdir(tmp_path)
    for name in ("12:30.m4a", "pipe:0.m4a", "-x.m4a", "%d.m4a", "a\nb.m4a"):
        shutil.copy("a.m4a", name)
        assert len(audio.read(name)) > 4_000


@pytest.mark.parametrize(
    ("name", "pasted"), [("talk.m4a", "talk.m4a talk.flac"), ("my talk.m4a", "'my talk.m4a' 'my talk'.flac")]
)
def test_m4a_without_pyav_names_the_extra_and_the_command(tmp_path, monkeypatch, name, pasted):
    (tmp_path / name).write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(100))
    monkeypatch.setitem(sys.modules, "av", None)
    assert reason(tmp_path / name) == (
        "cannot decode MP4 (AAC or ALAC); install the reader (pip install 'sertool[av]') "
        f"or convert it (ffmpeg -i {pasted})"
    )


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}], ids=["index last", "index first"])
def test_an_m4a_cut_off_says_so_in_one_line(tmp_path, tone, encode, share, options):
    path = cut(encode(tmp_path / "a.m4a", tone(4.0), 16_000, **options), share)
    assert reason(path).startswith("truncated or damaged: ")


def counted(path) -> list[tuple[int, bool]]:
    """(samples, whether a header tells of them) of each recording in an MP3 file."""
    with open(path, "rb") as file:
        return [(one.length, one.headed) for one in mp3.recordings(Window(file))]


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", RATES)
def test_mp3_frames_are_counted_as_ffmpeg_counts_them(tmp_path, tone, encode, rate, channels):
    av = pytest.importorskip("av")
    path = encode(tmp_path / "a.mp3", tone(1.2, rate, channels), rate, "libmp3lame", "mp3", 48_000, write_xing="0")
    with av.open(os.fspath(path)) as container:
        decoded = sum(frame.samples for frame in container.decode(audio=0))
    assert counted(path) == [(decoded, False)]


def test_a_length_header_is_found_and_is_no_frame(tmp_path, tone, encode):
    plain, headed = (
        encode(tmp_path / f"{k}.mp3", tone(1.2, 44_100), 44_100, "libmp3lame", "mp3", 48_000, write_xing=str(k))
        for k in (0, 1)
    )
    (length, _), *_ = counted(plain)
    assert counted(headed) == [(length, True)]
    assert counted(__file__) == []


def mp3_of(tmp_path, tone, encode, seconds, rate=44_100, bit_rate=48_000, xing="1", channels=1, seed=0, tag="3"):
    samples = tone(seconds, rate, channels, seed)
    path = tmp_path / f"{seed}-{rate}-{bit_rate}-{xing}-{channels}.mp3"
    return encode(path, samples, rate, "libmp3lame", "mp3", bit_rate, write_xing=xing, id3v2_version=tag)


def alike(samples, excerpt) -> float:
    """The correlation of an excerpt with that part of the samples which is most like it."""
    energies = np.sqrt(np.convolve(np.square(samples, dtype=np.float64), np.ones(len(excerpt)), "valid"))
    products = np.correlate(samples.astype(np.float64), excerpt.astype(np.float64), "valid")
    return float((products / energies).max() / np.linalg.norm(excerpt))


@pytest.mark.slow("decodes long or many files")
@pytest.mark.parametrize("tags", ["", "3", "TAG"])
@pytest.mark.parametrize("xing", ["11", "01", "10", "00"])
def test_mp3_of_two_files_put_together_is_read_whole(tmp_path, tone, encode, xing, tags):
    """libsndfile reads what the first one's header tells of and says nothing."""
    parts = [
        mp3_of(tmp_path, tone, encode, 2.5 - k, xing=xing[k], seed=k, tag=tags if tags == "3" else "0") for k in (0, 1)
    ]
    both = tmp_path / "both.mp3"
    end = b"TAG".ljust(128, b"\0") if tags == "TAG" else b""
    both.write_bytes(b"".join(part.read_bytes() + end for part in parts))
    apart = [audio.read(part) for part in parts]
    together = audio.read(both)
    assert abs(len(together) - sum(map(len, apart))) <= 2 * 1152 * 16 / 44.1  # delays that nobody tells of
    for k, samples in enumerate(apart):
        near = together[: len(samples) + 2000] if k == 0 else together[-len(samples) - 2000 :]
        assert alike(near, samples[4000:12000]) > 0.99


@pytest.mark.slow("decodes long or many files")
@pytest.mark.parametrize(("first", "second"), [((44_100, 1), (22_050, 1)), ((48_000, 2), (48_000, 1))])
def test_mp3_whose_rate_or_channels_change_is_read_at_the_right_speed(tmp_path, tone, encode, first, second):
    parts = [mp3_of(tmp_path, tone, encode, 2.0, r, xing="0", channels=c, tag="0") for r, c in (first, second)]
    both = tmp_path / "both.mp3"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    together, apart = audio.read(both), [audio.read(part) for part in parts]
    assert abs(len(together) - sum(map(len, apart))) <= 2 * 529 * 16 / 22.05 + 8  # what every decoder is late by
    assert alike(together[:34_000], apart[0][4000:12000]) > 0.99
    assert alike(together[-34_000:], apart[1][4000:12000]) > 0.99


@pytest.mark.slow("decodes long or many files")
@pytest.mark.parametrize(("first", "second"), [(192_000, 32_000), (32_000, 192_000)])
def test_mp3_of_variable_bit_rate_without_a_header_is_read_whole(tmp_path, tone, encode, first, second):
    """libsndfile guesses its length by the first frame."""
    parts = [mp3_of(tmp_path, tone, encode, 2.0, bit_rate=k, xing="0", tag="0") for k in (first, second)]
    path = tmp_path / "vbr.mp3"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert abs(len(audio.read(path)) / 16_000 - sum(length for length, _ in counted(path)) / 44_100) < 0.06


@pytest.mark.slow("decodes long or many files")
def test_an_mp3_may_be_replaced_by_a_shorter_one_while_it_is_read(tmp_path, tone, encode):
    """As cp does it, and recorders: what is mapped into memory would end the process."""
    path = mp3_of(tmp_path, tone, encode, 60.0)
    whole = path.read_bytes()
    blocks = audio.blocks(path)
    next(blocks)
    path.write_bytes(whole[:2000])
    with pytest.raises(AudioError, match="truncated or damaged"):
        list(blocks)


NAMES = [
    "with space.wav",
    "Gespräch über Öl.wav",
    "two\nlines.wav",
    "-leading.wav",
    "it's.wav",
    "12:30.wav",
    "録音.wav",
]


@posix
@pytest.mark.parametrize("name", [*NAMES, os.fsdecode(b"caf\xe9.wav")])
def test_any_file_name_can_be_read(tmp_path, clip, tone, monkeypatch, name):
    clip(tmp_path / name, 0.2)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_allclose(audio.read(name), tone(0.2)[:, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "pasted"), [("-a.wav", "./-a.wav"), ("12:30.wav", "./12:30.wav"), ("it's.wav", "'it'\"'\"'s.wav'")]
)
@posix
def test_the_command_that_is_named_can_be_pasted(tmp_path, clip, name, pasted):
    assert f"ffmpeg -i {pasted} repaired.flac" in reason(cut(clip(tmp_path / name, 1.0), 0.5))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "float32", "float64"])
def test_arrays_of_every_type_have_the_same_scale(tone, dtype):
    samples = tone(0.1, 16_000, 2)
    given = samples
    if dtype.startswith("int"):
        given = np.round(samples * -float(np.iinfo(dtype).min))
    np.testing.assert_allclose(
        audio.mono(given.astype(dtype), 16_000), samples.mean(axis=1), atol=1 / 128 if dtype == "int8" else 1e-4
    )


@pytest.mark.parametrize("rate", [0, -16_000, float("nan"), float("inf")])
def test_an_array_of_an_impossible_rate_is_refused(rate):
    with pytest.raises(AudioError, match="rate"):
        audio.mono(np.ones(100), rate)


def test_an_array_of_three_dimensions_is_refused():
    with pytest.raises(AudioError, match=r"\[2, 2, 2\]"):
        audio.mono(np.ones((2, 2, 2)), 16_000)
