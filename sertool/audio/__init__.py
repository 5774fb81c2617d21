"""Decode, mix down and resample: any file to 16 kHz mono float32, whole or in blocks."""

import functools
import importlib.util
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from sertool.audio.decoders import FASTEST, SAMPLE_RATE, SLOWEST, Mixer, Note, native_blocks, opened
from sertool.errors import AudioError, AudioWarning

_SOUND = """
.wav .wave .bwf .rf64 .w64 .flac .ogg .oga .opus .spx .mp3 .mp2 .mpga .aif .aiff .aifc .au .snd .caf .voc .sph .nist
.m4a .m4b .m4r .mp4 .aac .wma .mka .webm .amr
"""
_FILM = """
.m4v .mov .qt .3gp .3g2 .mkv .avi .ts .mts .m2ts .mpg .mpeg .vob .flv .f4v .wmv .asf .ogv .ogx .mxf .nut
.ac3 .eac3 .dts .awb .ape .wv .tta .tak .mpc .ra .rm .rmvb .mlp .thd .gsm .oma
"""
#: Endings that count as audio when a folder is searched. A file named outright is tried whatever its ending.
EXTENSIONS = frozenset(_SOUND.split())
#: Those that count where PyAV is installed: films, and what only ffmpeg reads.
EXTENSIONS_AV = frozenset(_FILM.split())

#: Samples beyond which nothing is a recording.
_LARGEST = 1e12


def is_audio(name: str) -> bool:
    """Whether a file of this name counts as audio in a folder: by its ending, and by what is installed."""
    ending = os.path.splitext(name)[1].lower()
    return ending in EXTENSIONS or (ending in EXTENSIONS_AV and _has_av())


@functools.cache
def _has_av() -> bool:
    return importlib.util.find_spec("av") is not None


def files(folder) -> list[Path]:
    """The audio below a folder by its endings, sorted; hidden files, as macOS leaves beside others, are passed over."""
    found = (path for path in Path(folder).rglob("*") if is_audio(path.name))
    return sorted(path for path in found if not path.name.startswith("."))


def read(path, note: Note | None = None) -> np.ndarray:
    """The whole recording, float32 [samples], 16 kHz, channels averaged. AudioError and ``note`` as with ``blocks``."""
    parts = list(blocks(path, note))
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def blocks(path, note: Note | None = None) -> Iterator[np.ndarray]:
    """The recording as float32 blocks of about 10 s, 16 kHz, channels averaged, in memory that does not grow.

    Times are those that a player shows: gaps in the time stamps are silence. Of several tracks the default one is
    heard. What a person should know of a recording that is read all the same, as that there are other tracks, is
    handed to ``note``, without one it is an AudioWarning.

    Raises AudioError, with a reason that a person can act on, for whatever is not a complete, finite recording.
    """
    path = Path(path)
    stream = _Resampled(SAMPLE_RATE)
    seconds, found = 0.0, False
    for rate, native in native_blocks(path, note or _warn_of(path)):
        if not np.isfinite(native).all():
            raise AudioError(f"NaN or infinity at {seconds + int(np.argmin(np.isfinite(native))) / rate:.3f} s")
        if np.abs(native).max(initial=0) > _LARGEST:
            at = int(np.argmax(np.abs(native) > _LARGEST))
            raise AudioError(f"a sample of {native[at]:g} at {seconds + at / rate:.3f} s: full scale is 1")
        seconds += len(native) / rate
        found |= len(native) > 0
        if rate != stream.rate:
            yield from stream.finish()
            stream = _Resampled(rate)
        yield from stream.push(native)
    yield from stream.finish()
    if not found:
        raise AudioError("empty: the file holds no audio")


class _Resampled:
    """Blocks at a rate to blocks at 16 kHz, which together are no longer than they."""

    def __init__(self, rate: int):
        self.rate, self._taken, self._given = rate, 0, 0
        self._stream = None
        if rate != SAMPLE_RATE:
            self._stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")

    def push(self, block: np.ndarray) -> Iterator[np.ndarray]:
        self._taken += len(block)
        yield from self._passed(block if self._stream is None else self._stream.resample_chunk(block))

    def finish(self) -> Iterator[np.ndarray]:
        if self._stream is not None:
            rest = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
            yield from self._passed(rest[: max(0, self._taken * SAMPLE_RATE // self.rate - self._given)])

    def _passed(self, block: np.ndarray) -> Iterator[np.ndarray]:
        self._given += len(block)
        if len(block):
            yield block


def _warn(text: str) -> None:
    warnings.warn(text, AudioWarning, stacklevel=4)


def _warn_of(path: Path) -> Note:
    return lambda text: _warn(f"{path}: {text}")


def duration(path) -> float:
    """Seconds, by the header where libsndfile can read it, else by decoding. Raises AudioError."""
    try:
        with opened(path) as file:
            return file.frames / file.samplerate
    except soundfile.LibsndfileError:
        return len(read(path)) / SAMPLE_RATE


def excerpt(path, start: float, samples: int) -> np.ndarray:
    """float32 [samples] at 16 kHz from ``start`` seconds on, without decoding what comes before; fewer at the end.

    Channels are averaged. For training: unlike ``read`` it cannot tell whether the recording is complete. Raises
    AudioError.
    """
    try:
        with opened(path) as file:
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
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.number)) or not SLOWEST <= rate <= FASTEST:
        raise AudioError(f"the rate must be a number of Hz from {SLOWEST} to {FASTEST}, not {rate!r}")
    try:
        samples = np.asarray(samples)
    except ValueError as error:  # lists of lists of several lengths
        raise AudioError(f"samples must be [samples] or [samples, channels] ({error})") from None
    if samples.dtype.kind not in "iuf":
        raise AudioError(f"samples must be real numbers, not {samples.dtype}")
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
        samples = Mixer(_warn).mix(samples, rate)
    with np.errstate(over="ignore"):
        samples = np.ascontiguousarray(samples, np.float32)
    if not np.isfinite(samples).all():
        raise AudioError(f"NaN or infinity at sample {int(np.argmin(np.isfinite(samples)))}")
    if np.abs(samples).max(initial=0) > _LARGEST:
        raise AudioError(f"a sample of {np.abs(samples).max():g}: full scale is 1")
    return samples if rate == SAMPLE_RATE else resample(samples, rate, SAMPLE_RATE)
