"""The robustness checks: every change measured by other means, and predictors whose scores are known beforehand."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.signal
import scipy.stats
import soundfile

from sertool import robustness
from sertool.errors import AudioError, UsageError
from sertool.robustness import perturbations

RATE = 16_000
NAMES = ["arousal", "dominance", "valence"]
SEEDS = range(24)


def noise(seconds=1.0, seed=0, level=0.1):
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def decibels(ratio):
    return 20 * np.log10(ratio)


def rms(samples):
    return np.sqrt(np.mean(np.square(samples, dtype=np.float64)))


def drawn(change, samples=None):
    """The change under many seeds."""
    samples = noise() if samples is None else samples
    return [change(samples, np.random.default_rng(seed)) for seed in SEEDS]


def band(samples, low, high):
    """Level of a band, as an RMS."""
    frequency, density = scipy.signal.welch(samples, RATE, nperseg=1024)
    return np.sqrt(density[(frequency >= low) & (frequency < high)].sum() * (frequency[1] - frequency[0]))


# The small changes


def test_tone_is_40_to_50_db_below_the_peak_and_between_5_and_7_khz():
    samples = noise(level=0.05)
    levels, pitches = set(), []
    for changed in drawn(perturbations.additive_tone, samples):
        spectrum = np.abs(np.fft.rfft(changed - samples))
        pitches.append(spectrum.argmax())  # one second: bins of 1 Hz
        levels.add(round(decibels(np.abs(samples).max() / (2 * spectrum.max() / len(samples)))))
    assert levels == {40, 45, 50}
    assert 5000 <= min(pitches) < 5300
    assert 6700 < max(pitches) <= 7000


@pytest.mark.parametrize(("change", "kept"), [("append_zeros", slice(0, RATE)), ("prepend_zeros", slice(-RATE, None))])
def test_zeros_are_added(change, kept):
    counts = set()
    for changed in drawn(getattr(perturbations, change)):
        assert np.array_equal(changed[kept], noise())
        assert np.count_nonzero(changed) == np.count_nonzero(noise())
        counts.add(len(changed) - RATE)
    assert counts == {100, 500, 1000}


def test_crops_take_one_end_off():
    samples = noise()
    for change, end in ("crop_beginning", -1), ("crop_end", 1):
        counts = set()
        for changed in drawn(getattr(perturbations, change)):
            assert np.array_equal(changed, samples[: len(changed)] if end == 1 else samples[-len(changed) :])
            counts.add(RATE - len(changed))
        assert counts == {100, 500, 1000}
        assert min(len(changed) for changed in drawn(getattr(perturbations, change), noise()[:900])) == 450


def test_clip_touches_the_loudest_samples_only():
    samples, shares = noise(), set()
    for changed in drawn(perturbations.clip):
        touched = np.flatnonzero(changed != samples)
        shares.add(len(touched) / len(samples))
        assert np.abs(samples[touched]).min() > np.abs(np.delete(samples, touched)).max() - 1e-9
        assert np.ptp(np.abs(changed[touched])) == 0
        assert np.array_equal(np.sign(changed), np.sign(samples))
    assert shares == {0.001, 0.002, 0.003}


def test_gain_is_in_decibels():
    changes = drawn(perturbations.gain, noise(level=2))  # beyond 1: nothing is cut
    assert {round(float(decibels(rms(changed) / rms(noise(level=2)))), 3) for changed in changes} == {-2, -1, 1, 2}


@pytest.mark.parametrize(
    ("change", "kind", "cutoffs"),
    [("high_pass", "highpass", [50, 100, 150]), ("low_pass", "lowpass", [6500, 7000, 7500])],
)
def test_filters_are_scipys_butterworth(change, kind, cutoffs):
    expected = [scipy.signal.lfilter(*scipy.signal.butter(1, cutoff, kind, fs=RATE), noise()) for cutoff in cutoffs]
    found = []
    for changed in drawn(getattr(perturbations, change)):
        errors = [np.abs(changed - other).max() for other in expected]
        assert min(errors) < 1e-6
        found.append(cutoffs[int(np.argmin(errors))])
    assert sorted(set(found)) == cutoffs


def test_white_noise_is_white_gaussian_and_at_its_ratio():
    samples, ratios = noise(2), set()
    for changed in drawn(perturbations.white_noise, samples):
        added = changed.astype(np.float64) - samples
        ratios.add(round(decibels(rms(samples) / rms(added)), 2))
        assert decibels(band(added, 0, 4000) / band(added, 4000, 8000)) == pytest.approx(0, abs=0.4)
        assert scipy.stats.kurtosis(added) == pytest.approx(0, abs=0.15)
    assert ratios == {35, 40, 45}


# Noise


def parts(changed, samples):
    """Factor of the samples in a mix, and what else is in it."""
    factor = np.dot(changed, samples) / np.dot(samples, samples)
    return factor, changed - factor * samples


@pytest.mark.parametrize("snr", [20, 10])
def test_background_has_its_ratio_and_keeps_the_level(snr, tone):
    samples = tone(2.0, seed=1)[:, 0].astype(np.float32)
    changed = perturbations.background(samples, np.random.default_rng(0), perturbations.white, snr)
    factor, added = parts(changed, samples)
    assert decibels(factor * rms(samples) / rms(added)) == pytest.approx(snr, abs=0.1)
    assert rms(changed) == pytest.approx(rms(samples), rel=1e-5)
    assert changed.dtype == np.float32


def test_babble_is_four_to_seven_of_the_others():
    time = np.arange(3200) / RATE
    clips = [0.01 * (1 + i % 9) * np.sin(2 * np.pi * (200 + 10 * i) * time) for i in range(600)]
    babble = perturbations.Babble(clips)
    counts, spreads = set(), []
    for seed in SEEDS:
        power = np.abs(np.fft.rfft(babble(clips[7], np.random.default_rng(seed))))
        lines = power[power > 0.01 * power.max()]
        counts.add(len(lines))
        spreads.append(decibels(lines.max() / lines.min()))
    assert counts == {4, 5, 6, 7}
    assert 5 < max(spreads) < 7.01  # whatever level the clips have


def test_babble_never_takes_the_clip_itself():
    clips = [np.full(10, value) for value in (1.0, -1.0)]
    for seed in SEEDS:
        assert (perturbations.Babble(clips)(clips[0], np.random.default_rng(seed)) < 0).all()


def folder(path, *names, seconds=0.5, seed=5):
    for i, name in enumerate(names):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path / name, noise(seconds, seed + i), RATE, subtype="FLOAT", format="WAV")
    return path


def test_recorded_noise_is_repeated_from_a_random_point(tmp_path):
    sound = noise(0.5, 5)
    recorded = perturbations.Recorded([folder(tmp_path, "a.wav") / "a.wav"])
    starts = set()
    for seed in SEEDS:
        drawn = recorded(noise(1.2), np.random.default_rng(seed))
        start = int(np.flatnonzero(sound == drawn[0])[0])
        starts.add(start)
        assert np.array_equal(drawn, np.tile(np.roll(sound, -start), 3)[: round(1.2 * RATE)])
    assert len(starts) > 20


def test_a_cough_comes_once_at_a_random_place(tmp_path):
    sound = noise(0.5, 5)
    recorded = perturbations.Recorded([folder(tmp_path, "a.wav") / "a.wav"], once=True)
    starts = set()
    for seed in SEEDS:
        drawn = recorded(noise(1.2), np.random.default_rng(seed))
        starts.add(start := int(np.flatnonzero(drawn)[0]))
        assert np.array_equal(drawn[start : start + len(sound)], sound)
        assert len(drawn) == round(1.2 * RATE)
        assert np.count_nonzero(drawn) == np.count_nonzero(sound)
    assert len(starts) > 20
    assert max(starts) > 0.4 * RATE
    stretch = recorded(noise(0.2), np.random.default_rng(0))
    assert any(np.array_equal(stretch, sound[i : i + 3200]) for i in range(len(sound) - 3200 + 1))


def test_noise_that_cannot_be_used_is_named(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(800), RATE)
    with pytest.raises(AudioError, match=f"{tmp_path}: too much silence"):
        perturbations.Recorded([tmp_path / "silent.wav"])(noise(0.1), np.random.default_rng(0))
    either = perturbations.Recorded([tmp_path / "silent.wav", folder(tmp_path, "a.wav") / "a.wav"])
    assert all(changed.any() for changed in drawn(either, noise(0.1)))  # silence is drawn again
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"broken\.wav: "):
        perturbations.Recorded([tmp_path / "broken.wav"])(noise(0.1), np.random.default_rng(0))


# The telephone


@pytest.fixture(scope="module")
def call():
    """Noise in bursts, and what the telephone makes of it."""
    samples = noise(3, level=0.3) * np.repeat([1, 0.02, 0.4], RATE).astype(np.float32)
    return samples, perturbations.low_quality_phone(samples, np.random.default_rng(0))


def test_phone_is_narrow(call):
    samples, changed = call
    assert decibels(band(changed, 4300, 8000) / band(changed, 300, 3400)) < -20
    assert decibels(band(changed, 300, 3400) / band(samples, 300, 3400)) > 0  # what is left has all the level
    assert rms(changed) == pytest.approx(rms(samples), rel=1e-5)
    assert len(changed) == len(samples)


def test_phone_hisses_above_3_khz(call, monkeypatch):
    _, changed = call
    spectrum = np.fft.rfft(np.random.default_rng(9).standard_normal(3 * RATE))
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)))
    sections = scipy.signal.butter(2, 3000, "highpass", fs=RATE, output="sos")
    hiss = scipy.signal.sosfilt(sections, pink / np.abs(pink).max() * 10 ** (-25 / 20))
    level = band(changed, 4300, 8000) / np.abs(changed).max()
    assert decibels(level / band(hiss, 4300, 8000)) == pytest.approx(0, abs=2)
    monkeypatch.setattr(perturbations, "_amr", np.zeros_like)  # nothing but the hiss
    alone = perturbations.low_quality_phone(noise(3), np.random.default_rng(0))
    slopes = [decibels(band(samples, 6000, 7000) / band(samples, 500, 1000)) for samples in (alone, hiss)]
    assert slopes[0] == pytest.approx(slopes[1], abs=0.5)


def test_phone_does_not_move_the_words(call):
    samples, changed = call
    lags = range(-80, 81)
    fit = [np.dot(changed[100 + lag : 15_900 + lag], samples[100:15_900]) for lag in lags]
    assert abs(lags[int(np.argmax(fit))]) <= 2


def test_phone_brings_up_what_is_soft(call):
    before, after = (decibels(rms(part[:RATE]) / rms(part[RATE : 2 * RATE])) for part in call)
    assert 2 < before - after < 8  # 34 dB apart before


@pytest.mark.parametrize(("before", "after"), [(-40, -36), (-20, -16), (-10, -8), (0, 0)])
def test_compressor_curve(before, after):
    steady = perturbations._compressed(np.full(4000, 10 ** (before / 20)))
    assert decibels(steady[-1]) == pytest.approx(after, abs=1e-3)


def test_compressor_times():
    step = np.repeat([0.5, 0.2], 4000)
    out = perturbations._compressed(step)
    level = 10 ** (-decibels(out / step) / 0.2 / 20)  # from the gain back to the level that the compressor saw
    assert level[79] == pytest.approx(0.5 * (1 - np.exp(-1)), rel=1e-6)  # after .01 s
    assert level[4159] == pytest.approx(0.2 + 0.3 * np.exp(-1), rel=1e-6)  # .02 s


def test_codec_is_amr_at_7400_bit_per_second(tmp_path, tone):
    av = pytest.importorskip("av")
    samples = (0.5 * tone(1.0, rate=8000)[:, 0]).astype(np.float32)
    integers = np.round(np.pad(samples, (0, 160)) * 32767).astype(np.int16)
    with av.open(tmp_path / "a.amr", "w") as file:
        stream = file.add_stream("libopencore_amrnb", rate=8000, layout="mono")
        stream.bit_rate = 7400
        frame = av.AudioFrame.from_ndarray(integers[None], format="s16", layout="mono")
        frame.sample_rate = 8000
        file.mux([*stream.encode(frame), *stream.encode(None)])
    assert (tmp_path / "a.amr").stat().st_size == pytest.approx(51 * 20, abs=30)  # 148 bit a frame, and a byte
    with av.open(tmp_path / "a.amr") as file:
        decoded = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert np.allclose(perturbations._amr(samples), decoded[40:8040], atol=1e-6)


def test_pink_noise_falls_by_3_db_an_octave():
    pink = perturbations._pink(20 * RATE, np.random.default_rng(0))
    octaves = [decibels(band(pink, low, 2 * low)) for low in (125, 250, 500, 1000, 2000)]
    assert np.allclose(np.diff(octaves), 0, atol=0.3)  # the same in every octave


# Tilt and rooms


@pytest.mark.parametrize("size", [20.0, -20.0])
def test_tilt_is_a_straight_line_without_delay(size):
    samples = np.zeros(4096, np.float32)
    samples[2048] = 1
    changed = perturbations.tilt(samples, np.random.default_rng(0), size)
    frequency, response = scipy.signal.freqz(changed, worN=512, fs=RATE)
    level = decibels(np.abs(response))
    slope, start = np.polyfit(frequency / 1000, level, 1)
    assert slope == pytest.approx(size / 8, abs=0.01)
    assert np.abs(level - start - slope * frequency / 1000).max() < 0.2
    # An octave at the top weighs more than one at the bottom: 10 dB from 4 to 8 kHz, 1.25 from 500 Hz to 1 kHz.
    assert level[-1] - level[256] == pytest.approx(size / 2, abs=0.2)
    assert np.abs(changed).argmax() == 2048
    assert rms(changed) == pytest.approx(rms(samples), rel=1e-5)


def test_room_convolves_and_normalises():
    responses = [noise(0.3, 3) * np.exp(-np.arange(4800) / 800), noise(0.1, 4)]
    expected = [scipy.signal.fftconvolve(noise(), response)[:RATE] for response in responses]
    found = set()
    for changed in drawn(lambda samples, rng: perturbations.room(samples, rng, responses)):
        errors = [np.abs(changed - wet / np.abs(wet).max()).max() for wet in expected]
        assert min(errors) < 1e-5
        found.add(int(np.argmin(errors)))
    assert found == {0, 1}


def test_measured_response_starts_at_its_strongest_sample(tmp_path):
    response = np.concatenate([np.zeros(300), [-0.2, 0.5, -0.3, 0.1]]).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", response, RATE, subtype="FLOAT")
    changed = perturbations.room(noise(), np.random.default_rng(0), [tmp_path / "a.wav"])
    expected = np.convolve(noise(), response[301:])[:RATE]
    assert np.allclose(changed, expected / np.abs(expected).max(), atol=1e-5)


def reverberation(response):
    """RT60 in s by Schroeder's integral, from -5 to -35 dB."""
    decay = np.cumsum(response[::-1] ** 2)[::-1]
    decay = 10 * np.log10(decay / decay[0] + 1e-12)
    used = (decay < -5) & (decay > -35)
    return -60 / np.polyfit(np.flatnonzero(used) / RATE, decay[used], 1)[0]


