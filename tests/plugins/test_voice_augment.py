"""The four augmentations of arXiv 2512.23435 against audiomentations, scipy and YIN; and whose randomness they use."""

import subprocess
import sys
import warnings

import librosa
import numpy as np
import pytest
import scipy.stats

from sertool import audio, bundle
from sertool.errors import AudioError, UsageError
from sertool.plugins import load_plugins

NAMES = ("gaussian-noise", "pitch", "polarity")
RATE = 16_000


def make(name, **options):
    return load_plugins().get("augmentations", name).build(**options)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def speech():
    return audio.read(bundle.bundled_folder() / "wav2small" / "samples" / "plain.wav")[: 2 * RATE]


def harmonics(pitch=220.0, seconds=1.5):
    time = np.arange(round(seconds * RATE)) / RATE
    return sum(0.2 / k * np.sin(2 * np.pi * k * pitch * time + k) for k in range(1, 9)).astype(np.float32)


def cents(x, reference):
    """How far x's F0 lies above the reference, median by YIN; the ends, which fade, left out."""
    f0 = librosa.yin(x[len(x) // 5 : -len(x) // 5], fmin=80, fmax=600, sr=RATE)
    return 1200 * np.log2(np.median(f0) / reference)


def test_the_defaults_are_the_papers_four():
    gain, noise, pitch = make("gain"), make("gaussian-noise"), make("pitch")
    assert (gain.low, gain.high) == (-18, 6)
    assert (noise.low, noise.high) == (0.001, 0.015)
    assert (pitch.low, pitch.high) == (-2, 2)
    make("polarity")


def test_noise_is_white_gaussian_and_as_loud_as_asked():
    n = 200_000
    for seed, amplitude in enumerate((0.001, 0.004, 0.015)):
        clip = harmonics()[0] * np.ones(n, np.float32)
        noise = make("gaussian-noise", low=amplitude, high=amplitude)(clip, rng(seed)) - clip
        assert noise.std() == pytest.approx(amplitude, rel=0.01)  # its standard error is 0.16 %
        assert abs(noise.mean()) < 4 * amplitude / np.sqrt(n)
        assert scipy.stats.kstest(noise[:5_000] / amplitude, "norm").pvalue > 0.01
        neighbours = np.corrcoef(noise[:-1], noise[1:])[0, 1]
        assert abs(neighbours) < 4 / np.sqrt(n)


def test_the_noise_level_is_drawn_evenly():
    change, silence = make("gaussian-noise"), np.zeros(8_000, np.float32)
    levels = [change(silence, rng(seed)).std() for seed in range(200)]
    assert 0.00095 < min(levels) < 0.002
    assert 0.014 < max(levels) < 0.0155
    assert scipy.stats.kstest(levels, scipy.stats.uniform(0.001, 0.014).cdf).pvalue > 0.01


def test_noise_is_audiomentations_of_the_same_draws(speech, monkeypatch):
    audiomentations = pytest.importorskip("audiomentations")
    stream = rng(5)
    monkeypatch.setattr("random.uniform", stream.uniform)
    monkeypatch.setattr("numpy.random.randn", lambda *shape: stream.standard_normal(shape, np.float32))
    theirs = audiomentations.AddGaussianNoise(0.001, 0.015, p=1.0)(speech, RATE)
    assert np.allclose(make("gaussian-noise")(speech, rng(5)), theirs, rtol=0, atol=1e-7)


@pytest.mark.slow("trains or exports a network")
@pytest.mark.parametrize("semitones", [-2, -0.5, 0, 1, 2, 7])
def test_the_pitch_moves_by_the_semitones_asked_for(semitones):
    for pitch in (220.0, 311.0):
        shifted = make("pitch", low=semitones, high=semitones)(harmonics(pitch), rng())
        assert cents(shifted, pitch) == pytest.approx(100 * semitones, abs=5)


def test_semitones_are_drawn_evenly_and_the_shift_is_audiomentations(speech, monkeypatch):
    audiomentations = pytest.importorskip("audiomentations")
    change, clip, drawn = make("pitch"), speech[:4_000], []
    apply = audiomentations.PitchShift.apply

    def noted(self, samples, rate):
        drawn.append(self.parameters["num_semitones"])
        return apply(self, samples, rate)

    monkeypatch.setattr(audiomentations.PitchShift, "apply", noted)
    outcomes = [change(clip, rng(seed)) for seed in range(100)]
    assert scipy.stats.kstest(drawn, scipy.stats.uniform(-2, 4).cdf).pvalue > 0.01
    for semitones, outcome in list(zip(drawn, outcomes, strict=True))[:5]:
        theirs = audiomentations.PitchShift(semitones, semitones, method="signalsmith_stretch", p=1.0)
        assert np.array_equal(outcome, theirs(clip.copy(), RATE))


def test_pitch_keeps_the_words_where_they_are(speech):
    def envelope(x):
        return np.sqrt(np.convolve(np.square(x), np.ones(800) / 800, "same"))[::100][5:-8]

    for semitones in (-2, 2):
        shifted = make("pitch", low=semitones, high=semitones)(speech, rng())
        before, after = envelope(speech), envelope(shifted)
        likeness = [np.corrcoef(before[4:-4], np.roll(after, lag)[4:-4])[0, 1] for lag in range(-4, 5)]
        assert max(likeness) > 0.95
        assert abs(np.argmax(likeness) - 4) <= 1  # of 6 ms
        assert after.std() == pytest.approx(before.std(), rel=0.15)


def test_polarity_is_the_opposite_of_every_sample(speech):
    assert np.array_equal(make("polarity")(speech, rng()), -speech)


class Clips:
    """A map-style data set whose i-th clip is changed by stream i."""

    def __init__(self, changes, clip):
        self.changes, self.clip = changes, clip

    def __len__(self):
        return 6

    def __getitem__(self, index):
        clip = self.clip
        for change in self.changes:
            clip = change(clip, rng(index))
        return clip


@pytest.mark.slow("builds, exports or trains large networks")
@pytest.mark.parametrize("context", ["fork", "forkserver"])
def test_worker_processes_make_the_same_clips(context, speech):
    data = pytest.importorskip("torch.utils.data")
    clips = Clips([make(name) for name in NAMES], speech[:8_000])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside the threads of torch
        loader = data.DataLoader(clips, 2, num_workers=2, multiprocessing_context=context)
        loaded = np.concatenate([batch.numpy() for batch in loader])
    assert np.array_equal(loaded, [clips[index] for index in range(len(clips))])
    assert len(np.unique(loaded, axis=0)) == len(clips)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [0, 1, 2, 33, 500, 1919, 1920, 2049])
def test_short_clips_keep_their_length(name, n):
    clip = rng().uniform(-1, 1, n).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = make(name)(clip, rng(1))
    assert out.shape == (n,)
    assert out.dtype == np.float32
    assert np.isfinite(out).all()


@pytest.mark.parametrize("n", [1, 33, 16_000])
def test_silence_stays_silence(n):
    for name in ("pitch", "polarity"):
        assert not make(name)(np.zeros(n, np.float32), rng()).any()


def test_what_is_no_number_does_not_spread(speech):
    for bad in (np.nan, np.inf):
        clip = speech.copy()
        clip[100] = bad
        with pytest.raises(AudioError, match=r"^pitch: NaN or infinity in the samples$"):
            make("pitch")(clip, rng())
        for name in ("gaussian-noise", "polarity"):
            assert np.flatnonzero(~np.isfinite(make(name)(clip, rng()))).tolist() == [100]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gaussian-noise", {"low": 0.02}),
        ("gaussian-noise", {"low": -0.001}),
        ("gaussian-noise", {"high": 2}),
        ("gaussian-noise", {"high": float("nan")}),
        ("gaussian-noise", {"high": "0.01"}),
        ("gaussian-noise", {"low": True}),
        ("pitch", {"low": 3}),
        ("pitch", {"high": 25}),
        ("pitch", {"low": -24.5}),
        ("pitch", {"low": None}),
        ("pitch", {"high": [1, 2]}),
    ],
)
def test_a_range_that_is_none(name, options):
    with pytest.raises(UsageError, match=rf"^{name}: low and high must be numbers from -?\d+ to \d+ in order, not ."):
        make(name, **options)


