"""Audio that is still coming: a microphone, or samples on a pipe, as mono blocks at 16 kHz."""

import os
import queue
import select
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from sertool._types import Array, Samples
from sertool.audio.decoders import FASTEST, SLOWEST
from sertool.audio.stream import Resampled, check_samples
from sertool.errors import AudioError, UsageError

#: Seconds of a block that is asked for; a pipe gives what it has.
BLOCK_S = 0.05
#: Seconds of the microphone that are held for a machine that is too slow. What comes beyond is dropped.
HELD_S = 10
#: Name of a kind of raw samples -> its numpy type and full scale.
KINDS = {
    "s16": ("<i2", 2.0**15),
    "s24": ("", 2.0**23),
    "s32": ("<i4", 2.0**31),
    "u8": ("u1", 2.0**7),
    "f32": ("<f4", 1.0),
    "f64": ("<f8", 1.0),
}
_OTHERS = {b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3", b"ftyp": "MP4", b"\x1a\x45\xdf\xa3": "Matroska"}
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE


@dataclass(frozen=True)
class Form:
    """How samples lie on a pipe: ``rate`` in Hz, interleaved ``channels``, one of KINDS."""

    rate: int
    channels: int = 1
    kind: str = "s16"

    def __post_init__(self) -> None:
        if not SLOWEST <= self.rate <= FASTEST:
            raise UsageError(f"--rate must be {SLOWEST} to {FASTEST} Hz, not {self.rate}")
        if not 1 <= self.channels <= 64:
            raise UsageError(f"--channels must be 1 to 64, not {self.channels}")

    @property
    def frame(self) -> int:
        """Return the bytes of a sample of every channel."""
        return self.channels * (3 if self.kind == "s24" else np.dtype(KINDS[self.kind][0]).itemsize)

    def mono(self, data: bytes) -> Samples:
        """Return whole frames as float32 [n], the mean of the channels."""
        values: Array
        if self.kind == "s24":
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            values = wide.view("<i4")[:, 0] / 2.0**31
        else:
            name, scale = KINDS[self.kind]
            values = np.frombuffer(data, name) / scale - (1.0 if self.kind == "u8" else 0.0)
        mono: Samples = values.reshape(-1, self.channels).mean(axis=1, dtype=np.float64).astype(np.float32)
        return mono


class Pipe:
    """Samples on a pipe: raw ones in ``form``, or WAV, whose header says it; iterate over it once for blocks [n].

    ``form`` is None for WAV only. It waits for input, and so holds up whoever writes: nothing is lost. Of ``stream``,
    only the file descriptor is used. It ends with the input, or when ``stop`` is set. Raises UsageError for other
    formats, AudioError for samples that are no numbers.
    """

    def __init__(self, stream: BinaryIO, form: Form | None, stop: threading.Event | None = None) -> None:
        self._descriptor, self._stop = stream.fileno(), stop or threading.Event()
        self._held = self._read_exactly(4)
        kind = next((name for magic, name in _OTHERS.items() if self._held[: len(magic)] == magic), None)
        if not self._held and not self._stop.is_set():
            raise UsageError("standard input is empty")
        if kind:
            raise UsageError(
                f"standard input is {kind}: listen reads raw samples and WAV; decode it first, as with "
                "ffmpeg -i - -f wav -"
            )
        if self._held == b"RIFF":
            self.form = self._header()
        elif form is None:
            raise UsageError("standard input is not WAV: say how its samples lie, as with --rate 16000")
        else:
            self.form = form
        self.dropped = 0.0

    def __iter__(self) -> Iterator[Samples]:
        resampled, taken = Resampled(self.form.rate), 0
        size = max(1, round(BLOCK_S * self.form.rate)) * self.form.frame
        while True:
            data = self._read(size)
            self._held += data
            whole = len(self._held) // self.form.frame * self.form.frame
            if whole:
                samples = self.form.mono(self._held[:whole])
                check_samples(samples, taken, self.form.rate)
                self._held, taken = self._held[whole:], taken + len(samples)
                yield from resampled.push(samples)
            if not data:
                break
        yield from resampled.finish()

    def _read_exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count and (more := self._read(count - len(data))):
            data += more
        return data

    def _read(self, count: int) -> bytes:
        """Return up to ``count`` bytes, at least one; none at the end of the input or once ``stop`` is set."""
        # A signal does not interrupt a read that waits; Windows can wait only for sockets.
        while os.name != "nt" and not select.select([self._descriptor], [], [], 0.2)[0]:
            if self._stop.is_set():
                return b""
        return os.read(self._descriptor, count)

    def _header(self) -> Form:
        """Read up to the samples. The length that a header states is ignored: writers to a pipe do not know it."""
        if self._read_exactly(8)[4:] != b"WAVE":
            raise UsageError("standard input begins with RIFF but is not WAV")
        form = None
        while True:
            head = self._read_exactly(8)
            if len(head) < 8:
                raise UsageError("standard input is a WAV without samples")
            name, size = head[:4], struct.unpack("<I", head[4:])[0]
            if name == b"data":
                if form is None:
                    raise UsageError("standard input is a WAV whose samples come before their format")
                self._held = b""
                return form
            content = self._read_exactly(size + size % 2)
            if name == b"fmt " and len(content) >= 16:
                form = _form(content)


def _form(content: bytes) -> Form:
    """Read the chunk "fmt " of a WAV."""
    code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
    if code == _EXTENSIBLE and len(content) >= 26:
        code = struct.unpack("<H", content[24:26])[0]
    kind = {(_PCM, 8): "u8", (_PCM, 16): "s16", (_PCM, 24): "s24", (_PCM, 32): "s32"}.get((code, bits))
    kind = kind or {(_FLOAT, 32): "f32", (_FLOAT, 64): "f64"}.get((code, bits))
    if kind is None:
        raise UsageError(f"standard input is a WAV of kind {code} with {bits} bits: only PCM and floats are read")
    return Form(rate, channels, kind)


class Microphone:
    """A microphone; iterate over it for blocks [n] until ``stop`` is set. Needs sounddevice.

    ``dropped`` are the seconds that were lost because nobody took them in time. They are in the blocks as silence, so
    that times do not drift. Raises UsageError if there is no microphone, AudioError if it goes away.
    """

    def __init__(self, device: str | int | None, stop: threading.Event) -> None:
        sounddevice = _sounddevice()
        self._stop, self._failure = stop, ""
        self._queue: queue.Queue[Samples] = queue.Queue(maxsize=round(HELD_S / BLOCK_S))
        self._missing, self.dropped = 0, 0.0
        try:
            rate = round(sounddevice.query_devices(device, "input")["default_samplerate"])
            self._rate = rate
            self._input = sounddevice.InputStream(
                samplerate=rate,
                blocksize=round(BLOCK_S * rate),
                device=device,
                channels=1,
                dtype="float32",
                callback=self._take,
                finished_callback=self._ended,
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise UsageError(f"no microphone: {' '.join(str(error).split())}") from None

    def _take(self, samples: Array, frames: int, time: Any, status: Any) -> None:
        """Called on PortAudio's thread with [frames, 1]: never waits."""
        if status and status.input_overflow:
            self._missing += frames  # at least a block went missing before this one
        try:
            if self._missing:
                self._queue.put_nowait(np.zeros(self._missing, np.float32))
                self.dropped += self._missing / self._rate
                self._missing = 0
            self._queue.put_nowait(samples[:, 0].copy())
        except queue.Full:
            self._missing += frames

    def _ended(self) -> None:
        if not self._stop.is_set():
            self._failure = "the microphone went away"

    def __iter__(self) -> Iterator[Samples]:
        resampled = Resampled(self._rate)
        with self._input:
            while not self._stop.is_set():
                try:
                    block = self._queue.get(timeout=0.2)
                except queue.Empty:
                    if self._failure:
                        raise AudioError(self._failure) from None
                    continue
                yield from resampled.push(block)


def microphones() -> list[str]:
    """Return the names of the inputs, each with its number. Raise UsageError without sounddevice."""
    devices = _sounddevice().query_devices()
    return [f"{number}: {one['name']}" for number, one in enumerate(devices) if one["max_input_channels"] > 0]


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ImportError:
        raise UsageError("the microphone needs sounddevice: pip install 'sertool[live]'") from None
    except OSError as error:
        raise UsageError(f"sounddevice: {error}: install it, as with apt install libportaudio2") from None
    return sounddevice
