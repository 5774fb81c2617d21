"""What each augmentation of the distillation states, measured by librosa and scipy where it is about sound."""

import librosa
import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter, welch

from sertool.errors import UsageError
from sertool.plugins import load_plugins

NAMES = ("mixup", "rotate", "drop-frequencies", "shout")
RATE = 16_000


@pytest.fixture
def bucket(tmp_path):
    """bucket(name, level, n): a folder with one file of that constant level."""

    def make(name, level=0.5, n=80_000):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "x.wav", np.full(n, level, np.float32), RATE, subtype="FLOAT")
        return str(tmp_path / name)

    return make


@pytest.fixture
def make(bucket):
    """make(name, **options): the registered augmentation; mixup with a bucket where none is given."""

    def build(name, **options):
        if name == "mixup" and not options:
            options["sounds"] = bucket("sounds")
        return load_plugins().get("augmentations", name).build(**options)

    return build


def vowel(pitch=120.0, n=RATE, seed=0, second=1.0):
    """Pulses, each other one ``second`` times as high, through formants of an [a]; faint noise; F0 wavers by 3 %."""
    phase = np.cumsum(pitch * (1 + 0.03 * np.sin(2 * np.pi * 3 * np.arange(n) / RATE))) / RATE
    sound = (np.diff(np.floor(phase), prepend=0) > 0) * np.where(np.floor(phase) % 2, 1, second)
    for formant, bandwidth in ((700, 90), (1200, 110), (2600, 160), (3500, 200)):
        radius = np.exp(-np.pi * bandwidth / RATE)
        sound = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * formant / RATE), radius**2], sound)
    sound = lfilter([1], [1, -0.95], sound)
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32) + noise(n, 1e-4, seed)


def noise(n, level=0.1, seed=0):
    return level * np.random.default_rng(seed).standard_normal(n, np.float32)


def energy(x):
    return float(np.sum(np.square(x, dtype=np.float64)))


def f0(x):
    """Median F0 in Hz, by pYIN."""
    track, _, _ = librosa.pyin(x.astype(float), fmin=60, fmax=700, sr=RATE, frame_length=1024)
    return np.nanmedian(track)


def spectrum(x, points=1024):
    """(Hz, dB)."""
    frequency, power = welch(x, RATE, nperseg=points)
    return frequency, 10 * np.log10(power + 1e-30)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 2, 33, 100, 400, 16_001])
def test_any_length_of_noise_or_silence_keeps_its_length(name, n, make):
    change = make(name)
    for clip in (noise(n), np.zeros(n, np.float32)):
        out = change(clip, np.random.default_rng(0))
        assert (out.shape, out.dtype) == (clip.shape, np.float32)
        assert np.isfinite(out).all()
        assert not np.shares_memory(out, clip)
        if name != "mixup":
            assert energy(out) == pytest.approx(energy(clip), rel=1e-5)  # silence included: approx(0) is 0


def test_mixup_adds_an_excerpt_of_one_bucket_chosen_evenly(make, bucket):
    change = make("mixup", sounds=bucket("a", 0.25), speech=bucket("b", 0.5))
    clip, rng, added = vowel(), np.random.default_rng(0), []
    for _ in range(200):
        rest = (change(clip, rng) - np.float32(0.64) * clip) / 0.41
        assert np.ptp(rest) < 1e-6
        added.append(round(float(rest[0]), 4))
    assert set(added) == {0.25, 0.5}
    assert 70 < added.count(0.5) < 130


def test_mixup_takes_factors_and_needs_something_to_mix_in(make, bucket):
    out = make("mixup", ambience=bucket("a", -0.5), first=1, second=2)(vowel(), np.random.default_rng(0))
    np.testing.assert_allclose(out, vowel() - 1, atol=1e-6)
    with pytest.raises(UsageError, match="sounds, speech or ambience"):
        load_plugins().get("augmentations", "mixup").build()


