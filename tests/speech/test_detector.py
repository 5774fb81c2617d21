"""Voice activity: the same bits however it is cut, and what is called speech."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sertool import audio, bundle
from sertool.kernel import available_isas, lib
from sertool.speech.detector import Vad, probabilities
from sertool.speech.segmenter import Parameters, segments

SPEECH = sorted(Path(bundle.bundled_folder(), "wav2small", "samples").glob("*.wav"))
RATE, FRAME = 16_000, 160


def speech(path=SPEECH[0]) -> np.ndarray:
    return soundfile.read(path, dtype="float32")[0]


def noise(seconds: float, dbfs: float = -40, seed: int = 0, slope: float = 0) -> np.ndarray:
    """Steady noise whose amplitude falls with frequency to the power of ``slope``, from 100 Hz on."""
    n = round(seconds * RATE)
    bins = np.maximum(np.fft.rfftfreq(n, 1 / RATE), 100)
    x = np.fft.irfft(np.fft.rfft(np.random.default_rng(seed).standard_normal(n)) / bins**slope, n)
    return (x * 10 ** (dbfs / 20) / x.std()).astype(np.float32)


def voice_note() -> np.ndarray:
    """3 s of room, a sample of speech, 3 s of room, speech again, over noise 30 dB under the speech."""
    clip = speech()
    note = np.concatenate([np.zeros(3 * RATE), clip, np.zeros(3 * RATE), clip, np.zeros(RATE)])
    rms = 20 * np.log10(clip.std())
    return (note + noise(len(note) / RATE, rms - 30, slope=0.5)[: len(note)]).astype(np.float32)


def streamed(samples, cuts) -> np.ndarray:
    vad = Vad()
    return np.concatenate([*(vad.push(piece) for piece in np.split(samples, cuts)), vad.finish()])


def inside(found, n: int) -> np.ndarray:
    """bool [n]: the sample lies in a segment."""
    covered = np.zeros(n, bool)
    for start, end in found:
        covered[start:end] = True
    return covered


def found(samples) -> np.ndarray:
    return inside(segments(probabilities(samples), samples=len(samples)), len(samples))


# ---- probabilities: form ----------------------------------------------------------------------------------------

LENGTHS = [0, 1, 32, 33, 159, 160, 161, 319, 320, 321, 3_519, 3_520, 3_521, 3_551, 3_552, 3_553, 16_000, 83_333]


@pytest.mark.parametrize("n", LENGTHS)
def test_a_probability_for_every_10_ms_begun(n):
    got = probabilities(np.resize(speech(), n))
    assert (got.shape, got.dtype) == ((-(-n // FRAME),), np.float32)
    assert ((got >= 0) & (got <= 1)).all()


@pytest.mark.slow("takes long")
@pytest.mark.parametrize("n", LENGTHS)
def test_same_bits_however_it_is_cut_and_whatever_instructions_are_used(n):
    samples, rng = np.resize(voice_note(), n), np.random.default_rng(5)
    whole = probabilities(samples)
    for pieces in (0, 1, 3, 40):
        assert streamed(samples, np.sort(rng.integers(0, n + 1, pieces))).tobytes() == whole.tobytes()
    assert streamed(samples, range(1_600, n, 1_600)).tobytes() == whole.tobytes()
    for isa in available_isas():
        vad = Vad(isa)
        assert np.concatenate([vad.push(samples), vad.finish()]).tobytes() == whole.tobytes()


def test_an_unknown_instruction_set_is_an_error():
    with pytest.raises(ValueError, match="instruction set 'mmx' is not available on this CPU"):
        Vad("mmx")


def test_after_finish_another_recording_may_begin():
    vad, samples = Vad(), voice_note()
    for n in (len(samples), 20, 0, 30_000):
        again = np.concatenate([vad.push(samples[:n]), vad.finish()])
        assert again.tobytes() == probabilities(samples[:n]).tobytes()


def test_what_follows_more_than_0_2_seconds_later_does_not_matter():
    samples = voice_note()
    whole = probabilities(samples)
    for n in (16_000, 50_000, 70_400):
        settled = n // FRAME - 22
        got = probabilities(np.concatenate([samples[:n], noise(3, -10)]))
        assert got[:settled].tobytes() == whole[:settled].tobytes()
        assert (got[settled + 4 : settled + 22] != whole[settled + 4 : settled + 22]).all()


def test_a_frame_is_told_within_0_22_seconds():
    vad, told = Vad(), 0
    for i, piece in enumerate(np.split(voice_note()[: 4 * RATE], 400), 1):
        told += len(vad.push(piece))
        assert i - 23 < told <= i - 20 or (told == 0 and i <= 22)
    assert len(vad.finish()) == 400 - told <= lib.SER_VAD_REST


def test_memory_does_not_grow():
    vad, second = Vad(), noise(1)
    vad.push(np.tile(second, 5))
    tracemalloc.start()
    for _ in range(60):
        vad.push(second)
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 10_000


@pytest.mark.slow("takes long")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_unusable_sample_is_refused_as_if_never_pushed(bad):
    samples = voice_note()[:50_000]
    broken = samples[:500].copy()
    broken[77] = bad
    with pytest.raises(ValueError, match="NaN"):
        probabilities(broken)
    vad = Vad()
    parts = [vad.push(samples[:20_000])]
    with pytest.raises(ValueError, match="NaN"):
        vad.push(broken)
    parts += [vad.push(samples[20_000:]), vad.finish()]
    assert np.concatenate(parts).tobytes() == probabilities(samples).tobytes()


def test_samples_of_two_channels_are_an_error():
    with pytest.raises(ValueError, match=r"samples must be \[n\]"):
        probabilities(np.zeros((100, 2)))


# ---- probabilities: what is called speech -----------------------------------------------------------------------


def muted(value: float, rate: int = RATE, dither: bool = False) -> tuple[np.ndarray, int, int]:
    """(samples, start, end): a voice in whose middle the microphone stands still for 20 s, and then a voice."""
    clip = audio.resample(speech(), RATE, rate)
    clip = np.round(clip * 32768) / 32768
    at = int(np.argmax(np.convolve(clip**2, np.ones(rate // 50), "same")))  # in a vowel
    still = np.full(20 * rate, np.round(value * 32768) / 32768)
    if dither:
        still += np.random.default_rng(0).integers(-1, 2, len(still)) / 32768
    samples = np.concatenate([clip[:at], still, clip]).astype(np.float32)
    if rate != RATE:
        samples = audio.resample(samples, rate, RATE)
    return samples, round(at * RATE / rate), round((at + len(still)) * RATE / rate)


@pytest.mark.parametrize("value", [0, 0.25, 1e-3])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_what_stands_still_is_no_speech_from_the_first_frame_on(rate, value):
    samples, start, end = muted(value, rate)
    first = -(-start // FRAME) + (0 if rate == RATE else 15)  # a jump rings in the resampler
    course = probabilities(samples)
    assert (course[first : end // FRAME - 2] == 0).all()
    covered = inside(segments(course, samples=len(samples)), len(samples))
    assert not covered[first * FRAME + 480 : end - 1600].any()
    assert covered[: start - 1600].mean() > 0.6
    assert covered[end:].mean() > 0.6  # and the voice after it is one


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_zeros_are_heard_as_zeros_with_dither_are(rate):
    exact, dithered = (found(muted(0, rate, dither)[0]) for dither in (False, True))
    assert np.mean(exact != dithered) * len(exact) < 0.1 * RATE


def test_a_dropout_within_speech_does_not_end_it():
    clip = speech()
    dropped = clip.copy()
    dropped[len(clip) // 2 : len(clip) // 2 + 800] = 0  # 50 ms
    assert np.mean(found(clip) != found(dropped)) < 0.02


@pytest.mark.parametrize("path", SPEECH, ids=lambda path: path.stem)
def test_most_of_a_clip_that_is_speech_is_found(path):
    samples = speech(path)
    power = (samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME) ** 2).mean(axis=1)
    loud = np.repeat(power > power.max() / 300, FRAME)
    covered = found(samples)[: len(loud)]
    assert covered[loud].mean() > 0.9
    begins = int(np.argmax(loud))
    assert found(samples[begins:])[: RATE // 2].mean() > 0.5  # soon, without a second of noise to learn from


def test_pauses_are_not_speech_and_speech_is():
    samples, clip = voice_note(), len(speech())
    covered = found(samples)
    spoken = np.zeros(len(samples), bool)
    spoken[3 * RATE : 3 * RATE + clip] = spoken[6 * RATE + clip : 6 * RATE + 2 * clip] = True
    assert covered[spoken].mean() > 0.8
    assert covered[~spoken].mean() < 0.1


def test_faint_noise_after_digital_silence_is_not_speech():
    clip = speech()
    faint = noise(2.5, 20 * np.log10(clip.std()) - 60, slope=0.5)
    covered = found(np.concatenate([clip, np.zeros(RATE // 2), faint, clip]).astype(np.float32))
    begins = len(clip) + RATE // 2
    assert covered[begins : begins + len(faint)].mean() < 0.1
    assert covered[: len(clip)].mean() > 0.7


@pytest.mark.slow("takes long")
@pytest.mark.parametrize("gain", [-40, -25, 20])
def test_the_level_of_a_voice_does_not_matter(gain):
    """The peaks reach -3 dBFS; what comes before the voice may be called faint if it is."""
    samples, since = voice_note(), 3 * RATE // FRAME + 20
    changed = (samples * 10 ** (gain / 20)).astype(np.float32)
    np.testing.assert_allclose(probabilities(changed)[since:], probabilities(samples)[since:], rtol=0, atol=0.05)


@pytest.mark.parametrize("seconds", [0.05, 1, 20])
@pytest.mark.parametrize("value", [0.0, 0.3, 1e-6])
def test_silence_is_not_speech(value, seconds):
    assert probabilities(np.full(round(seconds * RATE), value, np.float32)).max() < Parameters().lower


@pytest.mark.parametrize("dbfs", [-90, -45, -10])
@pytest.mark.parametrize("slope", [0, 0.5, 1])
def test_steady_noise_is_not_speech(slope, dbfs):
    assert not found(noise(20, dbfs, slope=slope)).any()