def test_simulated_rooms_differ_in_reverberation():
    base, others = perturbations.rooms()
    times = [reverberation(response) for response in (*base, *others)]
    assert times == pytest.approx([0.12, 0.23, 0.43, 0.78], rel=0.15)


@pytest.mark.slow("takes long")
def test_simulated_positions_differ_in_distance():
    base, others = perturbations.positions()
    assert (len(base), len(others)) == (1, 8)
    # The direct sound is the first of the strong ones; its delay grows with the distance.
    delays = [int(np.flatnonzero(np.abs(response) > 0.3 * np.abs(response).max())[0]) for response in (*base, *others)]
    metres = (np.array(delays) - delays[0]) / RATE * 343 + 1
    assert np.allclose(metres, [1, 1, 1, 2, 2, 2, 3, 3, 3], atol=0.1)
    assert len({tuple(np.round(response[:4000], 6)) for response in others}) >= 5


# The evaluation


@pytest.fixture(scope="module")
def clips(tone):
    return [tone(seconds, seed=i)[:, 0].astype(np.float32) for i, seconds in enumerate((0.5, 0.2, 0.8))]


def by_name(checks):
    return {check.name: check for check in checks}


def by_check(results):
    return {result.check: result for result in results}


def loudness(samples):
    return np.array([np.clip(1 + decibels(rms(samples)) / 60, 0, 1) * 6, 0.5, 0.5])