def test_mixup_keeps_the_length_with_a_shorter_file_beneath(make, bucket):
    out = make("mixup", speech=bucket("short", 0.5, 400))(np.zeros(16_000, np.float32), np.random.default_rng(0))
    assert len(out) == 16_000
    assert np.count_nonzero(out) == 400
    assert out.max() == pytest.approx(0.41 * 0.5)


def test_rotation_is_cyclic_and_reaches_everywhere(make):
    clip, rng, starts = np.arange(50, dtype=np.float32), np.random.default_rng(0), set()
    for _ in range(500):
        out = make("rotate")(clip, rng)
        at = int(np.argmin(out))
        assert np.array_equal(np.concatenate([out[at:], out[:at]]), clip)
        starts.add(at)
    assert len(starts) == 50


def test_drop_takes_bands_out_and_gives_their_energy_to_the_rest(make):
    clip = noise(64_000)
    before = spectrum(clip)[1]
    lost, numbers = [], []
    for seed in range(60):
        out = make("drop-frequencies", bands=3, width=600)(clip, np.random.default_rng(seed))
        assert energy(out) == pytest.approx(energy(clip), rel=1e-5)
        change = spectrum(out)[1] - before
        gone = change < -30
        level = np.median(change[~gone])
        kept = np.sum(np.abs(change - level) < 0.2)
        assert gone.sum() * 15.625 <= 3 * 600 + 50
        # Outside the bands and their edges everything is raised alike, by what was lost.
        assert kept >= len(change) - gone.sum() - 3 * (200 / 15.625 + 4)
        assert 0 < level < 1.6
        lost.append(gone.sum() * 15.625)
        numbers.append(np.count_nonzero(np.diff(gone.astype(int)) == 1) + gone[0])
    assert set(numbers) == {0, 1, 2, 3} or set(numbers) == {1, 2, 3}
    assert max(lost) > 900


def test_drop_does_not_ring_into_pauses(make):
    clip = np.concatenate([noise(16_000), np.zeros(16_000, np.float32)])
    for seed in range(20):
        out = make("drop-frequencies")(clip, np.random.default_rng(seed))
        assert energy(out[20_000:28_000]) < 1e-7 * energy(clip)


def test_drop_spares_a_clip_of_which_nothing_would_be_left(make):
    tone = np.sin(2 * np.pi * 4000 * np.arange(16_000) / RATE).astype(np.float32)
    change, spared = make("drop-frequencies", bands=8, width=4000), 0
    for seed in range(40):
        out = change(tone, np.random.default_rng(seed))
        assert np.abs(out).max() < 2.5
        spared += np.array_equal(out, tone)
    assert spared > 5


@pytest.mark.slow("builds, exports or trains large networks")
@pytest.mark.parametrize(("pitch", "factor"), [(95, 1.8), (120, 1.4), (210, 1.6), (400, 1.5)])
def test_shout_raises_f0_by_the_factor_and_keeps_the_formants(pitch, factor, make):
    clip = vowel(pitch, second=0.85) + noise(RATE, 0.01)  # two periods are more alike than one
    out = make("shout", pitch=[factor, factor], tilt=[0, 0])(clip, np.random.default_rng(0))
    assert f0(out) / f0(clip) == pytest.approx(factor, rel=0.03)
    if pitch < 150:  # else the harmonics are too far apart to show where the formants are
        (frequency, before), (_, after) = spectrum(clip, 128), spectrum(out, 128)
        for low, high in ((500, 1000), (2200, 3000)):
            inside = (frequency >= low) & (frequency <= high)
            moved = frequency[inside][np.argmax(after[inside])] - frequency[inside][np.argmax(before[inside])]
            assert abs(moved) <= 125  # one point of the spectrum; with the pitch they would move by 400 and more


