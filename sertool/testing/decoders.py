"""Checks of a decoder."""

import io
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile

from sertool import audio
from sertool._types import Samples
from sertool.audio import foreign
from sertool.errors import AudioError
from sertool.plugins import load_plugins
from sertool.registry import Decoder
from sertool.testing.clips import sound
from sertool.testing.faults import doing, line, require

#: Formats that a decoder must leave to sertool.
OTHERS = (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"))


def check(name: str, file: Path | str) -> None:
    """Check a decoder; see `sertool.testing.check_decoder`."""
    decoder, where = load_plugins().get("decoders", name), f"decoder {name!r}"
    file = Path(file)
    content = file.read_bytes()
    named = file.suffix.lower() in decoder.extensions
    require(named, where, f"{file.name}: its extension is not one of {', '.join(decoder.extensions)}")
    require(_recognised(decoder, content, file, where), where, f"does not recognise {file.name}")
    _check_others(decoder, where)
    seconds = _check_blocks(decoder, file, where)
    require(file.read_bytes() == content, where, "changes the file")
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, f"12-30 ünd {file.name}")
        shutil.copyfile(file, copy)
        with doing(where, f"reading {file.name}"):
            samples = audio.read(copy)
            with ThreadPoolExecutor(4) as pool:
                answers = [*pool.map(audio.read, [copy] * 8)]
        require(all(np.array_equal(samples, other) for other in answers), where, "threads get different samples")
        right = abs(len(samples) - seconds * audio.SAMPLE_RATE) <= 2
        require(right, where, f"{file.name}: sertool reads {len(samples)} samples at 16 kHz of {seconds:.3f} s")
        for share in (0.1, 0.5, 0.99):
            if len(content) * share > foreign.HEAD:
                _check_cut(copy, content[: int(len(content) * share)], samples, share, where)


def _recognised(decoder: Decoder, content: bytes, path: Path, where: str) -> bool:
    with doing(where, f"recognises, for {path.name},"):
        return bool(decoder.recognises(content[: foreign.HEAD], path))


def _check_others(decoder: Decoder, where: str) -> None:
    """Check that other formats are not taken, even under the decoder's extension."""
    path = Path(f"x{decoder.extensions[0]}")
    heads = {"an empty file": b"", "one byte": b"\0", "zeros": bytes(64), "text": b"file,start,end\n" * 5}
    for form, subtype in OTHERS:
        written = io.BytesIO()
        soundfile.write(written, sound(16_000), 16_000, subtype, format=form)
        heads[form] = written.getvalue()
    for what, content in heads.items():
        require(not _recognised(decoder, content, path, where), where, f"recognises {what}")


def _check_blocks(decoder: Decoder, file: Path, where: str) -> float:
    """Check the blocks of a file, which are the same on every read; return their seconds."""
    found, seconds = ("this", decoder), []
    for _ in range(2):
        parts = []
        try:
            for rate, samples in foreign.blocks(found, file, lambda rate, channels: None):
                parts.append((rate, samples))
        except AudioError as error:
            raise AssertionError(f"{where}: {file.name}: {line(error)}") from error
        require(sum(len(samples) for _, samples in parts) > 0, where, f"{file.name}: no samples")
        finite = all(np.isfinite(samples).all() for _, samples in parts)
        require(finite, where, f"{file.name}: samples that are not finite")
        peak = max(float(np.abs(samples).max(initial=0)) for _, samples in parts)
        require(peak <= 2, where, f"{file.name}: its peak is {peak:g}, full scale is 1")
        longest = max(len(samples) / rate for rate, samples in parts)
        require(longest <= 60, where, f"{file.name}: a block of {longest:.0f} s: yield a few seconds each")
        seconds.append(sum(len(samples) / rate for rate, samples in parts))
    require(seconds[0] == seconds[1], where, f"{file.name}: {seconds[0]:g} s, then {seconds[1]:g} s")
    return seconds[0]


def _check_cut(path: Path, content: bytes, samples: Samples, share: float, where: str) -> None:
    """Check that a truncated file has fewer samples, or is an AudioError of one line that the plugin raised itself."""
    path.write_bytes(content)
    what = f"the first {share:.0%} of the file"
    try:
        rest = audio.read(path)
    except AudioError as error:
        cause = error.__context__
        right = cause is None or isinstance(cause, AudioError)
        require(right, where, f"{what} must be a sertool.AudioError, not {type(cause).__name__}: {line(error)}")
    else:
        require(len(rest) <= len(samples), where, f"{what} gives {len(rest)} samples, all of it {len(samples)}")
