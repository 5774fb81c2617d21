"""Decode, mix down and resample any file to 16 kHz mono float32, whole or in blocks."""

import functools
import importlib.util
import io
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from sertool._files import beside
from sertool._types import Array, Samples
from sertool.audio import foreign
from sertool.audio.decoders import FASTEST, SAMPLE_RATE, SLOWEST, Mixer, Note, layout, opened
from sertool.audio.excerpts import Excerpts, Held
from sertool.audio.pieces import AnyPath
from sertool.audio.stream import LARGEST, blocks, warn
from sertool.errors import AudioError

__all__ = [
    "EXTENSIONS",
    "EXTENSIONS_AV",
    "SAMPLE_RATE",
    "Excerpts",
    "Held",
    "blocks",
    "duration",
    "excerpt",
    "files",
    "is_audio",
    "layout",
    "mono",
    "read",
    "resample",
    "write",
]

_SOUND = """
.wav .wave .bwf .rf64 .w64 .flac .ogg .oga .opus .spx .mp3 .mp2 .mpga .aif .aiff .aifc .au .snd .caf .voc .sph .nist
.m4a .m4b .m4r .mp4 .aac .wma .mka .webm .amr
"""
_FILM = """
.m4v .mov .qt .3gp .3g2 .mkv .avi .ts .mts .m2ts .mpg .mpeg .vob .flv .f4v .wmv .asf .ogv .ogx .mxf .nut
.ac3 .eac3 .dts .awb .ape .wv .tta .tak .mpc .ra .rm .rmvb .mlp .thd .gsm .oma
"""
#: Extensions that count as audio when a folder is searched. A file given by name is tried whatever its extension.
EXTENSIONS = frozenset(_SOUND.split())
#: Extensions that also count if PyAV is installed: films, and formats that only ffmpeg reads.
EXTENSIONS_AV = frozenset(_FILM.split())


def is_audio(name: str) -> bool:
    """Return whether a file in a folder counts as audio, by its extension, PyAV if installed, and plugins' decoders."""
    extension = os.path.splitext(name)[1].lower()
    if extension in EXTENSIONS or (extension in EXTENSIONS_AV and _has_av()):
        return True
    return extension != "" and extension in foreign.extensions()


@functools.cache
def _has_av() -> bool:
    return importlib.util.find_spec("av") is not None


def files(folder: AnyPath) -> list[Path]:
    """Return the audio files below a folder, by extension, sorted; skip hidden files, such as those macOS creates."""
    matches = (path for path in Path(folder).rglob("*") if is_audio(path.name))
    return sorted(path for path in matches if not path.name.startswith("."))


def read(path: AnyPath, note: Note | None = None, channel: int | None = None, track: int | None = None) -> Samples:
    """Return the whole recording, float32 [samples], 16 kHz; arguments and errors: see ``blocks``."""
    parts = list(blocks(path, note, channel, track))
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def duration(path: AnyPath) -> float:
    """Return seconds, from the header if libsndfile can read it, else by decoding. Raises AudioError."""
    if foreign.reads(path):
        return len(read(path)) / SAMPLE_RATE
    try:
        with opened(path) as file:
            return float(file.frames / file.samplerate)
    except soundfile.LibsndfileError:
        return len(read(path)) / SAMPLE_RATE


def excerpt(path: AnyPath, start: float, samples: int) -> Samples:
    """Return float32 [samples] at 16 kHz from ``start`` seconds on, fewer at the end, without decoding what precedes.

    Channels are averaged. For training: unlike ``read``, it does not check that the recording is complete. Raises
    AudioError.
    """
    if foreign.reads(path):
        return read(path)[round(start * SAMPLE_RATE) :][:samples]
    try:
        with opened(path) as file:
            file.seek(min(round(start * file.samplerate), file.frames))
            frames = -(-samples * file.samplerate // SAMPLE_RATE)
            native: Samples = file.read(frames, dtype="float32", always_2d=True).mean(axis=1, dtype=np.float32)
            rate = file.samplerate
    except soundfile.LibsndfileError:
        return read(path)[round(start * SAMPLE_RATE) :][:samples]
    if not np.isfinite(native).all():
        raise AudioError(f"NaN or infinity after {start:.3f} s")
    return (native if rate == SAMPLE_RATE else resample(native, rate, SAMPLE_RATE))[:samples]


def resample(samples: Array, rate: float, to: float) -> Samples:
    """Resample [n] from one rate to another (soxr, HQ); return float32."""
    result: Samples = soxr.resample(np.ascontiguousarray(samples, np.float32), rate, to, quality="HQ")
    return result


def write(path: AnyPath, samples: Samples) -> None:
    """Write float32 [n] at 16 kHz to a .wav (32-bit float, any range) or .flac file (24 bits, at most +-1).

    The file is written under a temporary name and renamed, so that it is never incomplete. Raises AudioError for
    another extension or if FLAC would clip, OSError if the disk write fails.
    """
    path = Path(path)
    subtypes = {".wav": "FLOAT", ".flac": "PCM_24"}
    extension = path.suffix.lower()
    if extension not in subtypes:
        raise AudioError("name it .wav or .flac")
    peak = float(np.max(np.abs(samples), initial=0))
    if extension == ".flac" and peak > 1:
        raise AudioError(f"FLAC would clip it: the peak is {peak:.2f}, full scale 1; write .wav, or lower it first")
    encoded = io.BytesIO()  # libsndfile does not report a full disk
    soundfile.write(encoded, samples, SAMPLE_RATE, subtypes[extension], format=extension[1:].upper())
    content = encoded.getbuffer()
    if (stamp := bytes(content[:128]).find(b"PEAK") + 12) > 12:
        content[stamp : stamp + 4] = bytes(4)  # the time of day; without it, the same samples give the same file
    part = beside(path)
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def mono(samples: npt.ArrayLike, rate: float) -> Samples:
    """Convert an array [samples] or [samples, channels] to 16 kHz mono float32. Raises AudioError.

    Integers are scaled by their full range; channels are averaged.
    """
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.number)) or not SLOWEST <= rate <= FASTEST:
        raise AudioError(f"the rate must be a number of Hz from {SLOWEST} to {FASTEST}, not {rate!r}")
    try:
        array: Array = np.asarray(samples)
    except ValueError as error:  # nested lists of different lengths
        raise AudioError(f"samples must be [samples] or [samples, channels] ({error})") from None
    if array.dtype.kind not in "iuf":
        raise AudioError(f"samples must be real numbers, not {array.dtype}")
    if array.ndim not in (1, 2):
        raise AudioError(f"samples must be [samples] or [samples, channels], not {list(array.shape)}")
    if array.ndim == 2 and array.shape[0] < array.shape[1]:
        raise AudioError(f"samples must be [samples, channels]; {list(array.shape)} looks like the transpose")
    if np.issubdtype(array.dtype, np.unsignedinteger):  # silence is in the middle
        half = (np.iinfo(array.dtype).max + 1) / 2
        array = (array - half) / half
    elif np.issubdtype(array.dtype, np.integer):
        array = array / -float(np.iinfo(array.dtype).min)
    if array.ndim == 2:
        array = Mixer(warn).mix(array, rate)
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(result).all():
        raise AudioError(f"NaN or infinity at sample {int(np.argmin(np.isfinite(result)))}")
    if np.abs(result).max(initial=0) > LARGEST:
        raise AudioError(f"a sample of {np.abs(result).max():g}: full scale is 1")
    return result if rate == SAMPLE_RATE else resample(result, rate, SAMPLE_RATE)
