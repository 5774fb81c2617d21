"""Decoders that plugins register, for files that sertool does not read itself."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sertool._types import Array
from sertool.audio.pieces import AnyPath
from sertool.errors import AudioError, SertoolError
from sertool.registry import Decoder

#: Number of bytes that a decoder is shown of a file.
HEAD = 64

#: First bytes of what sertool reads itself without a look at the plugins, and the extensions of such files.
_OWN_HEADS = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff")
_OWN_EXTENSIONS = frozenset((".wav", ".wave", ".bwf", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au"))

#: (name of the plugin, its decoder)
Found: TypeAlias = tuple[str, Decoder]

#: Recordings are decoded in threads; plugins must be loaded once.
_loading = threading.RLock()


def extensions() -> frozenset[str]:
    """Return the extensions of all registered decoders."""
    return frozenset(extension for _, decoder in _decoders() for extension in decoder.extensions)


def recognising(path: Path, head: bytes) -> Found | None:
    """Return the first decoder, by name, that recognises a file by its first HEAD bytes, or None.

    Loading plugins takes tens of milliseconds, so they are not asked about a file whose name and first bytes are both
    those of a format that sertool reads itself. Raises AudioError if a decoder fails.
    """
    if path.suffix.lower() in _OWN_EXTENSIONS and (head.startswith(_OWN_HEADS) or _is_mp3(head)):
        return None
    for plugin, decoder in _decoders():
        with _named(plugin, decoder):
            if decoder.recognises(head, path):
                return plugin, decoder
    return None


def reads(path: AnyPath) -> bool:
    """Return whether a decoder recognises the file. Raises AudioError if a decoder fails."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError:
        return False
    return recognising(Path(path), head) is not None


def blocks(found: Found, path: Path, check: Callable[[int, int], object]) -> Iterator[tuple[int, Array]]:
    """Yield (rate, float32 [n, channels]) blocks of a file. Raises AudioError, for any fault of the plugin too.

    ``check(rate, channels)`` raises an AudioError if they are implausible.
    """
    with _named(*found):
        for block in found[1].blocks(path):
            rate, samples = _checked(block)
            check(rate, samples.shape[1])
            yield rate, samples


def _decoders() -> list[Found]:
    from sertool.plugins import load_plugins

    with _loading:
        plugins = load_plugins()
    return plugins.claimed("decoders")


def _is_mp3(head: bytes) -> bool:
    return len(head) > 1 and head[0] == 0xFF and head[1] >= 0xE0 and head[1] & 6 != 0  # layer 0 is AAC


@contextlib.contextmanager
def _named(plugin: str, decoder: Decoder) -> Iterator[None]:
    """Convert whatever a plugin raises to an AudioError of one line; its own SertoolErrors keep their text."""
    try:
        yield
    except (Exception, SystemExit) as error:
        reason = " ".join(str(error).split())
        kind = "" if isinstance(error, SertoolError) else type(error).__name__
        text = ": ".join(filter(None, (kind, reason)))
        raise AudioError(f"{text} (decoder {decoder.name!r} of plugin {plugin!r})") from None


def _checked(block: Any) -> tuple[int, Array]:
    """Return a decoder's block; raise TypeError if it is not one."""
    wanted = "blocks must yield (rate, float32 [n, channels])"
    if not isinstance(block, tuple) or len(block) != 2:
        raise TypeError(f"{wanted}, not {type(block).__name__}")
    rate, samples = block
    if isinstance(rate, bool) or not isinstance(rate, (int, np.integer)):
        raise TypeError(f"{wanted}, not a rate of type {type(rate).__name__}")
    if not isinstance(samples, np.ndarray) or samples.dtype != np.float32:
        raise TypeError(f"{wanted}, not samples of type {getattr(samples, 'dtype', type(samples).__name__)}")
    if samples.ndim != 2 or not samples.shape[1]:
        raise TypeError(f"{wanted}, not samples of shape {list(samples.shape)}")
    return int(rate), samples
