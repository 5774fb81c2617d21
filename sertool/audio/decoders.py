"""Files to blocks of samples at their own rate, by libsndfile or PyAV, whatever their headers say."""

import contextlib
import os
import re
import shlex
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from sertool.audio import boxes, flac, mp3, ogg, riff
from sertool.audio.pieces import Part, Parts, Piece, Window
from sertool.errors import AudioError

Note = Callable[[str], None]
Blocks = Iterator[tuple[int, np.ndarray]]

SAMPLE_RATE = 16_000

#: Hz between which a recording's rate must lie: what is outside is a damaged header.
SLOWEST, FASTEST = 100, 1_000_000

_BLOCK_SECONDS = 10
_BLOCK_VALUES = 2_000_000  # at most so many samples times channels at once: 8 MB

#: What libsndfile cannot read, by the first bytes: (offset, bytes, name).
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

# PyAV may open nothing that reads other files or the network, as playlists do.
_CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,dtshd,eac3,flac,flv,gsm,iff,loas,matroska,mlp,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "mxf,nut,ogg,oma,rm,shn,tak,truehd,tta,voc,w64,wav,wv,xwma"
)
_FROM_ZERO = {"matroska", "mov", "webm"}  # whose times count from 0; those of the others from when they began
_JITTER_S = 0.05  # by which times stamps may be off where nothing is missing
_LONGEST_GAPS_S = 12 * 3600  # of all gaps in a file


def native_blocks(path: Path, note: Note) -> Blocks:
    """(rate, float32 [n]) blocks of a file at its own rate, channels averaged; the rate may change. AudioError."""
    try:
        kind = os.stat(path).st_mode
    except OSError as error:
        raise AudioError((error.strerror or str(error)).lower()) from None
    except ValueError as error:  # NUL or half a character in a name
        raise AudioError(f"no name of a file ({error})") from None
    try:
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise AudioError("not a regular file")  # to open a named pipe could wait for ever
        with open(path, "rb") as file:
            window = Window(file)
            head = window.get(0, 16)
            if not head:
                raise AudioError("empty: zero bytes")
            codec = next((name for at, magic, name in _NOT_SOUNDFILE if head[at : at + len(magic)] == magic), None)
            mixer = Mixer(note)
            if codec:
                yield from _by_av(path, window, head, codec, mixer, note)
            else:
                yield from _by_soundfile(path, window, head, mixer, note)
    except IsADirectoryError:
        raise AudioError("is a folder") from None
    except OSError as error:
        raise AudioError((error.strerror or str(error)).lower()) from None


class Mixer:
    """Channels to one: their mean, or where they cancel each other, the loudest, from there to the end."""

    def __init__(self, note: Note):
        self._note, self._channel, self._seconds = note, None, 0.0

    def mix(self, block: np.ndarray, rate: int) -> np.ndarray:
        """[n, channels] at a rate -> float32 [n]."""
        channels = block.shape[1]
        if channels == 1:
            return np.ascontiguousarray(block[:, 0])
        mean = block.mean(axis=1, dtype=np.float32)
        if self._channel is None or self._channel >= channels:
            self._channel = _loudest_of_cancelling(block, mean)
            if self._channel is not None:
                self._note(
                    f"its {channels} channels cancel each other: from {self._seconds:.1f} s on, channel "
                    f"{self._channel + 1} alone is heard"
                )
        self._seconds += len(block) / rate
        return mean if self._channel is None else np.ascontiguousarray(block[:, self._channel], np.float32)


def _loudest_of_cancelling(block: np.ndarray, mean: np.ndarray) -> int | None:
    """The loudest channel of [n, channels] if hardly anything is left of them in their mean, else None."""
    if not len(block):
        return None
    with np.errstate(all="ignore"):  # what is not finite is told elsewhere
        powers = np.einsum("nc,nc->c", block, block, dtype=np.float64) / len(block)
        left = block.shape[1] * np.mean(np.square(mean, dtype=np.float64)) / powers.mean()
    # 1 is what is left of sounds that have nothing in common. Fainter ones than -80 dB full scale count for nothing.
    return int(powers.argmax()) if left < 0.02 and powers.max() > 1e-8 else None


