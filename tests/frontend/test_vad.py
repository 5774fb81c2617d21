"""Voice activity: the same bits however it is cut, segments against their definition, and what is called speech."""

import dataclasses
import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sertool import bundle
from sertool.frontend.kernel import available_isas, lib
from sertool.frontend.vad import Parameters, Segmenter, Vad, probabilities, segments

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
    with pytest.raises(ValueError, match="instruction set 'mmx' is not to be had here"):
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


# ---- segments ---------------------------------------------------------------------------------------------------


def test_defaults():
    assert dataclasses.astuple(Parameters()) == (0.5, 0.35, 0.25, 0.1, 0.03)
    assert list(Parameters.__dataclass_fields__) == [
        "threshold",
        "lower",
        "shortest_speech_s",
        "shortest_silence_s",
        "padding_s",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 1.1},
        {"lower": 0.6},
        {"lower": -0.1},
        {"threshold": float("nan")},
        {"shortest_speech_s": -1},
        {"shortest_silence_s": -0.1},
        {"padding_s": -0.01},
    ],
)
def test_parameters_without_sense_are_an_error(wrong):
    with pytest.raises(ValueError, match=r"thresholds|times"):
        Parameters(**wrong)


def by_definition(p, parameters: Parameters, n: int) -> list[tuple[int, int]]:
    """The segments as the rules say it, looking over the whole recording, in samples."""
    speech, silence, padding = (
        round(RATE * t) for t in (parameters.shortest_speech_s, parameters.shortest_silence_s, parameters.padding_s)
    )
    high, low = np.flatnonzero(p >= parameters.threshold), np.flatnonzero(p < parameters.lower)
    raw, after = [], -1
    while len(later := high[high > after]):
        start = later[0]
        for last, following in zip(later, [*later[1:], len(p)], strict=True):  # the pause after each high frame
            pause = low[(low > last) & (low < following)]
            long_enough = pause[FRAME * (pause - pause[:1]) >= silence] if len(pause) else pause
            if len(long_enough):
                raw.append((start * FRAME, pause[0] * FRAME))
                after = long_enough[0]
                break
        else:
            raw.append((start * FRAME, n))
            after = len(p)
    kept = [(start, end) for start, end in raw if end - start >= speech]
    gaps = [start - end for (_, end), (start, _) in itertools.pairwise(kept)]
    margins = [padding, *(min(padding, gap // 2) for gap in gaps), padding]
    return [(max(0, start - margins[i]), min(n, end + margins[i + 1])) for i, (start, end) in enumerate(kept)]


SETTINGS = [
    Parameters(),
    Parameters(padding_s=0.2),
    Parameters(shortest_speech_s=0, shortest_silence_s=0, padding_s=0),
    Parameters(0.7, 0.1, 0.05, 0.3, 0.5),
    Parameters(0.5, 0.5, 0.4, 0.02, 0.035),
]


@pytest.mark.parametrize("parameters", SETTINGS)
@pytest.mark.parametrize("seed", range(8))
def test_segments_are_those_of_the_definition_however_they_are_pushed(seed, parameters):
    rng = np.random.default_rng(seed)
    frames = int(rng.integers(1, 3000))
    walk = np.convolve(rng.standard_normal(frames), np.ones(2 + 3 * seed), mode="same")
    p = (1 / (1 + np.exp(-2 * walk / walk.std()))).astype(np.float32) if frames > 1 else np.ones(1, np.float32)
    n = frames * FRAME - int(rng.integers(FRAME))
    expected = by_definition(p, parameters, n)
    assert segments(p, parameters, n) == expected
    for pieces in (2, 50, 1000):
        segmenter, got = Segmenter(parameters), []
        for piece in np.split(p, np.sort(rng.integers(0, frames + 1, pieces))):
            got += segmenter.push(piece)
        assert got + segmenter.finish(n) == expected


def runs(*pairs) -> np.ndarray:
    """Probabilities from (how many frames, which) pairs."""
    return np.concatenate([np.full(count, value) for count, value in pairs])


# In frames of 10 ms, at the defaults: padding is 3 frames.
CASES = {
    "nothing": ([], []),
    "no_speech": ([(100, 0.49)], []),
    "all_speech": ([(100, 0.5)], [(0, 100)]),
    "padded_on_both_sides": ([(50, 0), (40, 1), (50, 0)], [(47, 93)]),
    "padding_stays_within_the_recording": ([(2, 0), (40, 1), (11, 0)], [(0, 45)]),
    "between_the_thresholds_goes_on_but_does_not_begin": ([(20, 0.4), (30, 0.9), (70, 0.35), (30, 0)], [(17, 123)]),
    "shortest_speech": ([(20, 0), (25, 1), (20, 0)], [(17, 48)]),
    "too_short_speech": ([(20, 0), (24, 1), (20, 0)], []),
    "ten_frames_of_silence_do_not_end_it": ([(30, 1), (10, 0), (30, 1), (20, 0)], [(0, 73)]),
    "eleven_do": ([(30, 1), (11, 0), (30, 1), (20, 0)], [(0, 33), (38, 74)]),
    "silence_counts_from_its_first_low_frame": ([(30, 1), (2, 0), (8, 0.4), (1, 0), (30, 1)], [(0, 33), (38, 71)]),
    "only_the_threshold_interrupts_silence": ([(30, 1), (6, 0), (1, 0.5), (6, 0), (30, 1)], [(0, 73)]),
    "what_runs_at_the_end_ends_there": ([(30, 0), (30, 1), (5, 0)], [(27, 65)]),
}


@pytest.mark.parametrize("name", CASES)
def test_hysteresis(name):
    given, expected = CASES[name]
    p = runs((0, 0), *given)
    assert segments(p) == [(FRAME * start, FRAME * end) for start, end in expected]


def test_padding_meets_in_the_middle_of_a_short_pause():
    p = runs((50, 1), (12, 0), (50, 1), (30, 0))
    assert segments(p, Parameters(padding_s=0.1)) == [(0, 56 * FRAME), (56 * FRAME, 122 * FRAME)]


def test_a_dropped_segment_does_not_shorten_the_padding_of_its_neighbours():
    p = runs((50, 1), (12, 0), (5, 1), (12, 0), (50, 1), (30, 0))
    assert segments(p, Parameters(padding_s=0.1)) == [(0, 60 * FRAME), (69 * FRAME, 139 * FRAME)]


def test_a_last_frame_cut_short_ends_the_segment():
    assert segments(np.ones(100), samples=99 * FRAME + 7) == [(0, 99 * FRAME + 7)]


def test_a_segment_is_given_as_soon_as_its_end_is_certain():
    segmenter = Segmenter()
    assert segmenter.push(runs((30, 1), (10, 0))) == []
    assert segmenter.push([0.0]) == [(0, 33 * FRAME)]
    segmenter = Segmenter(Parameters(padding_s=0.1))
    assert segmenter.push(runs((30, 1), (19, 0))) == []
    assert segmenter.push([0.0]) == [(0, 40 * FRAME)]


@pytest.mark.parametrize("samples", [0, 99 * FRAME, 100 * FRAME + 1])
def test_a_length_that_does_not_fit_the_frames_is_an_error(samples):
    with pytest.raises(ValueError, match=f"{samples} samples are not the 100 frames"):
        segments(np.ones(100), samples=samples)


def test_a_segmenter_may_be_used_again():
    segmenter = Segmenter()
    for _ in range(2):
        assert segmenter.push(runs((10, 0), (50, 1), (3, 0))) + segmenter.finish() == [(7 * FRAME, 63 * FRAME)]
