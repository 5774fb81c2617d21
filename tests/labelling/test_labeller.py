"""One recording to its rows: the same from a file, an array, a thread, a bundle or a lone model file."""

import pickle
import random
import shutil
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile

from sertool import bundle
from sertool.errors import AudioError, BundleError, UsageError
from sertool.labelling import Labeller

SPEECH = sorted((bundle.bundled_folder() / "wav2small" / "samples").glob("*.wav"))[0]
OUTPUTS = ("arousal", "dominance", "valence")


@pytest.fixture(scope="module")
def without_vad():
    """Tones are no speech."""
    return Labeller(vad=False)


def values(row):
    return [row[name] for name in OUTPUTS]


@pytest.mark.slow("takes about a second")
def test_a_file_and_its_samples_have_the_same_labels(tmp_path, clip, without_vad):
    path = clip(tmp_path / "a.wav", 11.0)
    samples, rate = soundfile.read(path)
    assert without_vad.label(path) == without_vad.label(str(path)) == without_vad.label(samples, rate)
    assert list(without_vad.windows(path)) == list(without_vad.windows(samples, rate))


@pytest.mark.parametrize("form", ["float32", "float64", "int16", "int32"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_an_array_of_any_rate_type_and_width_is_labelled_as_the_file_is(tmp_path, clip, labeller, form, channels, rate):
    path = clip(tmp_path / "a.wav", 0.9, rate, channels)
    samples, _ = soundfile.read(path, dtype=form)
    found, expected = labeller.label(samples, rate), labeller.label(path)
    np.testing.assert_allclose(values(found), values(expected), atol=1e-5)
    assert (found["start"], found["end"]) == (0.0, 0.9)


@pytest.mark.slow("takes about a second")
def test_the_average_is_weighted_by_duration(tmp_path, clip, without_vad):
    samples, rate = soundfile.read(clip(tmp_path / "a.wav", 19.0))
    samples[128_000:] *= np.linspace(1, 0.01, len(samples) - 128_000)  # so that the windows differ
    rows = list(without_vad.windows(samples, rate))
    assert [(row["start"], row["end"]) for row in rows] == [(0, 8), (8, 16), (16, 19)]
    whole = without_vad.label(samples, rate)
    assert (whole["start"], whole["end"]) == (0, 19)
    for name in OUTPUTS:
        expected = (8 * rows[0][name] + 8 * rows[1][name] + 3 * rows[2][name]) / 19
        assert whole[name] == pytest.approx(expected, abs=1e-9)
        assert len({row[name] for row in rows}) == 3


def test_a_window_is_labelled_as_if_it_were_alone(tmp_path, clip, without_vad):
    samples, rate = soundfile.read(clip(tmp_path / "a.wav", 17.0))
    rows = list(without_vad.windows(samples, rate))
    assert values(rows[1]) == values(next(without_vad.windows(samples[8 * rate : 17 * rate], rate)))


def test_a_recording_of_8_seconds_is_one_window(labeller):
    rows = list(labeller.windows(np.resize(soundfile.read(SPEECH)[0], 128_000), 16_000))
    assert [(row["start"], row["end"]) for row in rows] == [(0, 8)]


@pytest.mark.parametrize(
    ("window", "hop", "expected"),
    [
        (2.0, None, [(0, 2), (2, 4), (4, 5)]),
        (2.0, 1.0, [(0, 2), (1, 3), (2, 4), (3, 5)]),
        (4.5, None, [(0, 5)]),
    ],
)
def test_window_and_hop_cut_as_they_say(tmp_path, clip, window, hop, expected):
    rows = list(Labeller(window=window, hop=hop, vad=False).windows(clip(tmp_path / "a.wav", 5.0)))
    assert [(row["start"], row["end"]) for row in rows] == expected


@pytest.mark.parametrize(
    "options",
    [{"window": 0.001}, {"window": -1.0}, {"hop": 0.0}, {"hop": 9.0}, {"window": float("nan")}, {"hop": float("inf")}]
    + [{"window": float("inf")}, {"hop": float("nan")}],
)
def test_an_impossible_window_or_hop_is_refused(options):
    with pytest.raises(UsageError, match=r"window .* hop .* must"):
        Labeller(**options)


def test_silence_is_said_to_be_silent(labeller):
    with pytest.raises(AudioError, match=r"^silent: "):
        labeller.label(np.zeros(16_000), 16_000)
    dither = np.random.default_rng(0).choice([-1, 0, 1], 16_000).astype(np.int16)
    with pytest.raises(AudioError, match=r"^silent: "):
        labeller.label(dither, 16_000)


def test_a_soft_recording_is_not_silent(tone, labeller):
    assert labeller.label(tone(0.5) * 0.003, 16_000)["error"] is None


def test_a_silent_window_has_an_error_row_and_no_part_in_the_mean(tone, without_vad):
    samples = np.concatenate([tone(8.0), np.zeros((128_000, 1)), tone(4.0, seed=1)])
    rows = list(without_vad.windows(samples, 16_000))
    assert [(row["start"], row["end"]) for row in rows] == [(0, 8), (8, 16), (16, 20)]
    assert rows[1]["error"].startswith("silent")
    assert values(rows[1]) == [None] * 3
    assert rows[0]["error"] is rows[2]["error"] is None
    whole = without_vad.label(samples, 16_000)
    assert whole["error"] is None
    expected = (8 * np.array(values(rows[0])) + 4 * np.array(values(rows[2]))) / 12
    np.testing.assert_allclose(values(whole), expected, atol=1e-9)


def test_one_sample_too_few_is_too_short_and_the_shortest_is_not(tone, labeller):
    shortest = labeller.bundle.manifest.shortest_samples
    samples = tone(0.1)[:, 0]
    assert labeller.label(samples[:shortest], 16_000)["error"] is None
    with pytest.raises(AudioError, match=f"too short: {shortest - 1} samples .* needs {shortest}"):
        labeller.label(samples[: shortest - 1], 16_000)


def test_no_samples_are_empty(labeller):
    with pytest.raises(AudioError, match="empty"):
        labeller.label(np.zeros(0), 16_000)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_with_its_place(tone, labeller, value):
    samples = tone(0.5)[:, 0]
    samples[123] = value
    with pytest.raises(AudioError, match="NaN or infinity at sample 123"):
        labeller.label(samples, 16_000)


def test_an_array_without_its_rate_is_refused(labeller):
    with pytest.raises(UsageError, match="needs its rate"):
        labeller.label(np.ones(16_000))


def test_a_lone_model_file_labels_as_its_bundle_does(tmp_path, clip, without_vad):
    shutil.copy(without_vad.bundle.file(without_vad.runtime.variant), tmp_path / "elsewhere.onnx")
    brought = bundle.beside(without_vad.bundle.path, without_vad.runtime.variant)
    for name in brought:  # a frozen encoder that the shipped models share
        shutil.copy(bundle.place(without_vad.bundle.path, name), tmp_path)
    alone = Labeller(str(tmp_path / "elsewhere.onnx"), vad=False)
    path = clip(tmp_path / "a.wav", 9.5)
    assert list(alone.windows(path)) == list(without_vad.windows(path))
    assert (alone.outputs, alone.window) == (without_vad.outputs, without_vad.window)


@pytest.mark.parametrize("model", ["no-such-model", "no/such/folder", "no-such.onnx"])
def test_an_unknown_model_names_those_that_are_there(model):
    with pytest.raises(BundleError, match=f"no model '{model}' .*wav2small"):
        Labeller(model)


def test_an_unknown_variant_names_those_that_are_there():
    with pytest.raises(BundleError, match=r"no variant 'int7' .*int8"):
        Labeller(variant="int7")


def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(BundleError, match=r"a\.onnx: ") as error:
        Labeller(str(tmp_path / "a.onnx"))
    assert "\n" not in str(error.value)


def test_a_file_is_labelled_in_blocks_and_never_held_whole(tmp_path, labeller):
    soundfile.write(tmp_path / "a.wav", np.zeros(600 * 8_000, np.int16), 8_000)  # 38 MB as float32 at 16 kHz
    tracemalloc.start()
    try:
        with pytest.raises(AudioError, match="silent"):
            labeller.label(tmp_path / "a.wav")
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


@pytest.mark.slow("takes about a second")
def test_shuffled_files_in_threads_are_labelled_exactly_as_one_by_one(tmp_path, clip, labeller):
    paths = [clip(tmp_path / f"{i}.wav", 0.05 + 0.02 * i, 16_000, 1 + i % 2, seed=i) for i in range(40)]
    expected = {path: labeller.label(path) for path in paths}
    assert len({tuple(values(row)) for row in expected.values()}) == len(paths)
    random.Random(0).shuffle(paths)
    with ThreadPoolExecutor(4) as pool:
        assert dict(zip(paths, pool.map(labeller.label, paths), strict=True)) == expected


def test_a_labeller_goes_to_another_process():
    made = Labeller("wav2small", window=4.0, vad=False)
    again = pickle.loads(pickle.dumps(made))
    samples = soundfile.read(SPEECH)[0]
    assert again.label(samples, 16_000) == made.label(samples, 16_000)
    assert (again.window, again.vad) == (4.0, False)


def test_a_short_recording_without_speech_is_an_error_unless_it_is_labelled_regardless():
    noise = 0.01 * np.random.default_rng(0).standard_normal(3 * 16_000).astype(np.float32)
    with pytest.raises(AudioError, match="no speech found"):
        Labeller("wav2small").label(noise, 16_000)
    with pytest.raises(AudioError, match="no speech found"):
        next(Labeller("wav2small").speech_windows(noise, 16_000))
    assert next(Labeller("wav2small").windows(noise, 16_000)).error.startswith("no speech found")
    for labeller in (Labeller("wav2small", regardless=True), Labeller("wav2small", vad=False)):
        assert labeller.label(noise, 16_000).arousal is not None


def test_other_windows_share_the_model():
    labeller = Labeller("wav2small")
    other = labeller.cut(2.0, 0.5, False)
    assert other.runtime is labeller.runtime
    assert (other.window, other.hop, other.vad) == (2.0, 0.5, False)
    assert (labeller.window, labeller.hop, labeller.vad) == (8.0, 8.0, True)
    same = Labeller("wav2small", window=2.0, hop=0.5, vad=False)
    assert other.arguments == same.arguments
    with pytest.raises(UsageError, match="hop must be"):
        labeller.cut(2.0, 3.0, True)
