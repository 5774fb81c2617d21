"""What each augmentation states. What all must keep is in test_conformance.py."""

import numpy as np
import pytest
import soundfile
from scipy.signal import fftconvolve

from sertool.errors import UsageError
from sertool.plugins import load_plugins

NAMES = ("gain", "noise", "room", "speed", "equaliser")


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(1)
    soundfile.write(tmp_path / "noise.wav", 0.1 * rng.standard_normal(8000), 16000, subtype="FLOAT")
    return tmp_path


def build(name, folder, **options):
    if name in ("noise", "room"):
        options["folder"] = str(folder)
    return load_plugins().get("augmentations", name).build(**options)


def speech(seed=0, n=24_000):
    rng = np.random.default_rng(seed)
    envelope = np.abs(np.sin(np.arange(n) * 2 * np.pi * 3 / 16000))
    return (0.2 * envelope * rng.standard_normal(n)).astype(np.float32)


def energy(x):
    return float(np.sum(np.square(x, dtype=np.float64)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 33, 16_000])
def test_silence_stays_silence_at_any_length(name, n, folder):
    out = build(name, folder)(np.zeros(n, np.float32), np.random.default_rng(0))
    assert not out.any()


@pytest.mark.parametrize("name", ["gain", "noise", "room", "equaliser"])
def test_length_is_kept(name, folder):
    assert len(build(name, folder)(speech(), np.random.default_rng(0))) == 24_000


@pytest.mark.parametrize("name", ["room", "equaliser"])
def test_energy_is_kept(name, folder):
    clip = speech()
    out = build(name, folder)(clip, np.random.default_rng(5))
    assert energy(out) == pytest.approx(energy(clip), rel=1e-3)
    assert not np.allclose(out, clip)


def test_gain_stays_within_its_decibels():
    change, clip, rng = build("gain", None, low=-10, high=3), speech(), np.random.default_rng(0)
    gains = [10 * np.log10(energy(change(clip, rng)) / energy(clip)) for _ in range(200)]
    assert -10 <= min(gains) < -8
    assert 1.5 < max(gains) <= 3


def test_noise_comes_at_the_asked_ratio(folder):
    clip, rng = speech(), np.random.default_rng(0)
    for snr in (0, 10, 30):
        mixed = build("noise", folder, low=snr, high=snr)(clip, rng)
        assert 10 * np.log10(energy(clip) / energy(mixed - clip)) == pytest.approx(snr, abs=0.1)


def test_room_is_a_convolution(folder, tmp_path):
    response = np.zeros(400, np.float32)
    response[[0, 120, 399]] = 1, 0.5, -0.25
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    soundfile.write(rooms / "r.wav", response, 16000, subtype="FLOAT")
    clip = speech()
    expected = fftconvolve(clip, response)[: len(clip)]
    expected *= np.sqrt(energy(clip) / energy(expected))
    np.testing.assert_allclose(build("room", rooms)(clip, np.random.default_rng(0)), expected, atol=1e-5)


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_speed_moves_pitch_and_length(factor):
    tone = np.sin(2 * np.pi * 440 * np.arange(32_000) / 16000).astype(np.float32)
    out = build("speed", None, low=factor, high=factor)(tone, np.random.default_rng(0))
    assert len(out) == pytest.approx(32_000 / factor, abs=2)
    peak = np.argmax(np.abs(np.fft.rfft(out * np.hanning(len(out))))) * 16000 / len(out)
    assert peak == pytest.approx(440 * factor, abs=1)


def test_equaliser_stays_within_its_range():
    impulse = np.zeros(16_000, np.float32)
    impulse[8000] = 1
    out = build("equaliser", None, range=6)(impulse, np.random.default_rng(0))
    decibels = 20 * np.log10(np.abs(np.fft.rfft(out)))
    assert decibels.max() - decibels.min() <= 12.1


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(UsageError, match="no audio files"):
        build("noise", tmp_path)


@pytest.mark.parametrize(
    ("kind", "least"), [("ulaw", 0.9), ("gsm", 0.7), ("mp3", 0.85), ("vorbis", 0.85), ("opus", 0.8)]
)
def test_a_codec_is_heard_and_nothing_moves(kind, least):
    """Speech-like noise below 3 kHz comes back where it was, changed; the best match is at no delay."""
    low = np.convolve(speech(), np.hanning(9) / np.hanning(9).sum(), "same").astype(np.float32)
    out = build("codec", None, kinds=[kind])(low, np.random.default_rng(0))
    assert out.dtype == np.float32
    assert len(out) == len(low)
    assert not np.allclose(out, low, atol=1e-3)
    match = [np.corrcoef(low[4000:20_000], out[4000 + lag : 20_000 + lag])[0, 1] for lag in range(-40, 41)]
    assert abs(int(np.argmax(match)) - 40) <= 1
    assert max(match) > least


def test_codecs_are_drawn_from_those_named():
    both = build("codec", None, kinds=["ulaw", "opus"])
    found = {both(speech(), np.random.default_rng(seed)).tobytes() for seed in range(4)}
    assert len(found) > 1
    for kinds in ([], ["flac"]):
        with pytest.raises(UsageError, match="kinds must be a list of ulaw, gsm, mp3, vorbis, opus"):
            build("codec", None, kinds=kinds)