def duration(samples):
    return np.array([0.5, len(samples) / RATE * 10, 0.5])


def test_constant_predictor_passes_everything(clips):
    results = robustness.evaluate(lambda samples: np.array([0.2, 0.5, 0.9]), clips, NAMES)
    assert len(results) == 17
    for result in results:
        assert set(result.share.values()) == {1.0} == {result.constant}
        assert set(result.shift.values()) == {0.0}
        assert list(result.passed) == NAMES
        assert all(result.passed.values())
        assert result.clips == 3
    assert robustness.summary(results)["valence"] == {"model": 1, "constant": 1, "random": 0}


def test_checks_have_ser_tests_thresholds(clips):
    thresholds = {(check.group, check.threshold) for check in robustness.checks(clips)}
    assert thresholds == {
        ("small changes", 0.95),
        ("background noise", 0.9),
        ("phone", 0.5),
        ("spectral tilt", 0.8),
        ("room", 0.8),
    }


@pytest.mark.parametrize(("name", "sign"), [("tilt up", 1), ("tilt down", -1)])
def test_tilts_go_their_ways(name, sign, clips):
    tilted = by_name(robustness.checks(clips))[name].change(noise(), np.random.default_rng(0))
    ratio = decibels(band(tilted, 6000, 7000) / band(tilted, 1000, 2000))
    assert ratio == pytest.approx(sign * 20 * 5 / 8, abs=1)  # 5 of 8 kHz


