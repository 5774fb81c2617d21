"""Decode files to blocks at their native rate with libsndfile or PyAV, despite wrong headers."""

import contextlib
import os
import re
import shlex
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import soundfile

from sertool._types import Array, Samples
from sertool.audio import boxes, flac, foreign, mp3, ogg, riff
from sertool.audio.pieces import AnyPath, Part, Parts, Piece, Window
from sertool.errors import AudioError

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

#: Receives remarks about a recording that is read nevertheless.
Note: TypeAlias = Callable[[str], None]
#: (rate, float32 [n])
Blocks: TypeAlias = Iterator[tuple[int, Samples]]

SAMPLE_RATE = 16_000

#: Lowest and highest sample rate in Hz: other values come from a damaged header.
SLOWEST, FASTEST = 100, 1_000_000

_BLOCK_SECONDS = 10
_BLOCK_VALUES = 2_000_000  # maximum samples times channels per block: 8 MB

#: Formats that libsndfile cannot read, by their first bytes: (offset, bytes, name).
_NOT_SOUNDFILE = (
    (4, b"ftyp", "MP4 (AAC or ALAC)"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska/WebM"),
    (0, b"#!AMR", "AMR"),
    (8, b"AVI ", "AVI"),
    (0, b"FLV\x01", "FLV"),
)

# Containers that PyAV may open: none that reads other files or the network, such as playlists.
_CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,dtshd,eac3,flac,flv,gsm,iff,loas,matroska,mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "mxf,nut,ogg,oma,rm,shn,tak,truehd,tta,voc,w64,wav,wv,xwma"
)
_FROM_ZERO = {"matroska", "mov", "webm"}  # time stamps count from 0; in others, from the start time
_JITTER_S = 0.05  # tolerance of time stamps without a gap
_LONGEST_GAPS_S = 12 * 3600  # maximum sum of all gaps in a file


def native_blocks(path: Path, note: Note, channel: int | None = None, track: int | None = None) -> Blocks:
    """Yield (rate, float32 [n]) blocks of a file; the rate may change. Raises AudioError.

    Channels are averaged, or ``channel`` is taken; ``track`` is the audio track of a container, by default the one
    marked as default. Both count from 1.
    """
    check_regular(path)
    mixer = Mixer(note) if channel is None else Picker(channel)
    try:
        with open(path, "rb") as file:
            window = Window(file)
            head = window.get(0, 16)
            if not head:
                raise AudioError("empty: zero bytes")
            codec = codec_of(head)
            if found := foreign.recognising(path, window.get(0, foreign.HEAD)):
                if track is not None and track > 1:
                    raise _no_track(track, 1)
                for rate, block in foreign.blocks(found, path, _checked):
                    yield rate, mixer.mix(block, rate)
            elif codec:
                yield from _by_av(path, window, head, codec, mixer, note, track)
            elif track is not None and track > 1:
                yield from _av_or(path, window, head, mixer, note, _no_track(track, 1), track)
            else:
                yield from _by_soundfile(path, window, head, mixer, note)
    except IsADirectoryError:
        raise AudioError("is a folder") from None
    except OSError as error:
        raise AudioError((error.strerror or str(error)).lower()) from None


def check_regular(path: Path) -> None:
    """Raise AudioError if there is no such file, or it is neither a file nor a folder."""
    try:
        kind = os.stat(path).st_mode
    except OSError as error:
        raise AudioError((error.strerror or str(error)).lower()) from None
    except ValueError as error:  # NUL or a lone surrogate in the name
        raise AudioError(f"invalid file name ({error})") from None
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise AudioError("not a regular file")  # opening a named pipe could block forever


def codec_of(head: bytes) -> str | None:
    """Return the name of a format that libsndfile cannot read, from the first bytes of a file, else None."""
    return next((name for at, magic, name in _NOT_SOUNDFILE if head[at : at + len(magic)] == magic), None)


