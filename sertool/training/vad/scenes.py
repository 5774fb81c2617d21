"""Scenes to train the voice activity detector on: people speak, in rooms, over noise, and it is known when."""

import csv
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from sertool import audio
from sertool.errors import SertoolError
from sertool.speech.detector import FRAME

RATE = audio.SAMPLE_RATE

#: What a frame of a scene is; a pause is one of up to a second between speech, longer than those that belong to it.
SILENT, SPEECH, UNCLEAR, PAUSE = 0, 1, 2, 3

#: Kinds of noise that no network of ours is trained on, whole: what it does with them is what it has learnt.
HELD_OUT = {
    *("006 - Person sneeze", "007 - Helicopter", "009 - Rooster", "106 - Cat", "309 - Snoring", "503 - Siren"),
    *("NoiseX-92", "loops", "fx"),
}
#: Babies' voices, which are neither speech nor what a detector of speech is to be taught against.
VOICES = ("cry", "laugh")
#: The corpus of voices without words, laughs and sighs: no speech, and held out by its speakers.
BURSTS = "emogator"
#: Of how many rooms one is kept for evaluation.
ROOMS_APART = 4


@dataclass(frozen=True)
class Material:
    """Files to mix: speech [corpus][speaker][file], noise [kind][file], rooms [file]."""

    speech: tuple
    weights: tuple  # of the corpora
    noise: tuple
    bursts: tuple  # of voices without words [file]
    rooms: tuple


@cache
def material(corpora: Path, weights: tuple, held_out: bool = False) -> Material:
    """What a folder of corpora has to train on, or to evaluate with: weights are (corpus, share) pairs.

    SertoolError if a corpus has no speech of that split.
    """
    split = "val" if held_out else "train"
    speech, bursts = {name: {} for name, _ in weights}, []
    for row in _table(corpora / "manifest.csv"):
        if row["corpus"] in speech and row["split"] == split:
            speech[row["corpus"]].setdefault(row["speaker"], []).append(corpora / row["file"])
        elif row["corpus"] == BURSTS and row["split"] == split:
            bursts.append(corpora / row["file"])
    if empty := [name for name, speakers in speech.items() if not speakers]:
        raise SertoolError(f"{corpora / 'manifest.csv'}: no speech of corpus {empty[0]!r}, split {split!r}")
    noise = {}
    for row in _table(corpora / "noise/manifest.csv"):
        if (row["kind"] in HELD_OUT) == held_out and not any(voice in row["kind"].lower() for voice in VOICES):
            noise.setdefault((row["source"], row["kind"]), []).append(corpora / row["file"])
    rooms = [corpora / row["file"] for row in _table(corpora / "rir/manifest.csv")]
    rooms = [room for i, room in enumerate(rooms) if (i % ROOMS_APART == 0) == held_out]
    shares = np.array([share for _, share in weights], float)
    speakers = tuple(tuple(map(tuple, found.values())) for found in speech.values())
    return Material(
        speakers, tuple(shares / shares.sum()), tuple(map(tuple, noise.values())), tuple(bursts), tuple(rooms)
    )


