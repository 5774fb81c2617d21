"""Pre-processing steps against librosa and scipy; what is refused, and how."""

import pickle

import librosa
import numpy as np
import pytest
import scipy.signal

from sertool import audio, bundle
from sertool.errors import AudioError, UsageError
from sertool.features import steps
from sertool.features.steps import build

RATE = 16_000
SPEECH = sorted((bundle.bundled_folder() / "wav2small" / "samples").glob("*.wav"))


def trim(samples, **options):
    return build([{"step": "trim", **options}])(samples)


def bounds(samples, **options):
    """[first, end) of what trim keeps: it is told by numbering the samples in memory."""
    kept = trim(samples, **options)
    first = (kept.__array_interface__["data"][0] - samples.__array_interface__["data"][0]) // samples.itemsize
    assert np.array_equal(kept, samples[first : first + len(kept)])
    return [first, first + len(kept)]


def of_librosa(samples, top_db=20.0, frame=2048, hop=512):
    return librosa.effects.trim(samples, top_db=top_db, frame_length=frame, hop_length=hop)[1].tolist()


def syllables(seed=0, seconds=3.0):
    """Noise whose level goes up and down by up to 80 dB, beginning and ending softly."""
    rng = np.random.default_rng(seed)
    n = round(seconds * RATE)
    decibels = np.interp(np.arange(n), np.linspace(0, n, 24), np.r_[-70, rng.uniform(-80, 0, 22), -75])
    return (0.2 * rng.standard_normal(n) * 10 ** (decibels / 20)).astype(np.float32)


@pytest.mark.slow("takes about a second")
@pytest.mark.parametrize("path", SPEECH, ids=lambda path: path.stem)
@pytest.mark.parametrize("top_db", [5, 12.5, 20, 33, 60])
def test_trims_speech_where_librosa_does(path, top_db):
    speech = audio.read(path)
    rng = np.random.default_rng(1)
    pauses = [(1e-3 * rng.standard_normal(n)).astype(np.float32) for n in (9_000, 13_337)]
    for samples in (speech, speech[137:-411], np.concatenate([pauses[0], speech, pauses[1]])):
        assert bounds(samples, top_db=top_db) == of_librosa(samples, top_db)
    assert 0 < bounds(samples)[0] < bounds(samples)[1] < len(samples)


