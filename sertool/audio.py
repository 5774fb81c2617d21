"""Decode, mix down and resample: any file to 16 kHz mono float32, whole or in blocks."""

import io
import os
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from . import mp3
from .errors import AudioError

SAMPLE_RATE = 16_000

#: Endings that count as audio when a folder is searched. A file named outright is tried whatever its ending.
EXTENSIONS = frozenset(
    {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64"}
    | {".m4a", ".m4b", ".mp4", ".aac", ".wma", ".mka", ".webm", ".amr"}
)

#: What libsndfile cannot read, by the first bytes: (offset, bytes, name).
_NOT_SOUNDFILE = (
    (4, b"ftyp", "AAC"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska/WebM"),
    (0, b"#!AMR", "AMR"),
)

_BLOCK_SECONDS = 10


def files(folder) -> list[Path]:
    """The audio below a folder by its endings, sorted; hidden files, as macOS leaves beside others, are passed over."""
    found = (path for path in Path(folder).rglob("*") if path.suffix.lower() in EXTENSIONS)
    return sorted(path for path in found if not path.name.startswith("."))


def read(path) -> np.ndarray:
    """The whole recording, float32 [samples], 16 kHz, channels averaged. Raises AudioError."""
    parts = list(blocks(path))
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def blocks(path) -> Iterator[np.ndarray]:
    """The recording as float32 blocks of about 10 s, 16 kHz, channels averaged, in memory that does not grow.

    Raises AudioError, with a reason that a person can act on, for whatever is not a complete, finite recording.
    """
    path = Path(path)
    stream = None
    position = 0
    for rate, native in _native_blocks(path):
        if not np.isfinite(native).all():
            at = (position + int(np.argmin(np.isfinite(native)))) / rate
            raise AudioError(f"NaN or infinity at {at:.3f} s")
        position += len(native)
        if rate == SAMPLE_RATE:
            yield native
            continue
        if stream is None:
            stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        resampled = stream.resample_chunk(native)
        if len(resampled):
            yield resampled
    if stream is not None:
        yield stream.resample_chunk(np.zeros(0, np.float32), last=True)
    if position == 0:
        raise AudioError("empty: the file holds no audio")


def duration(path) -> float:
    """Seconds, by the header where libsndfile can read it, else by decoding. Raises AudioError."""
    try:
        with soundfile.SoundFile(_openable(path)) as file:
            return file.frames / file.samplerate
    except soundfile.LibsndfileError:
        return len(read(path)) / SAMPLE_RATE


def excerpt(path, start: float, samples: int) -> np.ndarray:
    """float32 [samples] at 16 kHz from ``start`` seconds on, without decoding what comes before; fewer at the end.

    Channels are averaged. For training: unlike ``read`` it cannot tell whether the recording is complete. Raises
    AudioError.
    """
    try:
        with soundfile.SoundFile(_openable(path)) as file:
            file.seek(min(round(start * file.samplerate), file.frames))
            frames = -(-samples * file.samplerate // SAMPLE_RATE)
            native = file.read(frames, dtype="float32", always_2d=True).mean(axis=1, dtype=np.float32)
            rate = file.samplerate
    except soundfile.LibsndfileError:
        return read(path)[round(start * SAMPLE_RATE) :][:samples]
    if not np.isfinite(native).all():
        raise AudioError(f"NaN or infinity after {start:.3f} s")
    return (native if rate == SAMPLE_RATE else resample(native, rate, SAMPLE_RATE))[:samples]


def resample(samples: np.ndarray, rate: float, to: float) -> np.ndarray:
    """float32 [n] from one rate to another (soxr, HQ)."""
    return soxr.resample(np.ascontiguousarray(samples, np.float32), rate, to, quality="HQ")


def write(path, samples: np.ndarray) -> None:
    """float32 [n] at 16 kHz to a file, by its ending .wav (32-bit float, any range) or .flac (24 bits, at most +-1).

    Written beside and renamed: there is a whole file or none. Raises AudioError for another ending, and rather than
    clip; OSError where the disk does not take it.
    """
    path = Path(path)
    subtypes = {".wav": "FLOAT", ".flac": "PCM_24"}
    ending = path.suffix.lower()
    if ending not in subtypes:
        raise AudioError("name it .wav or .flac")
    peak = float(np.max(np.abs(samples), initial=0))
    if ending == ".flac" and peak > 1:
        raise AudioError(f"FLAC would clip it: the peak is {peak:.2f}, full scale 1; write .wav, or lower it first")
    encoded = io.BytesIO()  # libsndfile would write to a full disk without a word
    soundfile.write(encoded, samples, SAMPLE_RATE, subtypes[ending], format=ending[1:].upper())
    content = encoded.getbuffer()
    if (stamp := bytes(content[:128]).find(b"PEAK") + 12) > 12:
        content[stamp : stamp + 4] = bytes(4)  # the time of day: the same samples make the same file
    beside = path.with_name(f".{os.getpid()}.part")  # no name that a search for audio finds
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def mono(samples, rate: float) -> np.ndarray:
    """An array of the caller's, [samples] or [samples, channels], as 16 kHz mono float32. Raises AudioError.

    Integers are scaled by their full range; channels are averaged.
    """
    if not isinstance(rate, (int, float, np.number)) or not 0 < rate < float("inf"):
        raise AudioError(f"the rate must be a number of Hz above 0, not {rate!r}")
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2):
        raise AudioError(f"samples must be [samples] or [samples, channels], not {list(samples.shape)}")
    if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        raise AudioError(f"samples must be [samples, channels]; {list(samples.shape)} looks like the transpose")
    if np.issubdtype(samples.dtype, np.unsignedinteger):  # silence is in the middle
        half = (np.iinfo(samples.dtype).max + 1) / 2
        samples = (samples - half) / half
    elif np.issubdtype(samples.dtype, np.integer):
        samples = samples / -float(np.iinfo(samples.dtype).min)
    if samples.ndim == 2:
        samples = samples.mean(axis=1)
    samples = np.ascontiguousarray(samples, np.float32)
    if not np.isfinite(samples).all():
        raise AudioError(f"NaN or infinity at sample {int(np.argmin(np.isfinite(samples)))}")
    return samples if rate == SAMPLE_RATE else resample(samples, rate, SAMPLE_RATE)


def _native_blocks(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """(rate, float32 [n]) blocks at the file's own rate, channels averaged."""
    try:
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise AudioError("not a regular file")  # to open a named pipe could wait for ever
        with open(path, "rb") as file:
            head = file.read(16)
    except IsADirectoryError:
        raise AudioError("is a folder") from None
    except OSError as error:
        raise AudioError((error.strerror or str(error)).lower()) from None
    if not head:
        raise AudioError("empty: zero bytes")
    codec = next((name for at, magic, name in _NOT_SOUNDFILE if head[at : at + len(magic)] == magic), None)
    yield from _soundfile_blocks(path) if codec is None else _av_blocks(path, codec)


def _soundfile_blocks(path: Path):
    done, promised, rate = 0, 0, SAMPLE_RATE
    try:
        with soundfile.SoundFile(_openable(path)) as file:
            rate = file.samplerate
            promised = max(file.frames, _frames_in_header(file))
            if file.format == "MP3":
                promised = _checked_mp3(path, file, promised)
            while done < file.frames:
                block = file.read(_BLOCK_SECONDS * rate, dtype="float32", always_2d=True)
                if not len(block):
                    break
                done += len(block)
                yield rate, block[:, 0] if file.channels == 1 else block.mean(axis=1, dtype=np.float32)
            # An MP3 may end within a frame, and its decoder may keep the last one or two to itself.
            if done < promised - (4 * 1152 if file.format == "MP3" else 0):
                raise _truncated(path, f"{done / rate:.1f} of {promised / rate:.1f} s can be decoded")
    except soundfile.LibsndfileError as error:
        reason = error.error_string.removeprefix("Error :").strip(" .")
        if "lost sync" in reason:  # a FLAC stream that breaks off or is damaged
            raise _truncated(path, f"not all of its {promised / rate:.1f} s can be decoded") from None
        # What libsndfile says of an MP3 that it cannot open would send a person looking for a file that is there.
        reason = "" if reason.startswith("File does not exist") else f" ({reason.lower()})"
        raise AudioError(f"not audio that can be read{reason}") from None


def _openable(path):
    """A path as soundfile takes it, also where the name is not UTF-8."""
    return os.fsencode(path) if os.name == "posix" else path


def _frames_in_header(file: soundfile.SoundFile) -> int:
    """Frames that a WAV, AIFF or AU header promises where the file holds fewer, else 0.

    libsndfile reads what is there and says the rest in its log only. Sizes near 2 or 4 GiB are the mark of a
    recorder that wrote to a pipe and never knew the length: nothing is missing there.
    """
    log = re.search(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if not log or not file.frames or int(log[1]) >= 0x7FFF_0000:
        return 0
    return file.frames * int(log[1]) // int(log[2])


def _checked_mp3(path: Path, file: soundfile.SoundFile, promised: int) -> int:
    """The frames that libsndfile will read; AudioError if the file holds more, of which it would say nothing."""
    counted = mp3.frames(path)
    if not counted:
        return promised
    if counted > promised * 1.01 + file.samplerate:
        rate = file.samplerate
        raise AudioError(
            "MP3 of several pieces, or of variable bit rate without a length: "
            f"only {promised / rate:.1f} of {counted / rate:.1f} s would be read; "
            f"to mend it: ffmpeg -i {_in_shell(path.name)} -c copy fixed.mp3"
        )
    return promised if mp3.has_length(path) else min(promised, counted)


def _in_shell(name: str) -> str:
    """A file name as it can be pasted into a command."""
    # ffmpeg takes what stands before a colon for a protocol.
    return shlex.quote(f"./{name}" if name.startswith("-") or ":" in name else name)


def _truncated(path: Path, what: str) -> AudioError:
    return AudioError(
        f"truncated or damaged: {what}; to label what is there: ffmpeg -i {_in_shell(path.name)} repaired.flac"
    )


def _av_blocks(path: Path, codec: str):
    try:
        import av
    except ImportError:
        raise AudioError(
            f"cannot decode {codec}; install the reader (pip install 'sertool[av]') "
            f"or convert it (ffmpeg -i {_in_shell(path.name)} {_in_shell(path.stem)}.flac)"
        ) from None
    try:
        with av.open(f"file:{path}") as container:  # else "12:30.m4a" would be a protocol
            if not container.streams.audio:
                raise AudioError("no audio stream in it")
            planar = av.AudioResampler(format="fltp")
            for frame in container.decode(container.streams.audio[0]):
                for part in planar.resample(frame):
                    yield part.sample_rate, part.to_ndarray().mean(axis=0, dtype=np.float32)
    except av.FFmpegError as error:
        raise AudioError(f"cannot decode {codec} ({error.strerror or error})") from None
