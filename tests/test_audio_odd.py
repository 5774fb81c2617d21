"""Files as recorders, networks and people leave them: read whole, at the times a player shows, or an error."""

import os
import struct
import sys
from fractions import Fraction

import numpy as np
import pytest
import soundfile

from sertool import audio
from sertool.errors import AudioError, AudioWarning

RATE = 16_000


def chunk(name: bytes, data: bytes, size: int | None = None, pad: bool = True) -> bytes:
    return name + struct.pack("<I", len(data) if size is None else size) + data + b"\0" * (pad and len(data) % 2)


def wave_of(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


FORMAT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16))


@pytest.fixture
def pcm(tone):
    return (tone(1.5)[:, 0] * 32767).astype("<i2")


def heard(path, *expected: str) -> np.ndarray:
    """The recording; what was noted is as expected."""
    notes = []
    samples = audio.read(path, notes.append)
    assert len(notes) == len(expected), notes
    for note, words in zip(notes, expected, strict=True):
        assert words in note
    return samples


def reason(path) -> str:
    with pytest.raises(AudioError) as error:
        audio.read(path)
    return str(error.value)


# ---- WAV --------------------------------------------------------------------------------------------------------

MORE = "bytes more than the file has"
WAVES = {
    "plain": (lambda x: wave_of(FORMAT, chunk(b"data", x)), []),
    "size of the file": (lambda x: wave_of(FORMAT, chunk(b"data", x, len(x) + 44)), [MORE]),
    "8 too many": (lambda x: wave_of(FORMAT, chunk(b"data", x, len(x) + 8)), [MORE]),
    "1 too many": (lambda x: wave_of(FORMAT, chunk(b"data", x, len(x) + 1)), [MORE]),
    "never written": (lambda x: wave_of(FORMAT, chunk(b"data", x, 0), size=0), ["as after a crash"]),
    "never written, other chunks before": (
        lambda x: wave_of(chunk(b"bext", bytes(602)), FORMAT, chunk(b"data", x, 0), size=0),
        ["as after a crash"],
    ),
    "unknown": (lambda x: wave_of(FORMAT, chunk(b"data", x, 0xFFFFFFFF), size=0xFFFFFFFF), []),
    "2 GB": (lambda x: wave_of(FORMAT, chunk(b"data", x, 0x7FFFF000)), []),
    "odd chunk without padding": (
        lambda x: wave_of(chunk(b"bext", b"x" * 603, pad=False), FORMAT, chunk(b"data", x)),
        [],
    ),
    "chunks behind": (lambda x: wave_of(FORMAT, chunk(b"data", x), chunk(b"LIST", b"INFOISFT\5\0\0\0Zoom\0\0")), []),
    "garbage behind": (lambda x: wave_of(FORMAT, chunk(b"data", x)) + b"TAG" + bytes(125), []),
    "two chunks of audio": (lambda x: wave_of(FORMAT, chunk(b"data", x[:20_000]), chunk(b"data", x[20_000:])), []),
    "two files": (
        lambda x: wave_of(FORMAT, chunk(b"data", x[:20_000])) + wave_of(FORMAT, chunk(b"data", x[20_000:])),
        [],
    ),
}


@pytest.mark.parametrize("name", WAVES)
def test_a_wav_is_read_whole_whatever_its_header_says(tmp_path, pcm, name):
    make, notes = WAVES[name]
    (tmp_path / "a.wav").write_bytes(make(pcm.tobytes()))
    np.testing.assert_allclose(heard(tmp_path / "a.wav", *notes), pcm / 32768, atol=1e-6)


def test_an_empty_chunk_of_audio_before_other_chunks_is_empty(tmp_path):
    (tmp_path / "a.wav").write_bytes(wave_of(FORMAT, chunk(b"data", b""), chunk(b"LIST", b"INFOISFT\5\0\0\0Zoom\0\0")))
    assert reason(tmp_path / "a.wav") == "empty: the file holds no audio"


