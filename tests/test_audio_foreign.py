"""Decoders of plugins: asked first, but not for nothing; mixed and resampled like all others; their faults named."""

import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

import sertool
from sertool import audio
from sertool.errors import AudioError
from sertool.plugins import Plugin, load_plugins

RATE = 8_000


@pytest.fixture
def register(monkeypatch):
    """register(blocks, recognises, extensions): a decoder "toy" of an outside plugin, of files that begin with TOY."""

    def add(blocks, recognises=lambda head, path: head.startswith(b"TOY"), extensions=(".toy",), name="toy"):
        decoder = sertool.Decoder(name, "a toy", extensions, recognises, blocks)
        monkeypatch.setitem(load_plugins()._named["decoders"], name, [(Plugin("outside", None, "here"), decoder)])

    return add


@pytest.fixture
def toy(tmp_path):
    path = tmp_path / "a.toy"
    path.write_bytes(b"TOY" + bytes(100))
    return path


def tones(seconds=1.0, channels=2):
    time = np.arange(round(seconds * RATE)) / RATE
    pitches = 200 * np.arange(1, channels + 1)
    return (0.3 * np.sin(2 * np.pi * pitches * time[:, None])).astype(np.float32)


def two_blocks(path):
    samples = tones()
    yield RATE, samples[:3000]
    yield RATE, samples[3000:]


def test_a_plugins_blocks_are_mixed_and_resampled_like_those_of_a_wav_file(register, toy, tmp_path):
    register(two_blocks)
    soundfile.write(tmp_path / "same.wav", tones(), RATE, subtype="FLOAT")
    expected = audio.read(tmp_path / "same.wav")
    assert np.array_equal(audio.read(toy), expected)
    assert audio.duration(toy) == 1.0
    assert np.array_equal(audio.excerpt(toy, 0.25, 1600), expected[4000:5600])


def test_channels_that_cancel_each_other_are_told_apart(register, toy):
    register(lambda path: iter([(RATE, tones(channels=1) * np.array([[1, -1]], np.float32))]))
    notes = []
    assert np.abs(audio.read(toy, notes.append)).max() > 0.2
    assert "cancel each other" in notes[0]


def test_a_decoder_is_shown_64_bytes_and_the_path(register, tmp_path):
    seen = []
    register(two_blocks, lambda head, path: bool(seen.append((head, path))) or True)
    path = tmp_path / "long.bin"
    path.write_bytes(bytes(range(200)))
    assert len(audio.read(path)) == 16_000
    assert seen[0] == (bytes(range(64)), path)


def test_a_plugin_comes_before_the_other_decoders_but_only_if_it_recognises_the_file(register, tmp_path):
    register(two_blocks, lambda head, path: head.startswith(b"RIFF") and path.suffix == ".toy")
    half = np.zeros(RATE // 2)
    for name in ("a.toy", "a.bin", "a.wav"):
        soundfile.write(tmp_path / name, half, RATE, format="WAV")
    assert [len(audio.read(tmp_path / name)) for name in ("a.toy", "a.bin", "a.wav")] == [16_000, 8_000, 8_000]
    assert [audio.duration(tmp_path / name) for name in ("a.toy", "a.bin")] == [1.0, 0.5]


def test_extensions_of_decoders_count_as_audio_in_folders(register, toy):
    assert not audio.is_audio("x.toy")
    assert audio.files(toy.parent) == []
    register(two_blocks, extensions=(".toy", ".toy2"))
    assert audio.is_audio("x.TOY")
    assert audio.is_audio("x.toy2")
    assert not audio.is_audio("toy")
    assert audio.files(toy.parent) == [toy]
    assert [recording.name for recording in sertool.scan(str(toy.parent))] == ["a.toy"]


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff"])
def test_plugins_are_not_loaded_for_a_file_that_is_what_its_name_says(tmp_path, name):
    form = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG", "mp3": "MP3", "aiff": "AIFF"}[name[2:]]
    soundfile.write(tmp_path / name, np.zeros(16_000), 16_000, format=form)
    code = f"""
    import sys
    from sertool import audio
    audio.read({str(tmp_path / name)!r}); audio.files({str(tmp_path)!r}); audio.duration({str(tmp_path / name)!r})
    assert "sertool.plugins" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def raising(error):
    def blocks(path):
        yield RATE, tones()
        raise error

    return blocks


FAULTS = {
    "error": (raising(ValueError("bad\nframe")), "ValueError: bad frame"),
    "no text": (raising(KeyError()), "KeyError"),
    "exit": (raising(SystemExit(3)), "SystemExit: 3"),
    "damage": (raising(AudioError("its last frame is cut off")), "its last frame is cut off"),
    "at once": (lambda path: 1 / 0, "ZeroDivisionError: division by zero"),
    "nothing": (lambda path: None, "TypeError: 'NoneType' object is not iterable"),
    "samples only": (lambda path: [tones()], "TypeError: blocks must yield (rate, float32 [n, channels]), not ndarray"),
    "rate": (
        lambda path: [(8e3, tones())],
        "blocks must yield (rate, float32 [n, channels]), not a rate of type float",
    ),
    "int16": (lambda path: [(RATE, tones().astype(np.int16))], "not samples of type int16"),
    "list": (lambda path: [(RATE, [[0.0]])], "not samples of type list"),
    "flat": (lambda path: [(RATE, tones()[:, 0])], "not samples of shape [8000]"),
    "no channel": (lambda path: [(RATE, tones()[:, :0])], "not samples of shape [8000, 0]"),
    "low rate": (lambda path: [(5, tones())], "its header says 5 Hz"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_a_plugin_is_the_files_error_in_one_line_that_names_it(register, toy, name):
    blocks, wanted = FAULTS[name]
    register(blocks)
    with pytest.raises(AudioError) as caught:
        audio.read(toy)
    assert wanted in str(caught.value)
    assert str(caught.value).endswith(" (decoder 'toy' of plugin 'outside')")
    assert "\n" not in str(caught.value)


def test_a_decoder_that_fails_to_look_at_a_file_is_named(register, toy):
    register(two_blocks, lambda head, path: head[500])
    for call in (audio.read, audio.duration):
        with pytest.raises(AudioError, match=r"IndexError: .* of plugin 'outside'"):
            call(toy)


def test_faults_end_one_file_and_no_other(register, toy, tmp_path, clip, labeller):
    register(raising(ValueError("bad frame")))
    clip(tmp_path / "b.wav", 0.5)
    results = {r.name: r for r in sertool.label_all(labeller, sertool.scan(str(tmp_path)), jobs=2)}
    assert results["a.toy"].error == "ValueError: bad frame (decoder 'toy' of plugin 'outside')"
    assert "outside" not in (results["b.wav"].error or "")


def test_samples_that_are_not_finite_are_found(register, toy):
    register(lambda path: [(RATE, np.full((80, 1), np.nan, np.float32))])
    with pytest.raises(AudioError, match=r"NaN or infinity at 0\.000 s"):
        audio.read(toy)


def test_a_decoder_without_blocks_is_a_file_without_audio(register, toy):
    register(lambda path: [])
    with pytest.raises(AudioError, match="empty: the file holds no audio"):
        audio.read(toy)


@pytest.mark.parametrize("content", [None, b""])
def test_what_is_no_file_is_not_shown_to_plugins(register, tmp_path, content):
    register(lambda path: 1 / 0, lambda head, path: 1 / 0)
    path = tmp_path / "none.toy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match="no such file" if content is None else "empty: zero bytes"):
        audio.read(path)


def test_threads_load_plugins_once(tmp_path, monkeypatch):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "slow.py").write_text(
        f"import time\ntime.sleep(0.1)\nwith open({str(tmp_path / 'loads')!r}, 'a') as file:\n    file.write('x')\n"
    )
    monkeypatch.setenv("SERTOOL_PLUGINS_DIR", str(tmp_path / "plugins"))
    load_plugins.cache_clear()
    try:
        with ThreadPoolExecutor(4) as pool:
            assert not any(pool.map(audio.is_audio, [f"{number}.toy" for number in range(4)]))
    finally:
        load_plugins.cache_clear()
    assert (tmp_path / "loads").read_text() == "x"


def test_decoders_of_a_name_that_two_plugins_register_are_not_asked(register, toy, monkeypatch):
    register(lambda path: 1 / 0)
    (claim,) = load_plugins()._named["decoders"]["toy"]
    monkeypatch.setitem(load_plugins()._named["decoders"], "toy", [claim, claim])
    with pytest.raises(AudioError, match="cannot be read as audio"):
        audio.read(toy)