def test_random_predictor_scores_what_theory_says(clips):
    # P(|x - y| < .05) for two truncated Gaussians, by numerical integration.
    law = scipy.stats.truncnorm(-3, 3, loc=0.5, scale=1 / 6)
    x = np.linspace(0, 1, 20_001)
    expected = np.trapezoid(law.pdf(x) * (law.cdf(x + 0.05) - law.cdf(x - 0.05)), x)
    assert expected == pytest.approx(0.169, abs=0.005)
    names = [f"output {i}" for i in range(4000)]  # many outputs stand for many clips
    results = robustness.evaluate(lambda samples: np.zeros(4000), clips[:1], names)
    shares = [result.random for result in results]
    assert np.mean(shares) == pytest.approx(expected, abs=0.004)
    assert np.ptp(shares) < 0.06
    assert len(set(shares)) > 5


def test_level_meter_fails_where_the_level_changes(clips):
    results = by_check(robustness.evaluate(loudness, clips, NAMES))
    assert results["gain"].share["arousal"] == 0
    assert not results["gain"].passed["arousal"]
    assert results["gain"].passed["dominance"]
    assert results["gain"].passed["valence"]
    for level_kept in ("white at 20 dB", "babble at 20 dB", "low-quality phone", "tilt up", "tilt down"):
        assert results[level_kept].share["arousal"] == 1
        assert abs(results[level_kept].shift["arousal"]) < 1e-4


def test_stop_watch_fails_where_the_length_changes(clips):
    results = by_check(robustness.evaluate(duration, clips, NAMES))
    for name, sign in ("append zeros", 1), ("prepend zeros", 1), ("crop beginning", -1), ("crop end", -1):
        assert results[name].share == {"arousal": 1, "dominance": 0, "valence": 1}
        assert 0.06 < sign * results[name].shift["dominance"] < 0.63
        assert results[name].shift["arousal"] == 0
    failed = {name for name, result in results.items() if not result.passed["dominance"]}
    assert failed == {"append zeros", "prepend zeros", "crop beginning", "crop end"}


def test_share_counts_clips_whose_output_moved_by_less_than_a_twentieth():
    clips = [np.full(1000, level, np.float32) for level in (0.1, 0.2, 0.3, 0.4)]

    def predict(samples):  # the third clip alone moves, by .06, and only as it gets longer
        longer = len(samples) > 1000
        return np.array([0.5 + 0.06 * (longer and round(float(samples.max()), 3) == 0.3), 0.5 + 0.04 * longer])

    result = by_check(robustness.evaluate(predict, clips, ["a", "b"]))["append zeros"]
    assert result.share == {"a": 0.75, "b": 1.0}
    assert result.shift == {"a": pytest.approx(0.015), "b": pytest.approx(0.04)}
    assert result.passed == {"a": False, "b": True}