@pytest.mark.parametrize(
    ("frame", "hop"), [(2048, 512), (2048, 1024), (2047, 512), (400, 160), (512, 511 // 2), (2, 1)]
)
def test_trims_any_frame_where_librosa_does(frame, hop):
    for seed in range(5):
        samples = syllables(seed, 0.5 if frame == 2 else 3.0)
        for top_db in (3, 10, 20, 40):
            assert bounds(samples, top_db=top_db, frame=frame, hop=hop) == of_librosa(samples, top_db, frame, hop)


@pytest.mark.parametrize("n", [1, 2, 100, 511, 512, 513, 1024, 2047, 2048, 2049, 2560, 4096])
def test_trims_short_clips_where_librosa_does(n):
    rng = np.random.default_rng(n)
    noise = rng.standard_normal(n).astype(np.float32)
    click = np.zeros(n, np.float32)
    click[n * 2 // 3] = 1
    for samples in (noise, noise * np.geomspace(1, 1e-4, n, dtype=np.float32), click, np.zeros(n, np.float32)):
        for top_db in (1, 20):
            assert bounds(samples, top_db=top_db) == of_librosa(samples, top_db)
            assert trim(samples, top_db=top_db).size


def test_a_click_is_all_that_is_kept():
    samples = np.zeros(4 * RATE, np.float32)
    samples[30_000] = 0.5
    first, end = bounds(samples)
    assert [first, end] == of_librosa(samples)
    assert first <= 30_000 < end <= first + 2 * 2048


@pytest.mark.parametrize("level", [0, 1e-7, 0.9e-5])
def test_silence_is_not_trimmed(level):
    """Nothing of it is fainter than the rest; librosa takes 1e-5 for the faintest level there is."""
    samples = np.zeros(2 * RATE, np.float32)
    samples[RATE : RATE + 4096] = level
    assert bounds(samples) == of_librosa(samples) == [0, 2 * RATE]
    samples *= 1000
    assert bounds(samples) == of_librosa(samples)


def test_long_audio_is_trimmed_block_by_block_to_the_same_samples(monkeypatch):
    samples = np.concatenate([syllables(seed) for seed in range(4)])
    whole = bounds(samples), bounds(samples, frame=400, hop=160)
    for block in (1, 512, 7_000):
        monkeypatch.setattr(steps, "_BLOCK", block)
        assert (bounds(samples), bounds(samples, frame=400, hop=160)) == whole


def test_loud_audio_before_a_soft_end_costs_no_precision():
    """As running sums would: a million loud samples, then a fade from 60 to 100 dB below them."""
    rng = np.random.default_rng(5)
    samples = rng.standard_normal(2**20 + 60_000).astype(np.float32)
    samples[2**20 :] *= np.geomspace(1e-3, 1e-5, 60_000, dtype=np.float32)
    for top_db in (65, 80, 95):
        assert bounds(samples, top_db=top_db) == of_librosa(samples, top_db)


@pytest.mark.parametrize("coefficient", [0, 0.5, 0.97, 1])
def test_pre_emphasis_is_scipys_filter(coefficient):
    samples = syllables()
    change = build([{"step": "pre-emphasis", "coefficient": coefficient}])
    expected = scipy.signal.lfilter([1, -coefficient], [1], samples.astype(np.float64))
    assert np.allclose(change(samples), expected, rtol=0, atol=2e-7)
    assert change(samples)[0] == samples[0]
    assert np.allclose(change(samples)[1:], librosa.effects.preemphasis(samples, coef=coefficient)[1:], atol=2e-7)
    assert change(samples[:1]) == samples[:1]


@pytest.mark.parametrize("scale", [1e-44, 1e-20, 1, 1e30])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_peak_is_the_level(scale, sign):
    samples = (sign * scale * np.array([0.1, -0.5, 1.0, 0.2])).astype(np.float32)
    scaled = build([{"step": "peak", "level": 0.95}])(samples)
    assert np.abs(scaled).max() == np.float32(0.95)
    assert np.allclose(scaled, samples.astype(np.float64) * (0.95 / np.abs(samples.astype(np.float64)).max()))


def test_silence_has_no_peak():
    silence = np.zeros(100, np.float32)
    assert np.array_equal(build([{"step": "peak"}])(silence), silence)


@pytest.mark.parametrize("n", [1, RATE, 2 * RATE - 1, 2 * RATE, 2 * RATE + 1, 5 * RATE])
def test_length_cuts_or_pads_at_the_end(n):
    samples = np.arange(1, n + 1, dtype=np.float32)
    fitted = build([{"step": "length", "seconds": 2}])(samples)
    assert len(fitted) == 2 * RATE
    assert np.array_equal(fitted[:n], samples[: 2 * RATE])
    assert not fitted[n:].any()


def test_a_voice_note_is_the_papers_four_steps():
    """arXiv 2512.23435 (docs/numerics.md), redone here with librosa and scipy."""
    assert steps.VOICE_NOTE == (
        {"step": "trim", "top_db": 20.0, "frame": 2048, "hop": 512},
        {"step": "pre-emphasis", "coefficient": 0.97},
        {"step": "peak", "level": 0.95},
        {"step": "length", "seconds": 8.0},
    )
    for path in SPEECH:
        speech = np.concatenate([np.zeros(5000, np.float32), audio.read(path)])
        trimmed = librosa.effects.trim(speech, top_db=20)[0]
        expected = scipy.signal.lfilter([1, -0.97], [1], trimmed)
        expected = (0.95 * expected / np.abs(expected).max())[: 8 * RATE]
        expected = np.pad(expected, (0, 8 * RATE - len(expected)))
        assert np.allclose(build(steps.VOICE_NOTE)(speech), expected, atol=2e-6)


def test_defaults_are_the_voice_notes():
    assert build([{"step": entry["step"]} for entry in steps.VOICE_NOTE]) == build(list(steps.VOICE_NOTE))


def test_steps_are_done_in_their_order():
    samples = syllables()
    peak, emphasis = {"step": "peak"}, {"step": "pre-emphasis"}
    assert np.abs(build([emphasis, peak])(samples)).max() == np.float32(0.95)
    assert np.abs(build([peak, emphasis])(samples)).max() != np.float32(0.95)


def test_the_input_is_never_changed():
    samples = syllables()
    before = samples.copy()
    samples.flags.writeable = False
    for entries in ([entry] for entry in steps.VOICE_NOTE):
        result = build(entries)(samples)
        assert result.dtype == np.float32
    assert np.array_equal(samples, before)


def test_no_steps_are_the_identity():
    for samples in (syllables(), np.zeros(0, np.float32), np.array([np.nan], np.float32)):
        assert build([])(samples) is samples


def test_steps_travel_to_other_processes():
    chain = build(steps.VOICE_NOTE)
    assert np.array_equal(pickle.loads(pickle.dumps(chain))(syllables()), chain(syllables()))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("entry", steps.VOICE_NOTE, ids=lambda entry: entry["step"])
def test_what_is_no_number_is_an_error(entry, bad):
    """librosa.effects.trim answers NaN with an empty signal (librosa#2086)."""
    samples = syllables()
    samples[8_000] = bad
    with pytest.raises(AudioError, match=r"^NaN or infinity in the samples at 0\.500 s$"):
        build([entry])(samples)


@pytest.mark.parametrize("entry", steps.VOICE_NOTE, ids=lambda entry: entry["step"])
def test_no_samples_are_an_error(entry):
    with pytest.raises(AudioError, match=r"^empty: no samples$"):
        build([entry])(np.zeros(0, np.float32))


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        (None, "must be a list"),
        ({"step": "trim"}, "must be a list"),
        ("trim", "must be a list"),
        (["trim"], "'trim': unknown step; \"step\" is one of trim, pre-emphasis, peak, length"),
        ([{}], "unknown step"),
        ([{"step": "vad"}], "'vad'.*unknown step"),
        ([{"step": ["trim"]}], "unknown step"),
        ([{"step": None}], "unknown step"),
        ([{"step": "peak"}, {"step": "trim", "db": 3}], "trim has no option 'db'; it takes top_db, frame, hop"),
        ([{"step": "peak", 3: 3}], "peak has no option 3"),
    ],
)
def test_an_entry_that_names_no_step_or_option(entries, reason):
    with pytest.raises(UsageError, match=rf"^pre-processing.*{reason}") as caught:
        build(entries)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [True, False, None, "20", [20], {}, -1, float("nan"), float("inf"), 10**400, 1j])
@pytest.mark.parametrize(("step", "option"), [(e["step"], option) for e in steps.VOICE_NOTE for option in list(e)[1:]])
def test_a_value_that_is_none(step, option, value):
    with pytest.raises(UsageError, match=rf"^pre-processing: {step}: {option} must be a .*number from .* to .*, not "):
        build([{"step": step, option: value}])


@pytest.mark.parametrize(
    "entry",
    [
        {"step": "trim", "top_db": 0},  # librosa's comparison is strict: nothing would be left
        {"step": "trim", "frame": 1},
        {"step": "trim", "frame": 2048.0},
        {"step": "trim", "frame": 10**9},
        {"step": "trim", "hop": 0},
        {"step": "trim", "hop": 1025},  # samples in no frame
        {"step": "trim", "hop": 512.5},
        {"step": "pre-emphasis", "coefficient": 1.01},
        {"step": "peak", "level": 0},
        {"step": "peak", "level": 1.5},
        {"step": "length", "seconds": 0},
        {"step": "length", "seconds": 1e9},
    ],
    ids=str,
)
def test_a_value_out_of_range(entry):
    with pytest.raises(UsageError, match=rf"^pre-processing: {entry['step']}: {list(entry)[1]} must be"):
        build([entry])