class Mixer:
    """Mix channels down to their mean; once they cancel each other, use only the loudest one from then on.

    ``seconds`` is the time in the recording at which the first block begins.
    """

    def __init__(self, note: Note, seconds: float = 0.0) -> None:
        self._note, self._seconds = note, seconds
        self._channel: int | None = None

    def mix(self, block: Array, rate: float) -> Samples:
        """Return float32 [n] for [n, channels] at ``rate``; a single channel keeps its type."""
        channels = block.shape[1]
        if channels == 1:
            return np.ascontiguousarray(block[:, 0])
        mean = _mean(block)
        if self._channel is None or self._channel >= channels:
            self._channel = _loudest_of_cancelling(block, mean)
            if self._channel is not None:
                self._note(
                    f"its {channels} channels cancel each other: from {self._seconds:.1f} s on, only channel "
                    f"{self._channel + 1} is used"
                )
        self._seconds += len(block) / rate
        return mean if self._channel is None else np.ascontiguousarray(block[:, self._channel], np.float32)


class Picker(Mixer):
    """Take one channel, counted from 1."""

    def __init__(self, channel: int) -> None:
        self._number = channel

    def mix(self, block: Array, rate: float) -> Samples:
        """Return float32 [n], the channel of [n, channels]. Raise AudioError if there are fewer channels."""
        channels = block.shape[1]
        if self._number > channels:
            has = "only one channel" if channels == 1 else f"{channels} channels"
            raise AudioError(f"it has {has}: there is no channel {self._number}")
        return np.ascontiguousarray(block[:, self._number - 1], np.float32)


def _mean(block: Array) -> Samples:
    """Return the mean of the channels of [n, channels]."""
    channels = block.shape[1]
    if block.dtype != np.float32 or channels >= 8:  # numpy adds eight and more in another order
        mean: Samples = block.mean(axis=1, dtype=np.float32)
        return mean
    total: Samples = block[:, 0] + block[:, 1]  # several times as fast as a mean over a short axis, with the same bits
    for channel in range(2, channels):
        total += block[:, channel]
    total /= np.float32(channels)
    return total


def _power(samples: Array) -> float:
    return float(np.einsum("n,n->", samples, samples)) / len(samples)


def _loudest_of_cancelling(block: Array, mean: Samples) -> int | None:
    """Return the loudest channel of [n, channels] if their mean retains almost no power, else None."""
    if not len(block):
        return None
    with np.errstate(all="ignore"):  # the caller reports NaN and infinity
        powers = np.array([_power(block[:, channel]) for channel in range(block.shape[1])])
        left = block.shape[1] * _power(mean) / powers.mean()
    # Uncorrelated channels have a ratio of 1. Channels below -80 dB full scale are ignored.
    return int(powers.argmax()) if left < 0.02 and powers.max() > 1e-8 else None


def _checked(rate: int, channels: int) -> tuple[int, int]:
    """Return (rate, frames per block). Raise AudioError if the rate is implausible."""
    if not SLOWEST <= rate <= FASTEST:
        raise AudioError(f"its header says {rate} Hz: a rate must be {SLOWEST} Hz to {FASTEST // 1000} kHz")
    return rate, min(_BLOCK_SECONDS * rate, max(1, _BLOCK_VALUES // channels))


def in_shell(name: str) -> str:
    """Quote a file name so that it can be pasted into a command."""
    # ffmpeg takes the text before a colon as a protocol.
    return shlex.quote(f"./{name}" if name.startswith("-") or ":" in name else name)


def _truncated(path: Path, what: str) -> AudioError:
    return AudioError(
        f"truncated or damaged: {what}; to label the readable part: ffmpeg -i {in_shell(path.name)} repaired.flac"
    )


# ---- libsndfile -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(path: AnyPath, parts: Sequence[Part] | None = None) -> Iterator[soundfile.SoundFile]:
    """Open a file or parts of it by file descriptor: libsndfile does not support long paths and some names."""
    if parts is not None:
        with Parts(path, parts) as whole, soundfile.SoundFile(whole) as file:
            yield file
        return
    try:
        stream = open(path, "rb", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise AudioError((error.strerror or str(error)).lower()) from None
    with stream, soundfile.SoundFile(stream.fileno(), closefd=False) as file:
        yield file


def _by_soundfile(path: Path, window: Window, head: bytes, mixer: Mixer, note: Note) -> Blocks:
    try:
        pieces = _pieces(window, head, note)
        if pieces is None:
            with opened(path) as file:
                is_mp3 = file.format == "MP3"
                pieces = mp3.pieces(window, file.frames, file.samplerate) if is_mp3 else [Piece()]
    except riff.Cut as cut:
        actual, expected = cut.args
        raise _truncated(path, f"{actual:.1f} of {expected:.1f} s can be decoded") from None
    except ogg.Cut:
        raise _truncated(path, "its last Ogg page is incomplete") from None
    except ogg.Damaged as damage:
        yield from _av_or(path, window, head, mixer, note, _truncated(path, str(damage)))
        return
    except soundfile.LibsndfileError as error:
        yield from _av_or(path, window, head, mixer, note, _unreadable(error))
        return
    for number, piece in enumerate(pieces):
        try:
            with opened(path, piece.parts) as file:
                yield from _soundfile_blocks(path, file, piece, mixer)
        except soundfile.LibsndfileError as error:
            if number:
                raise _truncated(path, f"part {number + 1} of {len(pieces)} cannot be read") from None
            yield from _av_or(path, window, head, mixer, note, _unreadable(error))
            return


#: Formats and sample formats of libsndfile in which it seeks to the exact frame.
_EXACT = {"WAV", "WAVEX", "RF64", "W64", "FLAC", "AIFF", "AU", "CAF", "NIST", "SVX", "VOC"}
_EXACT_SAMPLES = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}


def seekable(path: Path, note: Note) -> Piece | None:
    """Return what to open for reading at any frame, or None if the file must be decoded from its beginning.

    None also if the file is damaged: decoding it says why.
    """
    try:
        check_regular(path)
        with open(path, "rb") as file:
            window = Window(file)
            head = window.get(0, 16)
            if not head or codec_of(head) or foreign.recognising(path, window.get(0, foreign.HEAD)):
                return None
            pieces = _pieces(window, head, note) or [Piece()]
        if len(pieces) > 1:
            return None
        with opened(path, pieces[0].parts) as sound:
            _checked(sound.samplerate, sound.channels)
            whole = sound.frames >= max(pieces[0].frames or 0, _frames_in_header(sound))
            exact = sound.format in _EXACT and sound.subtype in _EXACT_SAMPLES
            return pieces[0] if whole and exact and sound.frames else None
    except (AudioError, OSError, ValueError, soundfile.LibsndfileError, riff.Cut, ogg.Cut, ogg.Damaged):
        return None


def layout(path: AnyPath) -> tuple[list[int], int]:
    """Return (the number of channels of each audio track of a file, the default track from 1). Raises AudioError."""
    path = Path(path)
    check_regular(path)
    try:
        with open(path, "rb") as file:
            head = Window(file).get(0, foreign.HEAD)
        if found := foreign.recognising(path, head):
            return [next(block.shape[1] for _, block in foreign.blocks(found, path, _checked))], 1
        if not codec_of(head):
            with contextlib.suppress(soundfile.LibsndfileError), opened(path) as sound:
                return [sound.channels], 1
        return _av_layout(path)
    except OSError as error:
        raise AudioError((error.strerror or str(error)).lower()) from None


def _pieces(window: Window, head: bytes, note: Note) -> list[Piece] | None:
    if head[:4] == b"OggS":
        return ogg.pieces(window)
    if riff.is_wave(head):
        return riff.pieces(window, note)
    if head[:4] == b"fLaC":
        return flac.pieces(window)
    return None


def _soundfile_blocks(path: Path, file: soundfile.SoundFile, piece: Piece, mixer: Mixer) -> Blocks:
    rate, size = _checked(file.samplerate, file.channels)
    done = 0
    promised = piece.frames or max(file.frames, _frames_in_header(file))
    try:
        while done < file.frames:
            block = file.read(size, dtype="float32", always_2d=True)
            if not len(block):
                break
            done += len(block)
            yield rate, mixer.mix(block, rate)
    except soundfile.LibsndfileError as error:
        if "lost sync" in error.error_string:  # a truncated or damaged FLAC stream
            raise _truncated(path, f"not all of its {promised / rate:.1f} s can be decoded") from None
        if not done:
            raise  # another decoder may support it
        raise _unreadable(error) from None
    slack = max(piece.slack, mp3.SLACK if file.subtype.startswith("MPEG") else 0)  # also for MP3 in WAV
    if done < promised - slack:
        raise _truncated(path, f"{done / rate:.1f} of {promised / rate:.1f} s can be decoded")


def _unreadable(error: soundfile.LibsndfileError) -> AudioError:
    reason = error.error_string.removeprefix("Error :").strip(" .")
    # libsndfile reports an MP3 that it cannot open as "File does not exist", which is misleading.
    reason = "" if reason.startswith("File does not exist") else f" ({reason.lower()})"
    return AudioError(f"cannot be read as audio{reason}")


def _frames_in_header(file: soundfile.SoundFile) -> int:
    """Return the frames that an AIFF, AU or CAF header claims if the file has fewer, else 0.

    libsndfile reads the frames that exist and reports the mismatch only in its log. Sizes near 2 or 4 GiB mean that
    the recorder wrote to a pipe and did not know the length: nothing is missing.
    """
    log = re.search(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if not log or not file.frames or int(log[1]) >= 0x7FFF_0000:
        return 0
    frames: int = file.frames
    return frames * int(log[1]) // int(log[2])


# ---- PyAV -------------------------------------------------------------------------------------------------------

_Layout: TypeAlias = tuple[int, int, str]  # rate, channels, sample format


def _by_av(path: Path, window: Window, head: bytes, codec: str, mixer: Mixer, note: Note, track: int | None) -> Blocks:
    try:
        import av
    except ImportError:
        raise AudioError(
            f"cannot decode {codec}; install the reader (pip install 'sertool[av]') "
            f"or convert it (ffmpeg -i {in_shell(path.name)} {in_shell(path.stem)}.flac)"
        ) from None
    try:
        pieces = boxes.pieces(window, head)
    except boxes.Cut as cut:
        actual, expected = cut.args
        raise _truncated(path, f"{actual} of {expected} bytes exist") from None
    for piece in pieces:
        try:
            yield from _av_blocks(path, piece, mixer, note, track)
        except av.FFmpegError as error:
            raise AudioError(f"cannot decode {codec} ({error.strerror or error})") from None


def _av_or(
    path: Path,
    window: Window,
    head: bytes,
    mixer: Mixer,
    note: Note,
    refusal: AudioError,
    track: int | None = None,
) -> Blocks:
    """Decode with PyAV a file that libsndfile cannot read; raise ``refusal`` if PyAV cannot read it either."""
    try:
        import av
    except ImportError:
        raise AudioError(f"{refusal}; ffmpeg may be able to read it (pip install 'sertool[av]')") from None
    try:
        boxes.pieces(window, head)
        blocks = _av_blocks(path, Piece(), mixer, note, track)
        first = next(blocks, None)
    except boxes.Cut as cut:
        actual, expected = cut.args
        raise _truncated(path, f"{actual} of {expected} bytes exist") from None
    except (av.FFmpegError, AudioError):
        raise refusal from None
    if first is None:
        raise refusal
    yield first
    try:
        yield from blocks
    except av.FFmpegError as error:
        raise _truncated(path, str(error.strerror or error).lower()) from None


def _av_opened(path: Path, piece: Piece) -> "InputContainer":
    """Open a container, or part of one."""
    import av

    # "file:", because ffmpeg takes the "12:" of 12:30.m4a as a protocol
    source = f"file:{path}" if piece.parts is None else Parts(path, piece.parts)
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    return av.open(source, "r", metadata_errors="replace", container_options=options)


def _av_blocks(path: Path, piece: Piece, mixer: Mixer, note: Note, track: int | None) -> Blocks:
    """Yield blocks of the selected track with a player's timing: gaps in the time stamps become silence."""
    import av

    with _av_opened(path, piece) as container:
        stream = _track(container, note, track)
        zero = None if _FROM_ZERO & set(container.format.name.split(",")) else container.start_time
        held: list[Array] = []  # float32 [channels, n] each
        layout: _Layout | None = None
        planar = av.AudioResampler(format="fltp")
        size = 0
        gaps = 0.0
        at = 0.0 if zero is None else zero / 1e6  # container time of the next sample
        for frame in container.decode(stream):
            if not frame.samples:
                continue
            rate, channels = frame.sample_rate, len(frame.layout.channels)
            if (rate, channels, frame.format.name) != layout:
                yield from _joined(held, layout, mixer)
                held, layout = [], (rate, channels, frame.format.name)
                planar = av.AudioResampler(format="fltp")
                _, size = _checked(rate, channels)
            if frame.pts is not None and frame.time_base:
                gap = float(frame.pts * frame.time_base) - at
                if gap > _JITTER_S:
                    gaps += gap
                    if gaps > _LONGEST_GAPS_S:
                        raise AudioError(f"the gaps in its time stamps add up to {gaps / 3600:.0f} h")
                    yield from _joined(held, layout, mixer)
                    held = []
                    yield from _silence(round(gap * SAMPLE_RATE))
                    at += gap
            at += frame.samples / rate
            held += [part.to_ndarray() for part in planar.resample(frame)]
            if sum(part.shape[1] for part in held) >= size:
                yield from _joined(held, layout, mixer)
                held = []
        yield from _joined(held, layout, mixer)


def _av_layout(path: Path) -> tuple[list[int], int]:
    try:
        import av
    except ImportError:
        return [1], 1  # decoding says what is missing
    try:
        with _av_opened(path, Piece()) as container:
            tracks = container.streams.audio
            default = tracks.index(_track(container, lambda text: None, None)) + 1 if tracks else 1
            return [track.codec_context.channels for track in tracks] or [1], default
    except av.FFmpegError:
        return [1], 1  # decoding says what is wrong


def _no_track(number: int, tracks: int) -> AudioError:
    has = "only one audio track" if tracks == 1 else f"{tracks} audio tracks"
    return AudioError(f"it has {has}: there is no track {number}")


def _track(container: "InputContainer", note: Note, number: int | None) -> "AudioStream":
    """Return the audio track with a number, counted from 1; without one that marked as default, else the first."""
    import av

    tracks = container.streams.audio
    if not tracks:
        raise AudioError("it has no audio track")
    if number is not None:
        if number > len(tracks):
            raise _no_track(number, len(tracks))
        return tracks[number - 1]
    marked = [track for track in tracks if track.disposition & av.stream.Disposition.default]
    chosen = (marked or tracks)[0]
    if len(tracks) > 1:
        note(f"it has {len(tracks)} audio tracks: number {tracks.index(chosen) + 1} is used")
    return chosen


def _joined(held: list[Array], layout: _Layout | None, mixer: Mixer) -> Blocks:
    """Yield one block from parts [channels, n]; nothing without parts."""
    if held and layout:
        rate = layout[0]
        yield rate, mixer.mix(np.concatenate(held, axis=1).T, rate)


def _silence(samples: int) -> Blocks:
    """Yield silence at 16 kHz, which needs no resampling: a gap may be long."""
    for start in range(0, samples, _BLOCK_SECONDS * SAMPLE_RATE):
        yield SAMPLE_RATE, np.zeros(min(_BLOCK_SECONDS * SAMPLE_RATE, samples - start), np.float32)