def test_classes_are_unchanged_while_the_most_probable_stays(monkeypatch):
    names, changes = ["angry", "happy", "neutral", "sad"], ("append zeros", "crop end", "gain")
    chosen = [robustness.Check(name, "x", 0.95, robustness.SMALL_CHANGES[name]) for name in changes]
    monkeypatch.setattr(robustness, "checks", lambda *_: chosen)

    def predict(samples):  # as likely angry as sad, and the first counts; then sad by length
        return [0.4, 0.1, 0.1, 0.4 + (len(samples) - 1600) / 1600]

    clips = [noise(0.1, seed) for seed in range(300)]
    results = by_check(robustness.evaluate(predict, clips, names, task="categorical"))
    assert {name: result.share for name, result in results.items()} == {
        "append zeros": {"emotion": 0.0},  # sad now
        "crop end": {"emotion": 1.0},  # moved as far, and still angry
        "gain": {"emotion": 1.0},
    }
    assert [result.passed["emotion"] for result in results.values()] == [False, True, True]
    assert list(results["crop end"].shift) == names
    assert results["crop end"].shift["sad"] < -0.06 < 0.06 < results["append zeros"].shift["sad"]
    assert {result.constant for result in results.values()} == {1.0}
    # A guess among four is the same again in a quarter of the cases.
    assert np.mean([result.random for result in results.values()]) == pytest.approx(0.25, abs=0.05)
    assert robustness.summary(list(results.values()))["emotion"] == {"model": 2 / 3, "constant": 1, "random": 0}


def level_and_bands(samples):
    return np.array([rms(samples), band(samples, 0, 2000), band(samples, 2000, 8000)])


@pytest.mark.slow("takes long")
@pytest.mark.filterwarnings("ignore:nperseg")
def test_a_seed_gives_the_same_numbers_whatever_else_is_run(clips, tmp_path, monkeypatch):
    folder(tmp_path, "a.wav", "music/b.wav")
    first = by_check(robustness.evaluate(level_and_bands, clips, NAMES, seed=3))
    more = by_check(robustness.evaluate(level_and_bands, [*clips, np.zeros(99)], NAMES, seed=3, noise=tmp_path))
    assert set(more) - set(first) == {"music at 20 dB", "noise at 20 dB"}
    assert {name: more[name] for name in first} == first
    checks = robustness.checks
    monkeypatch.setattr(robustness, "checks", lambda *given: checks(*given)[::-1])
    assert by_check(robustness.evaluate(level_and_bands, clips, NAMES, seed=3)) == first
    other = by_check(robustness.evaluate(level_and_bands, clips, NAMES, seed=4))
    assert other["white at 20 dB"].shift != first["white at 20 dB"].shift
    assert other["white at 20 dB"].random != first["white at 20 dB"].random or other["clip"] != first["clip"]


def test_clips_differ_in_their_draws():
    twice = noise(0.3)
    seen = []
    robustness.evaluate(lambda samples: seen.append(samples) or np.zeros(1), [twice, twice.copy()], ["a"])
    start = 2 + 2 * list(robustness.SMALL_CHANGES).index("white noise")  # after the two clean ones
    assert len(seen[start]) == len(seen[start + 1])
    assert not np.array_equal(seen[start], seen[start + 1])


def test_clips_stay_as_they_are_and_silent_ones_are_left_out(clips):
    kept = [clip.copy() for clip in clips]
    for clip in clips:
        clip.flags.writeable = False
    inputs = []

    def predict(samples):
        assert samples.dtype == np.float32
        assert samples.ndim == 1
        assert samples.any()
        inputs.append(samples)
        return np.full(3, 0.5)

    silent = np.zeros(4000, np.float32)
    results = robustness.evaluate(predict, [silent, *clips, np.zeros(0, np.float32)], NAMES)
    assert {result.clips for result in results} == {3}
    assert all(np.array_equal(clip, before) for clip, before in zip(clips, kept, strict=True))
    # Three clean ones, one a change, and the base of the two simulated ones.
    assert len(inputs) == 3 * (1 + 17 + 2)


def test_very_short_clips_do():
    results = robustness.evaluate(lambda samples: np.zeros(1), [noise(33 / RATE), noise(0.0101, 1)], ["a"])
    assert all(result.share == {"a": 1.0} for result in results)


def test_the_same_array_twice_does():
    assert robustness.evaluate(lambda samples: np.zeros(1), [noise(0.1)] * 2, ["a"])[0].clips == 2


def test_one_clip_has_no_babble():
    names = [check.name for check in robustness.checks([noise(0.1)])]
    assert "babble at 20 dB" not in names
    assert "white at 20 dB" in names


def test_progress_counts_clips_of_checks(clips):
    seen = []
    robustness.evaluate(lambda samples: np.zeros(1), clips, ["a"], progress=lambda *where: seen.append(where))
    assert seen == [(i, 51) for i in range(1, 52)]