@pytest.mark.parametrize("form", ["RF64", "W64", "WAV", "CAF"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_cut_file_of_any_size_is_no_whole_one(tmp_path, tone, form, share):
    path = tmp_path / "a.x"
    soundfile.write(path, tone(3.0), RATE, format=form, subtype="PCM_16")
    assert len(audio.read(path)) == 3 * RATE
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert reason(path).startswith(("truncated or damaged", "cannot be read as audio"))


def test_mp3_in_wav_is_whole(tmp_path, tone, encode):
    path = encode(tmp_path / "a.wav", tone(2.9), RATE, "libmp3lame", "wav")
    assert abs(len(audio.read(path)) / RATE - 2.9) < 0.15


# ---- FLAC and Ogg -----------------------------------------------------------------------------------------------


@pytest.fixture
def flac(tmp_path, tone):
    soundfile.write(tmp_path / "whole.flac", tone(3.0), RATE, subtype="PCM_16")
    return tmp_path / "whole.flac"


def unknown_length(data: bytes) -> bytes:
    """A FLAC stream as an encoder leaves it that writes to a pipe."""
    told = int.from_bytes(data[18:26], "big") >> 36 << 36
    return data[:18] + told.to_bytes(8, "big") + data[26:]


def test_flac_of_unknown_length_is_read_whole_and_known_where_it_is_cut(tmp_path, flac):
    streamed = tmp_path / "streamed.flac"
    streamed.write_bytes(unknown_length(flac.read_bytes()))
    np.testing.assert_array_equal(audio.read(streamed), audio.read(flac))
    streamed.write_bytes(streamed.read_bytes()[:-2000])
    assert reason(streamed).startswith("truncated or damaged")


def test_flac_with_a_damaged_header_is_an_error_of_ours(tmp_path, flac):
    data = bytearray(flac.read_bytes())
    data[4] ^= 0x40
    (tmp_path / "a.flac").write_bytes(data)
    assert reason(tmp_path / "a.flac").startswith("cannot be read as audio")


@pytest.mark.parametrize("known", [True, False])
def test_flac_of_several_files_put_together_is_read_whole(tmp_path, flac, known):
    one = flac.read_bytes() if known else unknown_length(flac.read_bytes())
    (tmp_path / "two.flac").write_bytes(one + one)
    np.testing.assert_array_equal(audio.read(tmp_path / "two.flac"), np.tile(audio.read(flac), 2))


@pytest.mark.parametrize("known", [True, False])
def test_flac_in_ogg_needs_no_pyav(tmp_path, flac, monkeypatch, known):
    data = flac.read_bytes() if known else unknown_length(flac.read_bytes())
    bodies = [b"\x7fFLAC\1\0\0\1" + data[:42], *(data[at : at + 3000] for at in range(42, len(data), 3000))]
    with open(tmp_path / "a.oga", "wb") as file:
        for number, body in enumerate(bodies):
            flags, granule = (2, 0) if number == 0 else (4 * (number == len(bodies) - 1), 3 * RATE)
            table = bytes([255] * (len(body) // 255) + [len(body) % 255])
            file.write(b"OggS" + struct.pack("<BBqIIIB", 0, flags, granule, 7, number, 0, len(table)) + table + body)
    monkeypatch.setitem(sys.modules, "av", None)
    np.testing.assert_array_equal(audio.read(tmp_path / "a.oga"), audio.read(flac))


@pytest.mark.parametrize("form", ["VORBIS", "OPUS"])
def test_an_ogg_that_ends_within_a_page_is_no_whole_one(tmp_path, tone, form):
    soundfile.write(tmp_path / "a.ogg", tone(3.0), RATE, format="OGG", subtype=form)
    (tmp_path / "a.ogg").write_bytes((tmp_path / "a.ogg").read_bytes()[:-100])
    assert reason(tmp_path / "a.ogg").startswith("truncated or damaged: its last Ogg page is incomplete")


@pytest.mark.slow("decodes long or many files")
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_every_link_of_a_chained_ogg_is_read(tmp_path, tone, subtype):
    parts = []
    for k, (rate, channels) in enumerate([(48_000, 1), (RATE, 2), (48_000, 1)]):
        soundfile.write(
            tmp_path / f"{k}.ogg", tone(1.0 + k / 2, rate, channels, k), rate, format="OGG", subtype=subtype
        )
        parts.append(tmp_path / f"{k}.ogg")
    (tmp_path / "chained.ogg").write_bytes(b"".join(part.read_bytes() for part in parts))
    together, apart = audio.read(tmp_path / "chained.ogg"), np.concatenate([audio.read(part) for part in parts])
    assert abs(len(together) - len(apart)) <= 4
    count = min(len(together), len(apart))
    assert np.corrcoef(together[:count], apart[:count])[0, 1] > 0.999


def pages(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        end = at + 27 + data[at + 26] + sum(data[at + 27 : at + 27 + data[at + 26]])
        found.append(data[at:end])
        at = end
    return found


def test_a_page_that_is_lost_leaves_silence_or_is_an_error(tmp_path, tone, monkeypatch):
    pytest.importorskip("av")
    whole, holed = tmp_path / "whole.ogg", tmp_path / "holed.ogg"
    soundfile.write(whole, tone(6.0, 48_000), 48_000, format="OGG", subtype="OPUS")
    found = pages(whole.read_bytes())
    holed.write_bytes(b"".join(found[:4] + found[5:]))
    before, after = audio.read(whole), audio.read(holed)
    assert abs(len(before) - len(after)) < 0.1 * RATE
    late = slice(-RATE, -RATE // 4)
    shift = np.argmax(np.correlate(after[late], before[-RATE + 400 : -RATE // 4 - 400], "valid")) - 400
    assert abs(shift) < 0.02 * RATE
    monkeypatch.setitem(sys.modules, "av", None)
    assert reason(holed).startswith("truncated or damaged: 1 pages are missing")


# ---- through PyAV -----------------------------------------------------------------------------------------------


@pytest.mark.slow("decodes long or many files")
@pytest.mark.parametrize(("first", "second"), [(44_100, 22_050), (16_000, 48_000)])
def test_aac_whose_rate_changes_is_read_at_the_right_speed(tmp_path, tone, encode, first, second):
    parts = [encode(tmp_path / f"{rate}.aac", tone(2.0, rate), rate, container="adts") for rate in (first, second)]
    (tmp_path / "both.aac").write_bytes(b"".join(part.read_bytes() for part in parts))
    together, apart = audio.read(tmp_path / "both.aac"), [audio.read(part) for part in parts]
    assert abs(len(together) - sum(map(len, apart))) < 0.05 * RATE
    assert np.corrcoef(together[: len(apart[0]) - 800], apart[0][:-800])[0, 1] > 0.99


def recorded(path, form: str, codec: str, samples: np.ndarray, late: float = 0.0, gap: tuple[float, float] = (0, 0)):
    """A mono recording at 48 kHz that begins ``late`` and, from gap[0] seconds on, goes on gap[1] seconds later."""
    av = pytest.importorskip("av")
    size = 960 if codec == "libopus" else 1024
    with av.open(os.fspath(path), "w", format=form) as output:
        stream = output.add_stream(codec, rate=48_000, layout="mono")
        packets = []
        for at in range(0, len(samples) - size + 1, size):
            piece = np.ascontiguousarray(samples[None, at : at + size], np.float32)
            if codec == "libopus":
                frame = av.AudioFrame.from_ndarray((piece * 32767).astype(np.int16), format="s16", layout="mono")
            else:
                frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, at, Fraction(1, 48_000)
            packets += stream.encode(frame)
        for packet in packets + stream.encode(None):
            time = packet.pts * packet.time_base
            packet.pts += int((late + (gap[1] if time >= gap[0] and gap[1] else 0)) / packet.time_base)
            packet.dts = packet.pts
            output.mux(packet)
    return path


FORMS = [("webm", "libopus"), ("matroska", "aac"), ("mp4", "aac")]


@pytest.mark.slow("decodes long or many files")
@pytest.mark.parametrize(("form", "codec"), FORMS)
def test_gaps_in_the_time_stamps_are_silence(tmp_path, tone, form, codec):
    samples = tone(4.0, 48_000)[:, 0]
    whole = audio.read(recorded(tmp_path / "a", form, codec, samples))
    holed = audio.read(recorded(tmp_path / "b", form, codec, samples, gap=(2.0, 10.0)))
    assert abs(len(holed) - len(whole) - 10 * RATE) < 0.03 * RATE
    assert np.abs(holed[3 * RATE : 11 * RATE]).max() == 0
    late = holed[-RATE - 8000 : -8000]
    same = whole[-RATE - 8400 : -7600]
    assert abs(int(np.argmax(np.correlate(same, late, "valid"))) - 400) < 0.03 * RATE


@pytest.mark.slow("decodes long or many files")
@pytest.mark.parametrize(("form", "codec"), FORMS)
def test_what_begins_late_is_late(tmp_path, tone, form, codec):
    samples = tone(2.0, 48_000)[:, 0]
    whole = audio.read(recorded(tmp_path / "a", form, codec, samples))
    late = audio.read(recorded(tmp_path / "b", form, codec, samples, late=4.07))
    assert abs(len(late) - len(whole) - 4.07 * RATE) < 0.03 * RATE
    assert np.abs(late[: 4 * RATE]).max() < 1e-3
    assert np.abs(late[int(4.2 * RATE) :]).max() > 0.1


def test_a_gap_of_days_is_a_fault_and_no_silence(tmp_path, tone):
    path = recorded(tmp_path / "a", "matroska", "aac", tone(2.0, 48_000)[:, 0], gap=(1.0, 1e6))
    assert reason(path) == "the gaps in its time stamps add up to 278 h"


def two_tracks(path, form: str, default: int, tone):
    av = pytest.importorskip("av")
    with av.open(os.fspath(path), "w", format=form) as output:
        streams = [output.add_stream("aac", rate=RATE, layout="mono") for _ in range(2)]
        for k, stream in enumerate(streams):
            stream.disposition = av.stream.Disposition.default if k == default else av.stream.Disposition(0)
        for k, stream in enumerate(streams):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(tone(1.0 + k)[None, :, 0], np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate = RATE
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                output.mux(packet)
    return path


@pytest.mark.parametrize("default", [0, 1])
def test_of_several_tracks_the_default_one_is_heard_and_the_others_are_named(tmp_path, tone, default):
    samples = heard(
        two_tracks(tmp_path / "a.mkv", "matroska", default, tone), f"it has 2 audio tracks: number {default + 1} is"
    )
    assert abs(len(samples) / RATE - 1 - default) < 0.2


CONTAINERS = [("matroska", "aac"), ("webm", "libopus"), ("mp4", "aac"), ("avi", "libmp3lame")]


@pytest.mark.slow("decodes long or many files")
@pytest.mark.parametrize(("form", "codec"), CONTAINERS)
def test_a_container_that_breaks_off_is_no_whole_one(tmp_path, tone, encode, form, codec):
    path = encode(tmp_path / "a", tone(4.0, 48_000), 48_000, codec, form)
    assert abs(len(audio.read(path)) / RATE - 4) < 0.1
    path.write_bytes(path.read_bytes()[:-3000])
    assert reason(path).startswith("truncated or damaged")


@pytest.mark.slow("decodes long or many files")
@pytest.mark.parametrize(("form", "codec"), CONTAINERS)
def test_containers_put_together_are_read_whole(tmp_path, tone, encode, form, codec):
    parts = [encode(tmp_path / str(k), tone(2.0 + k, 48_000, 1, k), 48_000, codec, form) for k in (0, 1)]
    (tmp_path / "both").write_bytes(b"".join(part.read_bytes() for part in parts))
    lengths = [len(audio.read(part)) for part in (*parts, tmp_path / "both")]
    assert abs(lengths[0] + lengths[1] - lengths[2]) < 0.05 * RATE


@pytest.mark.parametrize(
    ("name", "form", "codec"),
    [("a.avi", "avi", "libmp3lame"), ("a.ts", "mpegts", "aac"), ("a.flv", "flv", "aac"), ("a.ac3", "ac3", "ac3")]
    + [("a.wma", "asf", "wmav2"), ("a.mp2", "mp2", "mp2"), ("a.wv", "wv", "wavpack")],
)
def test_what_libsndfile_refuses_is_tried_with_pyav(tmp_path, tone, encode, monkeypatch, name, form, codec):
    path = encode(tmp_path / name, tone(1.5, 48_000), 48_000, codec, form, 128_000)
    assert abs(len(audio.read(path)) / RATE - 1.5) < 0.15
    assert audio.is_audio(name)


def test_without_pyav_what_libsndfile_refuses_names_it(tmp_path, tone, encode, monkeypatch):
    path = encode(tmp_path / "a.ts", tone(1.5, 48_000), 48_000, "aac", "mpegts")
    monkeypatch.setitem(sys.modules, "av", None)
    assert reason(path).startswith("cannot be read as audio")
    assert "ffmpeg may be able to read it (pip install 'sertool[av]')" in reason(path)


def test_a_playlist_opens_no_other_file(tmp_path, clip):
    clip(tmp_path / "secret.wav", 1.0)
    for name, text in (
        ("a.wav", f"#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/secret.wav\n#EXT-X-ENDLIST\n"),
        ("b.wav", f"ffconcat version 1.0\nfile '{tmp_path}/secret.wav'\n"),
        ("beside.wav", "ffconcat version 1.0\nfile secret.wav\n"),  # ffmpeg thinks this one safe
        ("c.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n"),
    ):
        (tmp_path / name).write_text(text)
        assert reason(tmp_path / name).startswith("cannot be read as audio")


@pytest.mark.skipif(os.name != "posix", reason="bytes of a tag")
def test_a_tag_that_is_no_utf_8_costs_nothing(tmp_path, tone, encode):
    path = encode(tmp_path / "a.m4a", tone(1.0), RATE)
    data = path.read_bytes()
    assert b"SoundHandler" in data
    path.write_bytes(data.replace(b"SoundHandler", b"Sound\xff\xfe\xe9dler"))
    assert len(audio.read(path)) > 0.9 * RATE


# ---- channels, rates --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", [-1.0, -0.9])
@pytest.mark.parametrize("form", ["wav", "array"])
def test_channels_that_cancel_are_not_taken_for_silence(tmp_path, tone, second, form):
    samples = tone(1.0)[:, 0]
    both = np.stack([samples, second * samples], axis=1)
    if form == "array":
        with pytest.warns(AudioWarning, match="its 2 channels cancel each other: from 0.0 s on, only channel 1"):
            found = audio.mono(both, RATE)
    else:
        soundfile.write(tmp_path / "a.wav", both, RATE, subtype="FLOAT")
        found = heard(tmp_path / "a.wav", "its 2 channels cancel each other: from 0.0 s on, only channel 1 is used")
    np.testing.assert_allclose(found, samples, atol=1e-6)


@pytest.mark.parametrize("channels", [2, 6])
def test_one_channel_that_speaks_is_no_reason_to_leave_the_others_out(tmp_path, tone, channels):
    samples = np.zeros((RATE, channels))
    samples[:, -1] = tone(1.0)[:, 0]
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    np.testing.assert_allclose(heard(tmp_path / "a.wav"), samples.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("rate", [1, 99, 2_000_000, 100_000_000])
def test_a_rate_that_no_recording_has_is_refused_at_once(tmp_path, rate):
    format = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16))
    (tmp_path / "a.wav").write_bytes(wave_of(format, chunk(b"data", bytes(4000))))
    assert reason(tmp_path / "a.wav") == f"its header says {rate} Hz: a rate must be 100 Hz to 1000 kHz"


def test_many_channels_take_no_more_memory_at_once(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((40_000, 512), np.int16), 48_000)
    assert max(map(len, audio.blocks(tmp_path / "a.wav"))) <= 2_000_000 // 512


def test_samples_that_no_recorder_writes_are_named(tmp_path):
    samples = np.zeros(1000, np.float32)
    samples[500] = 1e30
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    assert reason(tmp_path / "a.wav") == "a sample of 1e+30 at 0.031 s: full scale is 1"


@pytest.mark.parametrize("rate", [0, -1, 1e-3, 99, 1e300, float("nan"), "16000", None, True])
def test_an_array_at_a_rate_that_no_recording_has_is_refused_at_once(rate):
    with pytest.raises(AudioError, match="the rate must be a number of Hz from 100 to 1000000"):
        audio.mono(np.zeros(1000), rate)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros(10, complex), "samples must be real numbers, not complex128"),
        (np.array(["a", "b"]), "samples must be real numbers, not <U1"),
        (np.array([None, 1]), "samples must be real numbers, not object"),
        ([[1.0], [1.0, 2.0]], "samples must be"),
        (np.full(10, 1e13), "a sample of 1e+13: full scale is 1"),
        (np.full(10, 1e300), "NaN or infinity at sample 0"),
    ],
)
def test_an_array_that_is_no_sound_is_refused(samples, said):
    with pytest.raises(AudioError) as error:
        audio.mono(samples, RATE)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize("name", ["a\0b.wav", "\udcff\ud800.wav", "x" * 5000])
def test_a_name_that_no_file_has_is_an_error_of_ours(name):
    with pytest.raises(AudioError):
        audio.read(name)


@pytest.mark.parametrize("model", [None, 3, b"wav2small", "no\0name", "nosuch"])
def test_a_model_that_is_none_is_an_error_of_ours(model):
    import sertool
    from sertool.errors import SertoolError

    with pytest.raises(SertoolError):
        sertool.load(model)


def test_a_model_may_be_named_by_a_path():
    from pathlib import Path

    import sertool

    assert sertool.load(Path("wav2small")).bundle.manifest.name == "wav2small"


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("samples", [999, 12_345, 100_001])
def test_no_time_lies_behind_the_end_of_the_file(tmp_path, rate, samples):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, samples), rate)
    heard_s, true_s = len(audio.read(tmp_path / "a.wav")) / RATE, samples / rate
    assert true_s - 1 / RATE < heard_s <= true_s


@pytest.mark.skipif(os.name != "posix", reason="paths of POSIX systems")
def test_a_path_of_two_thousand_characters_is_read(tmp_path, clip, monkeypatch):
    """libsndfile takes no more than 512 to 1024."""
    monkeypatch.chdir(tmp_path)
    for _ in range(9):
        os.mkdir("d" * 220)
        os.chdir("d" * 220)
    deep = tmp_path.joinpath(*["d" * 220] * 9, "a.wav")
    clip(tmp_path / "a.wav", 0.5)
    os.rename(tmp_path / "a.wav", "a.wav")
    assert len(os.fspath(deep)) > 2000
    assert len(audio.read(deep)) == RATE // 2
    assert audio.duration(deep) == 0.5
    assert len(audio.excerpt(deep, 0.1, 1000)) == 1000


@pytest.mark.slow("decodes long or many files")
def test_an_opus_stream_whose_end_is_not_marked_is_read(tmp_path, tone, monkeypatch):
    """As a server leaves it that is cut off: libsndfile calls it malformed."""
    monkeypatch.setitem(sys.modules, "av", None)
    soundfile.write(tmp_path / "a.opus", tone(24.0, 48_000), 48_000, format="OGG", subtype="OPUS")
    found = pages((tmp_path / "a.opus").read_bytes())
    last = bytearray(found[-1])
    last[5] &= ~4
    last[22:26] = bytes(4)
    last[22:26] = struct.pack("<I", _crc32_of_ogg(last))
    (tmp_path / "b.opus").write_bytes(b"".join([*found[:-1], bytes(last)]))
    whole, unmarked = audio.read(tmp_path / "a.opus"), audio.read(tmp_path / "b.opus")
    assert abs(len(whole) - len(unmarked)) < 0.05 * RATE
    count = min(len(whole), len(unmarked)) - 400
    assert np.corrcoef(whole[:count], unmarked[:count])[0, 1] > 0.98


def _crc32_of_ogg(data) -> int:
    crc = 0
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc
