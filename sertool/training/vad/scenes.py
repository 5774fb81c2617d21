"""Synthetic scenes to train the voice activity detector: speech in rooms and noise, with known speech times."""

import csv
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sertool import audio
from sertool._types import Array, Floats, Samples
from sertool.errors import SertoolError
from sertool.speech.detector import FRAME

RATE = audio.SAMPLE_RATE

#: One class per frame, uint8 [frames].
Frames: TypeAlias = npt.NDArray[np.uint8]

#: Classes of a frame; PAUSE is silence of up to a second between speech (gaps up to 0.2 s count as speech).
SILENT, SPEECH, UNCLEAR, PAUSE = 0, 1, 2, 3

#: Kinds of noise that are held out of all training, for evaluation on unseen kinds.
HELD_OUT = {
    *("006 - Person sneeze", "007 - Helicopter", "009 - Rooster", "106 - Cat", "309 - Snoring", "503 - Siren"),
    *("NoiseX-92", "loops", "fx"),
}
#: Babies' voices: not speech, but not used as negative examples either.
VOICES = ("cry", "laugh")
#: The corpus of non-verbal voices, such as laughs and sighs: not speech; split by speaker.
BURSTS = "emogator"
#: One in this many rooms is held out for evaluation.
ROOMS_APART = 4


@dataclass(frozen=True)
class Material:
    """Files to mix: speech [corpus][speaker][file], noise [kind][file], rooms [file]."""

    speech: tuple[tuple[tuple[Path, ...], ...], ...]
    weights: tuple[float, ...]  # of the corpora
    noise: tuple[tuple[Path, ...], ...]
    bursts: tuple[Path, ...]  # non-verbal voices [file]
    rooms: tuple[Path, ...]


@cache
def material(corpora: Path, weights: tuple[tuple[str, float], ...], held_out: bool = False) -> Material:
    """Return the files in a folder of corpora for training or, with ``held_out``, for evaluation.

    ``weights`` are (corpus, share) pairs. Raises SertoolError if a corpus has no speech in that split.
    """
    split = "val" if held_out else "train"
    speech: dict[str, dict[str, list[Path]]] = {name: {} for name, _ in weights}
    bursts: list[Path] = []
    for row in _table(corpora / "manifest.csv"):
        if row["corpus"] in speech and row["split"] == split:
            speech[row["corpus"]].setdefault(row["speaker"], []).append(corpora / row["file"])
        elif row["corpus"] == BURSTS and row["split"] == split:
            bursts.append(corpora / row["file"])
    if empty := [name for name, speakers in speech.items() if not speakers]:
        raise SertoolError(f"{corpora / 'manifest.csv'}: no speech of corpus {empty[0]!r}, split {split!r}")
    noise: dict[tuple[str, str], list[Path]] = {}
    for row in _table(corpora / "noise/manifest.csv"):
        if (row["kind"] in HELD_OUT) == held_out and not any(voice in row["kind"].lower() for voice in VOICES):
            noise.setdefault((row["source"], row["kind"]), []).append(corpora / row["file"])
    rooms = [corpora / row["file"] for row in _table(corpora / "rir/manifest.csv")]
    rooms = [room for i, room in enumerate(rooms) if (i % ROOMS_APART == 0) == held_out]
    shares = np.array([share for _, share in weights], float)
    speakers = tuple(tuple(tuple(files) for files in by_speaker.values()) for by_speaker in speech.values())
    return Material(
        speakers,
        tuple(shares / shares.sum()),
        tuple(tuple(files) for files in noise.values()),
        tuple(bursts),
        tuple(rooms),
    )


def _table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@lru_cache(maxsize=1500)
def _read(path: Path) -> Samples:
    return audio.read(path)


def level(samples: Array) -> float:
    """Return the level of float [n] in dBFS."""
    return float(10 * np.log10(np.mean(np.square(samples)) + 1e-12))


def truth(clean: Array) -> npt.NDArray[np.bool_]:
    """Return bool [n // 160]: which frames of a clean clip are speech.

    Speech is each run of frames within 35 dB of the clip's loud frames (less if its noise is louder) of which at least
    one is within 25 dB. Pauses up to 0.2 s count as speech; runs shorter than 50 ms after that are dropped.
    """
    power = (clean[: len(clean) // FRAME * FRAME].reshape(-1, FRAME) ** 2).mean(axis=1)
    power = 10 * np.log10(np.convolve(np.pad(power, 1, "edge"), np.ones(3) / 3, "valid") + 1e-12)
    loud, quiet = np.percentile(power, (95, 5))
    low = max(loud - 35, min(quiet + 10, loud - 20))
    speech = np.zeros(len(power), bool)
    for start, end in _runs(power > low):
        speech[start:end] = power[start:end].max() > max(loud - 25, low)
    for start, end in _runs(~speech):
        speech[start:end] = end - start <= 20 and start > 0 and end < len(speech)
    for start, end in _runs(speech):
        speech[start:end] = end - start >= 5
    return speech


def _runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (start, end) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags, [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


# ---- sounds -----------------------------------------------------------------------------------------------------


def clip(rng: np.random.Generator, files: tuple[Path, ...]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return a part of one of a speaker's files, its speech at 0 dBFS, and its truth; half are changed in pitch."""
    recording = _read(files[rng.integers(len(files))])
    if rng.random() < 0.5:
        recording = audio.resample(recording, RATE, RATE * rng.uniform(0.85, 1.2))
    begin = int(rng.integers(len(recording) // 2)) if rng.random() < 0.3 else 0
    recording = recording[begin : begin + int(rng.uniform(0.5, 10) * RATE)]
    samples = recording[: len(recording) // FRAME * FRAME].astype(np.float64)
    if len(samples) < 10 * FRAME:
        samples = np.zeros(10 * FRAME)
    spoken = truth(samples)
    if not spoken.any():
        return samples * 0, spoken
    return samples / 10 ** (level(samples[np.repeat(spoken, FRAME)]) / 20), spoken


def room(rng: np.random.Generator, rooms: tuple[Path, ...]) -> Floats:
    """Return a room's impulse response, measured or decaying noise: float [n] from the direct sound on, unit energy."""
    if rng.random() < 0.5:
        response = _read(rooms[rng.integers(len(rooms))]).astype(np.float64)
        response = response[np.argmax(np.abs(response)) :]
    else:
        duration, decay = rng.uniform(0.15, 1.0), rng.uniform(0.7, 1)
        time = np.arange(int(duration * RATE)) / RATE
        tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / duration)
        late = tail.copy()
        for cut in (0.3, 0.6):  # high frequencies decay faster
            late = np.convolve(late, [1 - cut * decay, cut * decay])[: len(time)]
        tail = np.linspace(1, 0, len(time)) * tail + np.linspace(0, 1, len(time)) * late
        tail[: int(rng.uniform(0.001, 0.006) * RATE)] = 0
        response = tail / np.linalg.norm(tail) * 10 ** (-rng.uniform(-8, 12) / 20)
        response[0] = 1
    return response / np.linalg.norm(response)


def convolve(samples: Floats, response: Floats) -> Floats:
    """Return the convolution, cut to the length of ``samples``."""
    size = 1 << (len(samples) + len(response) - 2).bit_length()
    return np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]


def coloured(rng: np.random.Generator, n: int) -> Floats:
    """Return noise whose power falls with frequency to the power of 0 to 2.

    Some have a hum, some vary in level.
    """
    spectrum = np.fft.rfft(rng.standard_normal(n)) / np.maximum(np.arange(n // 2 + 1), n / 200) ** rng.uniform(0, 1)
    noise = np.fft.irfft(spectrum, n)
    if rng.random() < 0.3:
        phase = 2 * np.pi * rng.uniform(45, 400) * np.arange(n) / RATE
        hum = sum(rng.random() / h * np.sin(h * phase + 6 * rng.random()) for h in range(1, 8))
        noise = noise / noise.std() + hum * rng.uniform(0.3, 3)
    if rng.random() < 0.3:  # varying level
        knots = rng.uniform(-25, 0, max(2, int(n / RATE * rng.uniform(0.2, 8))))
        noise = noise * 10 ** (np.interp(np.linspace(0, 1, n), np.linspace(0, 1, len(knots)), knots) / 20)
    return noise


def music(rng: np.random.Generator, n: int) -> Floats:
    """Return notes of a scale in one to three voices, with drums in some cases."""
    out, beat = np.zeros(n), RATE * rng.uniform(0.12, 0.5)
    scale = np.cumsum(rng.choice([2, 2, 1, 3], 7))
    for _ in range(int(rng.integers(1, 4))):
        root, at = 2 ** rng.uniform(5.5, 9), 0.0
        fall, glide, decay = rng.uniform(0.5, 2), rng.choice([0, 0, 0.01, 0.03]), rng.choice([0.5, 3, 10])
        while at < n:
            length = int(beat * rng.choice([0.5, 1, 1, 2, 4]))
            if rng.random() < 0.85:
                time = np.arange(min(int(length * rng.uniform(0.6, 1.5)), n - int(at))) / RATE
                pitch = root * 2 ** (rng.choice(scale) / 12)
                phase = 2 * np.pi * pitch * (time + glide / 40 * np.sin(2 * np.pi * 5.5 * time))
                note = sum(np.sin(h * phase + h) / h**fall for h in range(1, min(16, int(7000 / pitch)) + 1)) * np.exp(
                    -decay * time
                )
                note *= np.minimum(1, np.arange(len(note)) / 200) * np.minimum(1, np.arange(len(note))[::-1] / 300)
                out[int(at) : int(at) + len(note)] += note * rng.uniform(0.3, 1)
            at += length
    if rng.random() < 0.6:
        for at in np.arange(0, n, beat * rng.choice([1, 2])).astype(int):
            if rng.random() < 0.8:
                hit = rng.standard_normal(min(int(RATE * rng.uniform(0.03, 0.3)), n - at))
                out[at : at + len(hit)] += hit * np.exp(-6 * np.arange(len(hit)) / len(hit)) * rng.uniform(0.2, 2)
    return out


def events(rng: np.random.Generator, n: int) -> Floats:
    """Return a sequence of rustling, breaths, knocks and buzzes."""
    out, at, longest = np.zeros(n), 0, rng.choice([0.1, 0.5, 2])
    while at < n - 1600:
        length = min(int(rng.uniform(0.02, longest) * RATE) + 400, n - at)
        buzz = rng.random() < 0.25
        if buzz:
            sound = np.mod(np.cumsum(rng.uniform(40, 500) * (1 + 0.02 * rng.standard_normal(length))) / RATE, 1) - 0.5
        else:
            sound = rng.standard_normal(length)
        frequencies = np.fft.rfftfreq(length, 1 / RATE)
        shape = sum(
            rng.random() / (1 + ((frequencies - centre) / (width * (centre + 100))) ** 2)
            for centre, width in zip(2 ** rng.uniform(5, 13, 3), rng.uniform(0.05, 1, 3), strict=True)
        )
        sound = np.fft.irfft(np.fft.rfft(sound) * (shape + 0.01 * rng.random()), length)
        knots = rng.uniform(-20, 0, max(2, int(length / RATE * rng.uniform(2, 30))))
        sound = sound * 10 ** (np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(knots)), knots) / 20)
        sound *= np.minimum(1, np.arange(length) / rng.uniform(20, 2000)) * np.linspace(1, 0, length) ** rng.uniform(
            0, 3
        )
        out[at : at + length] += sound / (sound.std() + 1e-9) * 10 ** (-rng.uniform(0, 20) / 20)
        at += length + int(rng.exponential(longest) * RATE)
    return out


def puffs(rng: np.random.Generator, n: int) -> Floats:
    """Return breath and wind on a microphone: swells of noise, mostly below 200 Hz."""
    frequencies = np.fft.rfftfreq(n, 1 / RATE)
    shape = 1 / (1 + (frequencies / rng.uniform(40, 250)) ** rng.uniform(1.5, 4)) + rng.choice([0, 0.003, 0.03, 0.1])
    sound = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * shape, n)
    swell, at, longest = np.zeros(n), 0, rng.uniform(0.3, 2)
    while at < n:
        length = min(int(rng.uniform(0.1, longest) * RATE) + 2, n - at)
        swell[at : at + length] = np.sin(np.linspace(0, np.pi, length)) ** rng.uniform(0.5, 3) * rng.uniform(0.1, 1)
        at += length + int(rng.exponential(2) * RATE)
    return sound * swell


def clips(rng: np.random.Generator, files: tuple[Path, ...], n: int, sparse: bool, other_pitch: bool) -> Floats:
    """Return a sequence of recordings, each at 0 dBFS, with pauses if ``sparse``: float [n]."""
    out, at = np.zeros(n), 0
    while at < n:
        recording = _read(files[rng.integers(len(files))])
        if other_pitch:
            recording = audio.resample(recording, RATE, RATE * rng.uniform(0.7, 1.4))
        part = recording[int(rng.integers(max(1, len(recording) // 2))) :][: n - at].astype(np.float64)
        out[at : at + len(part)] = part / 10 ** (level(part) / 20)
        at += len(part) + 1 + (int(rng.exponential(2) * RATE) if sparse else 0)
    return out


def noise(rng: np.random.Generator, of: Material, n: int, synthetic: bool = True) -> Floats:
    """Return recorded noise of one kind, synthetic noise or non-verbal voices: float [n] at about 0 dBFS.

    Recorded sounds are continuous or have pauses.
    """
    which = rng.random()
    if which < 0.12 and of.bursts:
        return clips(rng, of.bursts, n, True, synthetic and rng.random() < 0.4)
    if which < 0.55 and synthetic:
        sound = (coloured if which < 0.22 else music if which < 0.33 else puffs if which < 0.41 else events)(rng, n)
        return sound / 10 ** (level(sound) / 20)
    kind = of.noise[rng.integers(len(of.noise))]
    return clips(rng, kind, n, rng.random() < 0.4, synthetic and rng.random() < 0.4)


# ---- scenes -----------------------------------------------------------------------------------------------------


def scene(
    rng: np.random.Generator,
    of: Material,
    seconds: float,
    snr: tuple[float, float] = (-5, 30),
    dbfs: tuple[float, float] = (-45, 0),
    held_out: bool = False,
) -> tuple[Samples, Frames]:
    """Return a recording, float32 [n], and the classes of its frames, uint8 [n // 160].

    It has zero to four talkers, each in a room of their own or close to the microphone, and one or two noises, at an
    SNR drawn from ``snr`` and a peak level drawn from ``dbfs``. With ``held_out`` all noise is recorded.
    """
    n = int(seconds * RATE) // FRAME * FRAME
    talkers = 0 if rng.random() < 0.2 else 1 if rng.random() < 0.55 else int(rng.integers(2, 5))
    db = rng.uniform(*snr)
    talk, frames = people(rng, of, n, talkers, db)
    mixed = talk
    if talkers == 0 or db < 28:
        other = noise(rng, of, n, not held_out)
        if rng.random() < 0.25:
            other = other + noise(rng, of, n, not held_out) * 10 ** (rng.uniform(-15, 5) / 20)
        if rng.random() < 0.3:
            other = convolve(other, room(rng, of.rooms))
        if rng.random() < 0.15:
            other[: int(rng.integers(n // 2))] *= 10 ** (-rng.uniform(10, 50) / 20)  # noise that starts later
        mixed = mixed + other * 10 ** (-db / 20)
    faint = talkers == 0 and rng.random() < 0.2  # background voices too faint to count as speech
    if not held_out:
        mixed = mixed + (people(rng, of, n, 2, 99)[0] if faint else 0)
        mixed = mixed + (extra_sounds(rng, of, mixed, frames) if talkers else 0)
    for start, end in _runs(frames == SILENT):
        if start > 0 and end < len(frames) and end - start <= 100 and frames[start - 1] == frames[end] == SPEECH:
            frames[start:end] = PAUSE
    if rng.random() < 0.8:  # microphone noise
        mixed = mixed + 10 ** (rng.uniform(-80, -30) / 20) * rng.standard_normal(n)
    peak, mixed = np.abs(talk).max(), equalised(rng, mixed)
    if talkers == 0:
        peak, dbfs = np.abs(mixed).max(), dbfs if held_out else (-80, -58) if faint else (dbfs[0] - 35, dbfs[1])
    return recorded(rng, mixed / max(peak, 1e-6), rng.uniform(*dbfs)), frames


def extra_sounds(rng: np.random.Generator, of: Material, mixed: Floats, frames: Frames) -> Floats:
    """Return additional sounds: breath on the microphone, background voices too faint to count as speech, or babble.

    Babble makes silent frames unclear, in place.
    """
    other, n = np.zeros_like(mixed), len(mixed)
    if rng.random() < 0.35:
        sound = (puffs if rng.random() < 0.7 else events)(rng, n)
        other += sound / (np.abs(sound).max() + 1e-9) * 10 ** (rng.uniform(-20, 15) / 20)
    if rng.random() < 0.3:
        other += people(rng, of, n, 2, 99)[0] * 10 ** (rng.uniform(-50, -28) / 20)
    if rng.random() < 0.06:
        babble = sum((people(rng, of, n, 3, 99)[0] for _ in range(3)), np.zeros(n))
        other += babble * 10 ** ((level(mixed) - level(babble) - rng.uniform(5, 20)) / 20)
        frames[frames == SILENT] = UNCLEAR
    return other


def people(rng: np.random.Generator, of: Material, n: int, talkers: int, snr: float) -> tuple[Floats, Frames]:
    """Return people taking turns or overlapping: float [n], the loudest at 0 dBFS, and uint8 [n // 160]."""
    frames, mixed = np.full(n // FRAME, SILENT, np.uint8), np.zeros(n)
    if not talkers:
        return mixed, frames
    tracks, gains, voices = np.zeros((talkers, n)), np.zeros(talkers), []
    for talker in range(talkers):
        corpus = of.speech[rng.choice(len(of.speech), p=of.weights)]
        voices.append(corpus[rng.integers(len(corpus))])
        gains[talker] = 0 if talker == 0 else -rng.uniform(0, 15)
    overlap, pause = rng.choice([0, 0.2, 0.5]), rng.choice([0.15, 0.5, 1.5, 4])
    at = 0 if rng.random() < 0.4 else int(rng.integers(5 * RATE))
    talker = 0
    while at < n - RATE // 4:
        at = at // FRAME * FRAME
        utterance, spoken = clip(rng, voices[talker])
        utterance, spoken = utterance[: n - at], spoken[: (n - at) // FRAME]
        gain = gains[talker] + rng.normal(0, 2)
        tracks[talker, at : at + len(utterance)] += utterance * 10 ** (gain / 20)
        here = frames[at // FRAME : at // FRAME + len(spoken)]
        here[spoken & (here != SPEECH)] = SPEECH if gain + snr > -7 else UNCLEAR
        at += len(utterance) + int(rng.exponential(pause) * RATE)
        if talkers > 1:
            talker = int(rng.integers(talkers))
            if rng.random() < overlap:
                at = max(0, at - int(rng.uniform(0.3, 3) * RATE))
    for track in tracks:
        mixed += convolve(track, room(rng, of.rooms)) if rng.random() < 0.75 else track
    return mixed, frames


def equalised(rng: np.random.Generator, samples: Floats) -> Floats:
    """Apply the frequency response of a microphone, loudspeaker or telephone: float [n]."""
    frequencies = np.fft.rfftfreq(len(samples), 1 / RATE)
    knots = np.array([0, 100, 300, 800, 2000, 4000, 8000])
    response = np.interp(frequencies, knots, rng.normal(0, 3, len(knots)) + rng.normal(0, 4) * np.linspace(-1, 1, 7))
    low, high = 0.0, 8000.0
    kind = rng.random()
    if kind < 0.12:
        low, high = rng.uniform(200, 400), rng.uniform(3000, 3800)
    elif kind < 0.35:
        low, high = rng.uniform(20, 200), rng.uniform(2500, 8000)
    response = response - 60 * (np.clip((low - frequencies) / 150, 0, 1) + np.clip((frequencies - high) / 300, 0, 1))
    return np.fft.irfft(np.fft.rfft(samples) * 10 ** (response / 20), len(samples))


def recorded(rng: np.random.Generator, samples: Floats, dbfs: float) -> Samples:
    """Scale by ``dbfs``, clip in some cases and round to 16 bits, as a recorder does: float32 [n]."""
    samples = samples * 10 ** (dbfs / 20)
    peak = np.abs(samples).max()
    samples = samples / max(1, peak / 1.5)
    if rng.random() < 0.15:
        samples = np.clip(samples, -peak / rng.uniform(1, 8), peak / rng.uniform(1, 8))
    if rng.random() < 0.1:
        samples = samples + rng.uniform(-0.02, 0.02)
    if rng.random() < 0.1:  # switched off and on
        begin = int(rng.integers(len(samples)))
        samples[begin : begin + int(rng.exponential(1) * RATE)] = 0
    return (np.round(np.clip(samples, -1, 1) * 32767) / 32768).astype(np.float32)