def _table(path: Path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@lru_cache(maxsize=1500)
def _read(path: Path) -> np.ndarray:
    return audio.read(path)


def level(samples) -> float:
    """dBFS of float [n]."""
    return float(10 * np.log10(np.mean(np.square(samples)) + 1e-12))


def truth(clean: np.ndarray) -> np.ndarray:
    """bool [n // 160]: when a clean clip is speech.

    Runs within 35 dB of its loud frames, or less where its own noise is louder, that come within 25 dB somewhere;
    pauses up to 0.2 s belong to them, and what is left of less than 50 ms is dropped.
    """
    power = (clean[: len(clean) // FRAME * FRAME].reshape(-1, FRAME) ** 2).mean(axis=1)
    power = 10 * np.log10(np.convolve(np.pad(power, 1, "edge"), np.ones(3) / 3, "valid") + 1e-12)
    loud, quiet = np.percentile(power, (95, 5))
    low = max(loud - 35, min(quiet + 10, loud - 20))
    found = np.zeros(len(power), bool)
    for start, end in _runs(power > low):
        found[start:end] = power[start:end].max() > max(loud - 25, low)
    for start, end in _runs(~found):
        found[start:end] = end - start <= 20 and start > 0 and end < len(found)
    for start, end in _runs(found):
        found[start:end] = end - start >= 5
    return found


def _runs(yes: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], yes, [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


# ---- what sounds ------------------------------------------------------------------------------------------------


def clip(rng, speakers: tuple) -> tuple[np.ndarray, np.ndarray]:
    """A part of one of a speaker's files, its speech at 0 dBFS, at another pitch in half the cases; and its truth."""
    samples = _read(speakers[rng.integers(len(speakers))])
    if rng.random() < 0.5:
        samples = audio.resample(samples, RATE, RATE * rng.uniform(0.85, 1.2))
    begin = int(rng.integers(len(samples) // 2)) if rng.random() < 0.3 else 0
    samples = samples[begin : begin + int(rng.uniform(0.5, 10) * RATE)]
    samples = samples[: len(samples) // FRAME * FRAME].astype(np.float64)
    if len(samples) < 10 * FRAME:
        samples = np.zeros(10 * FRAME)
    spoken = truth(samples)
    if not spoken.any():
        return samples * 0, spoken
    return samples / 10 ** (level(samples[np.repeat(spoken, FRAME)]) / 20), spoken


def room(rng, rooms: tuple) -> np.ndarray:
    """A measured room or one of decaying noise, float [n] from the direct sound on, of unit energy."""
    if rng.random() < 0.5:
        response = _read(rooms[rng.integers(len(rooms))]).astype(np.float64)
        response = response[np.argmax(np.abs(response)) :]
    else:
        duration, decay = rng.uniform(0.15, 1.0), rng.uniform(0.7, 1)
        time = np.arange(int(duration * RATE)) / RATE
        tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / duration)
        late = tail.copy()
        for cut in (0.3, 0.6):  # high notes die away sooner
            late = np.convolve(late, [1 - cut * decay, cut * decay])[: len(time)]
        tail = np.linspace(1, 0, len(time)) * tail + np.linspace(0, 1, len(time)) * late
        tail[: int(rng.uniform(0.001, 0.006) * RATE)] = 0
        response = tail / np.linalg.norm(tail) * 10 ** (-rng.uniform(-8, 12) / 20)
        response[0] = 1
    return response / np.linalg.norm(response)


def convolve(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """The first n samples of the convolution, n those of the first."""
    size = 1 << (len(samples) + len(response) - 2).bit_length()
    return np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: len(samples)]


def coloured(rng, n: int) -> np.ndarray:
    """Steady noise whose power falls with frequency to the power of 0 to 2, with a hum in some cases."""
    spectrum = np.fft.rfft(rng.standard_normal(n)) / np.maximum(np.arange(n // 2 + 1), n / 200) ** rng.uniform(0, 1)
    noise = np.fft.irfft(spectrum, n)
    if rng.random() < 0.3:
        phase = 2 * np.pi * rng.uniform(45, 400) * np.arange(n) / RATE
        hum = sum(rng.random() / h * np.sin(h * phase + 6 * rng.random()) for h in range(1, 8))
        noise = noise / noise.std() + hum * rng.uniform(0.3, 3)
    if rng.random() < 0.3:  # it comes and goes
        knots = rng.uniform(-25, 0, max(2, int(n / RATE * rng.uniform(0.2, 8))))
        noise = noise * 10 ** (np.interp(np.linspace(0, 1, n), np.linspace(0, 1, len(knots)), knots) / 20)
    return noise


def music(rng, n: int) -> np.ndarray:
    """Notes of a scale in some voices, and drums."""
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


def events(rng, n: int) -> np.ndarray:
    """Rustling, breaths, knocks and buzzes, one after another."""
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


def puffs(rng, n: int) -> np.ndarray:
    """Breath and wind on a microphone: swells of what is mostly below 200 Hz."""
    frequencies = np.fft.rfftfreq(n, 1 / RATE)
    shape = 1 / (1 + (frequencies / rng.uniform(40, 250)) ** rng.uniform(1.5, 4)) + rng.choice([0, 0.003, 0.03, 0.1])
    sound = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * shape, n)
    swell, at, longest = np.zeros(n), 0, rng.uniform(0.3, 2)
    while at < n:
        length = min(int(rng.uniform(0.1, longest) * RATE) + 2, n - at)
        swell[at : at + length] = np.sin(np.linspace(0, np.pi, length)) ** rng.uniform(0.5, 3) * rng.uniform(0.1, 1)
        at += length + int(rng.exponential(2) * RATE)
    return sound * swell


def clips(rng, files: tuple, n: int, sparse: bool, other_pitch: bool) -> np.ndarray:
    """Recordings one after another, each at 0 dBFS, with pauses or without: float [n]."""
    out, at = np.zeros(n), 0
    while at < n:
        part = _read(files[rng.integers(len(files))])
        if other_pitch:
            part = audio.resample(part, RATE, RATE * rng.uniform(0.7, 1.4))
        part = part[int(rng.integers(max(1, len(part) // 2))) :][: n - at].astype(np.float64)
        out[at : at + len(part)] = part / 10 ** (level(part) / 20)
        at += len(part) + 1 + (int(rng.exponential(2) * RATE) if sparse else 0)
    return out


def noise(rng, of: Material, n: int, synthetic: bool = True) -> np.ndarray:
    """Noise of one kind, or made here, or voices without words: float [n] at 0 dBFS or so, going on or now and then."""
    which = rng.random()
    if which < 0.12 and of.bursts:
        return clips(rng, of.bursts, n, True, synthetic and rng.random() < 0.4)
    if which < 0.55 and synthetic:
        found = (coloured if which < 0.22 else music if which < 0.33 else puffs if which < 0.41 else events)(rng, n)
        return found / 10 ** (level(found) / 20)
    kind = of.noise[rng.integers(len(of.noise))]
    return clips(rng, kind, n, rng.random() < 0.4, synthetic and rng.random() < 0.4)


# ---- scenes -----------------------------------------------------------------------------------------------------


def scene(rng, of: Material, seconds: float, snr=(-5, 30), dbfs=(-45, 0), held_out: bool = False):
    """A recording, float32 [n], and what its frames are, uint8 [n // 160].

    Nobody, one or some people speak, each in a room of their own or close by, over one or two noises at an SNR drawn
    from ``snr``, at a level of the peaks drawn from ``dbfs``. With ``held_out`` noise is that of files only.
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
            other[: int(rng.integers(n // 2))] *= 10 ** (-rng.uniform(10, 50) / 20)  # it sets in
        mixed = mixed + other * 10 ** (-db / 20)
    faint = talkers == 0 and rng.random() < 0.2  # voices that are too faint to be meant
    if not held_out:
        mixed = mixed + (people(rng, of, n, 2, 99)[0] if faint else 0)
        mixed = mixed + (beside(rng, of, mixed, frames) if talkers else 0)
    for start, end in _runs(frames == SILENT):
        if start > 0 and end < len(frames) and end - start <= 100 and frames[start - 1] == frames[end] == SPEECH:
            frames[start:end] = PAUSE
    if rng.random() < 0.8:  # the microphone's own
        mixed = mixed + 10 ** (rng.uniform(-80, -30) / 20) * rng.standard_normal(n)
    peak, mixed = np.abs(talk).max(), equalised(rng, mixed)
    if talkers == 0:
        peak, dbfs = np.abs(mixed).max(), dbfs if held_out else (-80, -58) if faint else (dbfs[0] - 35, dbfs[1])
    return recorded(rng, mixed / max(peak, 1e-6), rng.uniform(*dbfs)), frames


def beside(rng, of: Material, mixed: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """What else is heard: breath on the microphone, voices too faint to be meant, or as many as make frames unclear."""
    other, n = np.zeros_like(mixed), len(mixed)
    if rng.random() < 0.35:
        found = (puffs if rng.random() < 0.7 else events)(rng, n)
        other += found / (np.abs(found).max() + 1e-9) * 10 ** (rng.uniform(-20, 15) / 20)
    if rng.random() < 0.3:
        other += people(rng, of, n, 2, 99)[0] * 10 ** (rng.uniform(-50, -28) / 20)
    if rng.random() < 0.06:
        babble = sum(people(rng, of, n, 3, 99)[0] for _ in range(3))
        other += babble * 10 ** ((level(mixed) - level(babble) - rng.uniform(5, 20)) / 20)
        frames[frames == SILENT] = UNCLEAR
    return other


def people(rng, of: Material, n: int, talkers: int, snr: float) -> tuple[np.ndarray, np.ndarray]:
    """So many people, taking turns or talking at once: float [n], the loudest at 0 dBFS, and uint8 [n // 160]."""
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
        said, spoken = clip(rng, voices[talker])
        said, spoken = said[: n - at], spoken[: (n - at) // FRAME]
        gain = gains[talker] + rng.normal(0, 2)
        tracks[talker, at : at + len(said)] += said * 10 ** (gain / 20)
        here = frames[at // FRAME : at // FRAME + len(spoken)]
        here[spoken & (here != SPEECH)] = SPEECH if gain + snr > -7 else UNCLEAR
        at += len(said) + int(rng.exponential(pause) * RATE)
        if talkers > 1:
            talker = int(rng.integers(talkers))
            if rng.random() < overlap:
                at = max(0, at - int(rng.uniform(0.3, 3) * RATE))
    for track in tracks:
        mixed += convolve(track, room(rng, of.rooms)) if rng.random() < 0.75 else track
    return mixed, frames


def equalised(rng, samples: np.ndarray) -> np.ndarray:
    """Through a microphone, some loudspeaker or a telephone: float [n]."""
    frequencies = np.fft.rfftfreq(len(samples), 1 / RATE)
    knots = np.array([0, 100, 300, 800, 2000, 4000, 8000])
    response = np.interp(frequencies, knots, rng.normal(0, 3, len(knots)) + rng.normal(0, 4) * np.linspace(-1, 1, 7))
    low, high = 0, 8000
    kind = rng.random()
    if kind < 0.12:
        low, high = rng.uniform(200, 400), rng.uniform(3000, 3800)
    elif kind < 0.35:
        low, high = rng.uniform(20, 200), rng.uniform(2500, 8000)
    response = response - 60 * (np.clip((low - frequencies) / 150, 0, 1) + np.clip((frequencies - high) / 300, 0, 1))
    return np.fft.irfft(np.fft.rfft(samples) * 10 ** (response / 20), len(samples))


def recorded(rng, samples: np.ndarray, dbfs: float) -> np.ndarray:
    """As an input that may be driven too far and 16 bits leave it, full scale at so many dBFS: float32 [n]."""
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