def _checked(rate: int, channels: int) -> tuple[int, int]:
    """(rate, frames of a block); AudioError for what no recording has."""
    if not SLOWEST <= rate <= FASTEST:
        raise AudioError(f"its header says {rate} Hz: a rate must be {SLOWEST} Hz to {FASTEST // 1000} kHz")
    return rate, min(_BLOCK_SECONDS * rate, max(1, _BLOCK_VALUES // channels))


def in_shell(name: str) -> str:
    """A file name as it can be pasted into a command."""
    # ffmpeg takes what stands before a colon for a protocol.
    return shlex.quote(f"./{name}" if name.startswith("-") or ":" in name else name)


def _truncated(path: Path, what: str) -> AudioError:
    return AudioError(
        f"truncated or damaged: {what}; to label what is there: ffmpeg -i {in_shell(path.name)} repaired.flac"
    )


# ---- libsndfile -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(path, parts: Sequence[Part] | None = None) -> Iterator[soundfile.SoundFile]:
    """A file, or one made of parts of it, by its descriptor: libsndfile takes neither long paths nor all names."""
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
        there, told = cut.args
        raise _truncated(path, f"{there:.1f} of {told:.1f} s can be decoded") from None
    except ogg.Cut:
        raise _truncated(path, "it ends within a page") from None
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
        if "lost sync" in error.error_string:  # a FLAC stream that breaks off or is damaged
            raise _truncated(path, f"not all of its {promised / rate:.1f} s can be decoded") from None
        if not done:
            raise  # another decoder may know it
        raise _unreadable(error) from None
    slack = max(piece.slack, mp3.SLACK if file.subtype.startswith("MPEG") else 0)  # MP3 in WAV, too
    if done < promised - slack:
        raise _truncated(path, f"{done / rate:.1f} of {promised / rate:.1f} s can be decoded")


def _unreadable(error: soundfile.LibsndfileError) -> AudioError:
    reason = error.error_string.removeprefix("Error :").strip(" .")
    # What libsndfile says of an MP3 that it cannot open would send a person looking for a file that is there.
    reason = "" if reason.startswith("File does not exist") else f" ({reason.lower()})"
    return AudioError(f"not audio that can be read{reason}")


def _frames_in_header(file: soundfile.SoundFile) -> int:
    """Frames that an AIFF, AU or CAF header promises where the file holds fewer, else 0.

    libsndfile reads what is there and says the rest in its log only. Sizes near 2 or 4 GiB are the mark of a
    recorder that wrote to a pipe and never knew the length: nothing is missing there.
    """
    log = re.search(r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", file.extra_info, re.MULTILINE)
    if not log or not file.frames or int(log[1]) >= 0x7FFF_0000:
        return 0
    return file.frames * int(log[1]) // int(log[2])


# ---- PyAV -------------------------------------------------------------------------------------------------------


def _by_av(path: Path, window: Window, head: bytes, codec: str, mixer: Mixer, note: Note) -> Blocks:
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
        there, told = cut.args
        raise _truncated(path, f"{there} of {told} bytes are there") from None
    for piece in pieces:
        try:
            yield from _av_blocks(path, piece, mixer, note)
        except av.FFmpegError as error:
            raise AudioError(f"cannot decode {codec} ({error.strerror or error})") from None


def _av_or(path: Path, window: Window, head: bytes, mixer: Mixer, note: Note, refusal: AudioError) -> Blocks:
    """What PyAV reads of a file that libsndfile refused; ``refusal`` where it reads nothing either."""
    try:
        import av
    except ImportError:
        raise AudioError(f"{refusal}; ffmpeg may know it (pip install 'sertool[av]')") from None
    try:
        boxes.pieces(window, head)
        blocks = _av_blocks(path, Piece(), mixer, note)
        first = next(blocks, None)
    except boxes.Cut as cut:
        there, told = cut.args
        raise _truncated(path, f"{there} of {told} bytes are there") from None
    except (av.FFmpegError, AudioError):
        raise refusal from None
    if first is None:
        raise refusal
    yield first
    try:
        yield from blocks
    except av.FFmpegError as error:
        raise _truncated(path, str(error.strerror or error).lower()) from None


def _av_blocks(path: Path, piece: Piece, mixer: Mixer, note: Note) -> Blocks:
    """Blocks of the chosen track as a player shows them: from its start, with silence where nothing was recorded."""
    import av

    source = f"file:{path}" if piece.parts is None else Parts(path, piece.parts)  # "12:30.m4a" would be a protocol
    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
    with av.open(source, metadata_errors="replace", container_options=options) as container:
        stream = _track(container, note)
        zero = None if _FROM_ZERO & set(container.format.name.split(",")) else container.start_time
        held, layout = [], None
        planar = None
        gaps = 0.0
        at = 0.0 if zero is None else zero / 1e6  # where in the container's time the next sample belongs
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
                        raise AudioError(f"its time stamps leave out {gaps / 3600:.0f} h")
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


def _track(container, note: Note):
    """The audio track that is marked as the default one, else the first."""
    import av

    tracks = container.streams.audio
    if not tracks:
        raise AudioError("no audio stream in it")
    marked = [track for track in tracks if track.disposition & av.stream.Disposition.default]
    chosen = (marked or tracks)[0]
    if len(tracks) > 1:
        note(f"of its {len(tracks)} audio tracks, number {tracks.index(chosen) + 1} is heard")
    return chosen


def _joined(held: list[np.ndarray], layout: tuple | None, mixer: Mixer) -> Blocks:
    """One block of parts [channels, n]; none of none."""
    if held:
        rate = layout[0]
        yield rate, mixer.mix(np.concatenate(held, axis=1).T, rate)


def _silence(samples: int) -> Blocks:
    """At the rate that needs no resampling: a gap may be long."""
    for start in range(0, samples, _BLOCK_SECONDS * SAMPLE_RATE):
        yield SAMPLE_RATE, np.zeros(min(_BLOCK_SECONDS * SAMPLE_RATE, samples - start), np.float32)
