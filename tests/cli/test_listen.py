"""`sertool listen`: pipes of every kind, a microphone that loses input, and how it ends."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import types
import wave

import numpy as np
import pytest
import soundfile

from sertool import audio, bundle
from sertool.audio import live
from sertool.errors import AudioError, UsageError
from sertool.labelling import Labeller
from sertool.speech.detection import detect

RATE = 16_000
SAMPLES = bundle.bundled_folder() / "wav2small" / "samples"
MODEL = ("-m", "wav2small")


@pytest.fixture(scope="module")
def speech():
    parts = [soundfile.read(path, dtype="float32")[0] for path in sorted(SAMPLES.glob("*.wav"))]
    return np.concatenate([part for clip in parts for part in (clip, np.zeros(RATE, np.float32))])


def run(*arguments, data=b"", code=0):
    command = [sys.executable, "-m", "sertool", "listen", *arguments]
    done = subprocess.run(command, input=data, capture_output=True, timeout=120)
    err = done.stderr.decode()
    assert "Traceback" not in err
    assert done.returncode == code, err
    return [json.loads(line) for line in done.stdout.decode().splitlines()], err


def raw(samples, kind="<i2", scale=32767):
    return (samples * scale).astype(kind).tobytes()


def test_rows_of_a_pipe(speech, tmp_path):
    rows, err = run(
        "-", "--rate", "16000", *MODEL, "--hop", "0.5", "-o", str(tmp_path / "rows.jsonl"), data=raw(speech)
    )
    seconds = len(speech) / RATE
    assert err == f"heard {seconds:.1f} s, {len(rows)} rows\n"
    assert [row["end"] for row in rows] == [1 + 0.5 * number for number in range(int((seconds - 1) * 2) + 1)]
    assert list(rows[0])[:3] == ["start", "end", "arousal"]
    assert list(rows[0])[-2:] == ["error", "delay"]
    assert all(0 <= row["delay"] < 5 for row in rows)
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == rows


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE"])
def test_a_wav_says_how_its_samples_lie(speech, subtype, tmp_path):
    soundfile.write(tmp_path / "x.wav", np.stack([speech, speech], 1), RATE, subtype=subtype)
    rows, _ = run("-", *MODEL, "--by", "segment", data=(tmp_path / "x.wav").read_bytes())
    samples = audio.read(tmp_path / "x.wav")
    found = detect([samples]).times
    assert [(row["start"], row["end"]) for row in rows] == found
    own = Labeller("wav2small").segments(samples, found, RATE)
    assert [row["arousal"] for row in rows] == pytest.approx([row.arousal for row in own], abs=1e-6)


def test_a_header_that_lies_about_the_length(speech):
    """Writers to a pipe state 0 or the largest length."""
    whole = io.BytesIO()
    with wave.open(whole, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(raw(speech))
    data = bytearray(whole.getvalue())
    for length in (0, 0xFFFFFFFF):
        data[40:44] = length.to_bytes(4, "little")
        rows, _ = run("-", *MODEL, data=bytes(data))
        assert len(rows) == int(len(speech) / RATE)


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (44_100, 2), (48_000, 1), (48_000, 6)])
def test_other_rates_and_channels(speech, rate, channels):
    import soxr

    samples = soxr.resample(speech, RATE, rate)
    data = raw(np.repeat(samples[:, None], channels, axis=1))
    rows, err = run("-", "--rate", str(rate), "--channels", str(channels), *MODEL, data=data)
    assert len(rows) == int(len(speech) / RATE)
    assert f"heard {len(speech) / RATE:.1f} s" in err


@pytest.mark.parametrize("kind", ["s16", "s24", "s32", "u8", "f32", "f64"])
def test_raw_samples_are_scaled(kind):
    values = np.array([0, 0.5, -0.5, 0.25], np.float64)
    form = live.Form(RATE, 1, kind)
    if kind == "s24":
        data = b"".join(int(value * 2**23).to_bytes(3, "little", signed=True) for value in values)
    elif kind == "u8":
        data = (values * 128 + 128).astype("u1").tobytes()
    else:
        name, scale = live.KINDS[kind]
        data = (values * scale).astype(name).tobytes()
    assert form.mono(data) == pytest.approx(values)
    assert len(data) == 4 * form.frame


def test_channels_are_averaged():
    data = np.array([[1000, 3000], [-2000, 2000]], "<i2").tobytes()
    assert live.Form(RATE, 2).mono(data) == pytest.approx(np.array([2000, 0]) / 32768)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"fLaC....", "is FLAC: listen reads raw samples and WAV"),
        (b"OggS....", "is Ogg"),
        (b"", "standard input is empty"),
        (b"\0\0\0\0\0\0", "not WAV: say how its samples lie"),
        (b"RIFF\0\0\0\0AVI ", "begins with RIFF but is not WAV"),
        (b"RIFF\0\0\0\0WAVE", "a WAV without samples"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "before their format"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x55\0\1\0\x80\x3e\0\0\0\0\0\0\0\0\x10\0data\0\0\0\0", "kind 85 with 16 bits"),
        (
            b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\0\0\x80\x3e\0\0\0\0\0\0\0\0\x10\0data\0\0\0\0",
            "--channels must be 1 to 64",
        ),
    ],
)
def test_what_is_no_stream_is_one_line(data, reason):
    rows, err = run("-", *MODEL, data=data, code=2)
    assert reason in err
    assert err.count("\n") == 1
    assert rows == []


def test_wrong_usage(command):
    for arguments, reason in (
        (("talk.wav",), "use sertool label"),
        (("--rate", "16000"), "--rate is for samples on standard input"),
        (("-", "--rate", "1"), "--rate must be"),
        (("-", "--window", "2", "--hop", "3"), "at most the window"),
    ):
        answer = command("listen", *arguments, *MODEL)
        assert answer.code == 2
        assert reason in answer.err
        assert answer.err.count("\n") == 1


def test_samples_that_are_no_numbers_end_it(speech):
    data = speech[: 2 * RATE].astype("<f4")
    data[RATE + 5] = np.nan
    rows, err = run("-", "--rate", "16000", "--kind", "f32", *MODEL, data=data.tobytes(), code=1)
    assert "NaN or infinity at 1.000 s" in err
    assert len(rows) <= 1


def test_rows_come_while_the_input_goes_on_and_ctrl_c_ends_it(speech):
    command = [sys.executable, "-m", "sertool", "listen", "-", "--rate", "16000", *MODEL]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(raw(speech[: 3 * RATE]))
    process.stdin.flush()
    rows = [json.loads(process.stdout.readline()) for _ in range(3)]
    assert [row["end"] for row in rows] == [1, 2, 3]
    process.send_signal(signal.SIGINT)  # while it waits for input
    assert process.wait(timeout=30) == 0
    assert process.stderr.read() == b"heard 3.0 s, 3 rows\n"
    process.communicate()


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_terminal_shows_a_live_view(speech):
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sertool", "listen", "-", "--rate", "16000", "-m", "wav2small-emotion"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=theirs, stderr=theirs)
    os.close(theirs)
    threading.Thread(target=lambda: (process.stdin.write(raw(speech)), process.stdin.close())).start()
    shown = b""
    with contextlib.suppress(OSError):  # how the end of a pseudo-terminal is told
        while data := os.read(ours, 65536):
            shown += data
    os.close(ours)
    assert process.wait(timeout=30) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert "listening; Ctrl-C ends" in text or "to " in text
    for word in ("level", "angry", "happy", "neutral", "sad", "━", "heard 17.8 s, 17 rows"):
        assert word in text
    assert '"emotion"' not in text


def test_a_reader_that_leaves_ends_it(speech):
    command = [sys.executable, "-m", "sertool", "listen", "-", "--rate", "16000", *MODEL]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    try:
        process.stdin.write(raw(np.tile(speech, 20)))
        process.stdin.close()
    except BrokenPipeError:
        pass
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""


class FakeInput:
    """A microphone of PortAudio: ``feed`` calls back as its thread would."""

    def __init__(self, **options):
        self.options, FakeInput.made = options, self

    def feed(self, samples, overflow=False):
        status = types.SimpleNamespace(input_overflow=overflow) if overflow else None
        self.options["callback"](samples[:, None], len(samples), None, status)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.options["finished_callback"]()


@pytest.fixture
def fake(monkeypatch):
    """sounddevice with one microphone of 48 kHz."""
    one = {"name": "A microphone", "default_samplerate": 48_000.0, "max_input_channels": 1}

    def query(device=None, kind=None):
        if device == 7:
            raise ValueError("no device\nwith number 7")
        return one if kind else [one, {"name": "Loud", "max_input_channels": 0}]

    module = types.SimpleNamespace(InputStream=FakeInput, query_devices=query, PortAudioError=OSError)
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


def test_what_a_microphone_loses_is_counted_and_silent(fake):
    stop, block = threading.Event(), np.full(2400, 0.5, np.float32)
    microphone = live.Microphone(None, stop)
    assert FakeInput.made.options["samplerate"] == 48_000
    for _ in range(250):  # 12.5 s, of which 10 s are held
        FakeInput.made.feed(block)
    taken, blocks = 0, iter(microphone)
    for _ in range(180):
        taken += len(next(blocks))
    for _ in range(5):
        FakeInput.made.feed(block)
    FakeInput.made.feed(block, overflow=True)
    heard = []
    while not microphone._queue.empty():
        heard.append(next(blocks))
    stop.set()
    assert list(blocks) == []
    taken += sum(map(len, heard))
    assert microphone.dropped == pytest.approx(2.5 + 0.05)
    assert taken / RATE == pytest.approx((250 + 5 + 2) * 0.05, abs=0.11)  # times do not drift
    assert np.abs(np.concatenate(heard)).min() == pytest.approx(0, abs=1e-3)


def test_a_microphone_that_goes_away(fake):
    microphone = live.Microphone(None, threading.Event())
    FakeInput.made.options["finished_callback"]()
    with pytest.raises(AudioError, match="went away"):
        next(iter(microphone))
    with pytest.raises(UsageError, match="no microphone: no device with number 7"):
        live.Microphone(7, threading.Event())


def test_it_listens_to_a_microphone(fake, command, speech):
    import soxr

    loud = soxr.resample(speech, RATE, 48_000).astype(np.float32)

    def feed():
        while not isinstance(getattr(FakeInput, "made", None), FakeInput):
            time.sleep(0.01)
        for start in range(0, 48_000 * 4, 2400):
            FakeInput.made.feed(loud[start : start + 2400])
        time.sleep(1.5)
        os.kill(os.getpid(), signal.SIGINT)

    FakeInput.made = None
    threading.Thread(target=feed).start()
    answer = command("listen", *MODEL)
    assert answer.code == 0
    rows = [json.loads(line) for line in answer.out.splitlines()]
    assert [row["end"] for row in rows] == [1, 2, 3]
    assert "heard 4.0 s, 3 rows" in answer.err or "heard 3.9 s, 3 rows" in answer.err
    assert command("listen", "--devices").out == "0: A microphone\n"


def test_without_sounddevice_it_says_what_to_install(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    answer = command("listen", *MODEL)
    assert answer.code == 2
    assert answer.err == "sertool: the microphone needs sounddevice: pip install 'sertool[live]'\n"


def test_audio_in_a_pipe_is_never_a_list_of_names(speech, tmp_path):
    """`label -`: recognised by its first bytes."""
    kinds = {
        "WAV": "PCM_16",
        "FLAC": "PCM_16",
        "OGG": "OPUS",
        "MP3": "MPEG_LAYER_III",
        "AIFF": "PCM_16",
        "CAF": "PCM_16",
    }
    for name, subtype in kinds.items():
        whole = io.BytesIO()
        soundfile.write(whole, speech[: 3 * RATE], RATE, format=name, subtype=subtype)
        command = [sys.executable, "-m", "sertool", "label", "-", *MODEL, "--format", "jsonl", "-q"]
        done = subprocess.run(command, input=whole.getvalue(), capture_output=True, timeout=60)
        row = json.loads(done.stdout)
        assert row["file"] == "-"
        assert row["error"] is None, name
        assert row["end"] == pytest.approx(3, abs=0.1)
    assert audio.SAMPLE_RATE == RATE