def test_an_option_that_does_not_exist(command, clip, tmp_path):
    for name in NAMES:
        answer = command("augment", clip(tmp_path / "a.wav"), tmp_path / "out", "--with", f"{name}:loudness=3")
        assert answer.code == 2
        assert "loudness" in answer.err
        assert "Traceback" not in answer.err


def test_pitch_without_audiomentations_names_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "audiomentations", None)
    with pytest.raises(UsageError, match=r"^pitch needs audiomentations: pip install 'sertool\[augment\]'$"):
        make("pitch")
    make("gaussian-noise")
    make("polarity")


def test_augment_writes_what_they_make(command, clip, tmp_path):
    path = clip(tmp_path / "in" / "a.wav", seconds=0.5)
    wanted = ["--with", "pitch:low=2,high=2", "--with", "gaussian-noise", "--with", "polarity", "--with", "gain"]
    answer = command("augment", tmp_path / "in", tmp_path / "out", *wanted, "--copies", "2")
    assert answer == (0, "", "1 augmented, 2 variants each, 0 failed\n")
    first, second = (audio.read(tmp_path / "out" / copy / "a.wav") for copy in "12")
    assert len(first) == len(audio.read(path))
    assert not np.array_equal(first, second)


def test_they_are_listed_without_importing_anything_heavy():
    code = """
import sys
from sertool.plugins import load_plugins
for name in ("gaussian-noise", "pitch", "polarity"):
    print(load_plugins().get("augmentations", name).summary)
print({"audiomentations", "librosa", "scipy", "torch"} & {*sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == [
        "white noise at a random level: low, high (standard deviation; full scale is 1)",
        "a pitch shift at the same speed: low, high (semitones)",
        "every sample multiplied by -1: no options",
        "set()",
    ]