def test_noise_folders_are_kinds(tmp_path, clips):
    folder(tmp_path, "loose.wav", "music/a.wav", "music/deep/b.flac", "Coughing/c.wav", "my sneezes/d.wav")
    (tmp_path / "manifest.csv").write_text("file,kind\n")
    (tmp_path / "empty").mkdir()
    checks = by_name(robustness.checks(clips, tmp_path))
    noises = [name for name, check in checks.items() if check.group == "background noise"]
    assert noises == [
        "white at 20 dB",
        "babble at 20 dB",
        "Coughing at 10 dB",
        "music at 20 dB",
        "my sneezes at 10 dB",
        "noise at 20 dB",
    ]
    recorded = checks["music at 20 dB"].change.keywords["noise"]
    assert [path.name for path in recorded.paths] == ["a.wav", "b.flac"]
    assert not recorded.once
    assert checks["Coughing at 10 dB"].change.keywords["noise"].once
    changed = checks["Coughing at 10 dB"].change(clips[2], np.random.default_rng(0))
    factor, added = parts(changed, clips[2])
    assert decibels(factor * rms(clips[2]) / rms(added)) == pytest.approx(10, abs=0.5)


def test_measured_rooms_are_one_more_check(tmp_path, clips):
    response = np.zeros(500, np.float32)
    response[[40, 41]] = 1, 0.25
    soundfile.write(tmp_path / "room.wav", response, RATE, subtype="FLOAT")
    seen = []
    results = robustness.evaluate(lambda samples: seen.append(samples) or np.zeros(1), clips, ["a"], rooms=tmp_path)
    assert (results[-1].check, results[-1].group, results[-1].threshold) == ("measured room", "room", 0.8)
    dry, wet = seen[-2:]
    expected = clips[2] + 0.25 * np.concatenate([[0], clips[2][:-1]])
    assert np.allclose(dry, clips[2] / np.abs(clips[2]).max(), atol=1e-5)
    assert np.allclose(wet, expected / np.abs(expected).max(), atol=1e-5)


@pytest.mark.parametrize("option", ["noise", "rooms"])
def test_folder_without_audio_is_named(option, tmp_path, clips):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError, match=f"^{path}: no audio files"):
            robustness.evaluate(lambda samples: np.zeros(1), clips, ["a"], **{option: path})


def test_nothing_to_hear_and_wrong_outputs_are_errors(clips):
    with pytest.raises(UsageError, match="every clip is silent"):
        robustness.evaluate(lambda samples: np.zeros(1), [np.zeros(9, np.float32)], ["a"])
    with pytest.raises(UsageError, match=r"2 output names, but a prediction of shape \[1, 2\]"):
        robustness.evaluate(lambda samples: np.zeros((1, 2)), clips, ["a", "b"])


@pytest.mark.parametrize(("module", "extra"), [("av", "av"), ("pyroomacoustics", "eval")])
def test_missing_library_says_what_to_install(module, extra, clips, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    perturbations.positions.cache_clear()
    calls = []
    with pytest.raises(UsageError, match=rf"pip install 'sertool\[{extra}\]'"):
        robustness.evaluate(lambda samples: calls.append(0) or np.zeros(1), clips, ["a"])
    assert not calls  # before the work, not in the middle


def test_pyav_without_the_encoder_says_what_to_install(monkeypatch):
    av = pytest.importorskip("av")
    create = av.CodecContext.create

    class Poorer:
        @staticmethod
        def create(name, mode):
            return create(name.replace("libopencore_amrnb", "no such codec"), mode)

    monkeypatch.setattr(av, "CodecContext", Poorer)
    with pytest.raises(UsageError, match="AMR encoder"):
        perturbations.require_codec()


def test_summary_is_the_share_of_checks_passed():
    def result(threshold, passed, random):
        return robustness.Result("c", "g", threshold, {}, {}, 1.0, random, {"a": passed, "b": True}, 1)

    results = [result(0.5, True, 0.6), result(0.5, False, 0.5), result(0.8, False, 0.1), result(0.8, False, 0.8)]
    assert robustness.summary(results) == {
        "a": {"model": 0.25, "constant": 1.0, "random": 0.25},
        "b": {"model": 1.0, "constant": 1.0, "random": 0.25},
        "all": {"model": 0.625, "constant": 1.0, "random": 0.25},
    }


def test_import_is_light():
    code = "import sys, sertool.robustness; print({'scipy', 'av', 'pyroomacoustics', 'torch'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
