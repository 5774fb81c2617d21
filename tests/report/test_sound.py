"""What a report shows and plays of a recording."""

import base64
import io
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile

from sertool.report import sound
from sertool.speech.detection import detect
from sertool.testing.clips import sound as buzz

RATE = 16_000


def test_peaks_speech_and_length(tmp_path):
    samples = np.concatenate([0.25 * np.ones(RATE), -0.5 * np.ones(RATE), np.zeros(RATE + 77)]).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    heard = sound.listen(tmp_path / "a.wav", 3 * 4)
    assert heard.seconds == len(samples) / RATE
    levels = [ord(character) - 48 for character in heard.peaks]
    assert levels == [16, 16, 16, 16, 31, 31, 31, 31, 0, 0, 0, 0]
    assert heard.speech == detect([samples]).times
    assert heard.opus is None


@pytest.mark.parametrize("samples", [0, 1, 100, 161])
def test_recordings_that_are_shorter_than_their_columns(tmp_path, samples):
    soundfile.write(tmp_path / "a.wav", np.full(samples, 0.5), RATE)
    heard = sound.listen(tmp_path / "a.wav", 800)
    if samples == 0:
        assert heard.reason
    else:
        assert heard.peaks == chr(48 + 31) * -(-samples // 160)


def test_opus_is_the_recording(tmp_path):
    samples = buzz(5 * RATE)
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    heard = sound.listen(tmp_path / "a.wav", 100, embed=True)
    decoded, rate = soundfile.read(io.BytesIO(base64.b64decode(heard.opus)))
    assert rate in (RATE, 48_000)
    assert len(decoded) / rate == pytest.approx(5, abs=0.05)
    assert len(heard.opus) < 5 * 6_000  # below 48 kbit/s
    own = np.abs(np.fft.rfft(samples))[: 5 * 3000]  # up to 3 kHz
    other = np.abs(np.fft.rfft(decoded))[: 5 * 3000] * RATE / rate
    assert np.corrcoef(own, other)[0, 1] > 0.9


def test_what_cannot_be_read_has_a_reason(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    assert "cannot be read" in sound.listen(tmp_path / "a.wav", 100).reason
    assert sound.listen(None, 100).reason == "the recording was not found"
    assert sound.listen(tmp_path / "none.wav", 100).reason


@pytest.mark.parametrize("name", ["a b.wav", "ü#?%41&.wav", "javascript:alert(1).wav", "日本/<b>.wav"])
def test_links_are_relative_and_quoted(tmp_path, name):
    address = sound.link(tmp_path / "audio" / name, tmp_path / "pages" / "report.html")
    assert address.startswith("../audio/")
    assert not set(address) & set(" #?<>:&\"'")
    assert Path(unquote(address)) == Path("../audio") / name


def test_many_recordings_have_short_waveforms():
    assert sound.columns_for(1) == sound.MOST
    assert sound.columns_for(10**6) == sound.FEWEST
    assert sound.columns_for(2000) * 2000 <= sound.BUDGET