@pytest.mark.slow("takes about a second")
def test_shout_lengthens_what_is_voiced_and_nothing_else(make):
    hiss, silence = noise(12_000, 0.02), np.zeros(9000, np.float32)
    clip = np.concatenate([silence, vowel(), hiss, vowel(160, 8000), silence])
    out = make("shout", stretch=[1.3, 1.3])(clip, np.random.default_rng(0))
    assert len(out) - len(clip) == pytest.approx(0.3 * 24_000, rel=0.1)
    loud = [np.mean(librosa.feature.rms(y=x, frame_length=512, hop_length=128) > 0.06) * len(x) for x in (clip, out)]
    assert loud[1] / loud[0] == pytest.approx(1.3, rel=0.04)
    assert np.array_equal(out[:8500], clip[:8500])
    assert np.array_equal(out[-8500:], clip[-8500:])
    middle = np.correlate(out, hiss[2000:-2000], "valid")  # the hiss is there in one piece, wherever it went
    at = int(np.argmax(middle))
    np.testing.assert_array_equal(out[at : at + 8000], hiss[2000:-2000])


def test_shout_flattens_the_spectrum(make):
    def tilt(x):
        frequency, decibels = spectrum(x)
        inside = (frequency >= 500) & (frequency <= 4000)
        return np.polyfit(frequency[inside] / 1000, decibels[inside], 1)[0]

    clip = vowel(n=32_000)
    same, flat = (
        make("shout", pitch=[1, 1], stretch=[1, 1], tilt=[t, t])(clip, np.random.default_rng(0)) for t in (0, 4)
    )
    # 4 dB an octave from 500 Hz to 4 kHz are 12 dB over 3.5 kHz, more of them at the lower end.
    assert tilt(same) == pytest.approx(tilt(clip), abs=0.2)
    assert tilt(flat) - tilt(clip) == pytest.approx(3.0, abs=0.4)
    low = slice(2, 28)  # up to 420 Hz nothing is raised
    np.testing.assert_allclose(spectrum(flat)[1][low], spectrum(same)[1][low], atol=0.1)


def test_shout_without_any_change_is_the_clip(make):
    clip = np.concatenate([noise(5000, 0.01), vowel(), noise(5000, 0.01)])
    out = make("shout", pitch=[1, 1], stretch=[1, 1], tilt=[0, 0])(clip, np.random.default_rng(0))
    np.testing.assert_allclose(out, clip, atol=1e-6)


def test_shout_may_leave_full_scale(make):
    clip = vowel() * 2
    out = make("shout", tilt=[6, 6])(clip, np.random.default_rng(0))
    assert np.abs(clip).max() <= 1.001
    assert np.abs(out).max() > 1.05


def test_shout_leaves_noise_silence_and_what_is_too_low_for_a_voice_as_they_are(make):
    hum = np.sin(2 * np.pi * 20 * np.arange(32_000) / RATE).astype(np.float32)
    for clip in (noise(32_000), np.zeros(32_000, np.float32), hum):
        assert np.array_equal(make("shout")(clip, np.random.default_rng(0)), clip)


@pytest.mark.parametrize("n", [600, 900, 1300, 2000, 3000])
def test_shout_takes_voice_from_edge_to_edge(n, make):
    for pitch in (75, 130, 450):
        out = make("shout")(vowel(pitch, 8000)[-n:], np.random.default_rng(0))
        assert np.isfinite(out).all()
        assert n * 0.95 <= len(out) <= n * 1.35


def test_the_same_whatever_the_length_of_the_blocks(make, monkeypatch):
    from sertool_distil_augment import shout

    clip = np.concatenate([vowel(), noise(3000, 0.01), vowel(200)])
    whole = make("shout")(clip, np.random.default_rng(0))
    monkeypatch.setattr(shout, "BLOCK", 7)
    assert np.array_equal(make("shout")(clip, np.random.default_rng(0)), whole)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("shout", {"pitch": 1.5}, "pitch must be .low, high. above 0, not 1.5"),
        ("shout", {"stretch": [1.3, 1.1]}, "stretch must be"),
        ("shout", {"pitch": [0, 1]}, "pitch must be"),
        ("shout", {"tilt": ["a", "b"]}, "tilt must be"),
        ("drop-frequencies", {"bands": 0}, "bands must be 1 or more"),
        ("drop-frequencies", {"width": 0}, "width above 0"),
    ],
)
def test_options_that_mean_nothing_are_named(name, options, words):
    with pytest.raises(UsageError, match=words):
        load_plugins().get("augmentations", name).build(**options)
