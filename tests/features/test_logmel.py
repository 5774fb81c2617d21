"""LogMel in C, in torch and as ONNX against float64, librosa and torchlibrosa; the same bits however it is run."""

import functools
import importlib.util
import sys
from pathlib import Path

import librosa
import numpy as np
import onnxruntime
import pytest
import soundfile
import torch
import torchlibrosa

from sertool import Source
from sertool.features import LogMel, logmel, mel
from sertool.kernel import available_isas
from sertool.nn import LogMel as TorchLogMel
from sertool.plugins import load_plugins

ROOT = Path(__file__).resolve().parents[2]
SPEECH = sorted((ROOT / "plugins" / "sertool_wav2small" / "samples").glob("*.wav"))
SIZES = {64: (32, 26), 144: (72, 58)}  # n_fft: (hop, mels), from docs/numerics.md
LENGTHS = [33, 34, 63, 64, 65, 72, 73, 74, 100, 16_000, 80_001]
FITTING = [(n_fft, n) for n_fft in SIZES for n in LENGTHS if n > n_fft // 2]
TOO_SHORT = [(n_fft, n) for n_fft in SIZES for n in [0, 1, 2, 32, *LENGTHS] if n <= n_fft // 2]
EDGE_DB = -60.0  # the contract's border between its two tolerances
ABOVE, BELOW = 2e-3, 0.1
OURS = ["c", "torch", "onnx"]

pytestmark = pytest.mark.filterwarnings("ignore:Empty filters detected", "ignore:n_fft=.* is too large")


def noise(n: int, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng([seed, n]).standard_normal(n)).astype(np.float32)


def impulse(at: int, n: int = 8000) -> np.ndarray:
    x = np.zeros(n, np.float32)
    x[at] = 1
    return x


def tone(hz: float, level: float = 1.0, n: int = 16_000) -> np.ndarray:
    return level * np.sin(2 * np.pi * hz * np.arange(n) / 16_000)


SIGNALS = {
    **{
        f"speech_{path.stem}": functools.partial(lambda p: soundfile.read(p, dtype="float32")[0], path)
        for path in SPEECH
    },
    "noise": lambda: noise(16_000),
    "loud_noise": lambda: np.random.default_rng(1).uniform(-1, 1, 16_000),
    "quiet_noise": lambda: noise(16_000, 1e-5),
    "silence": lambda: np.zeros(16_000),
    "dc": lambda: np.ones(16_000),
    "dc_negative": lambda: np.full(16_000, -0.3),
    "impulse_first": lambda: impulse(0),
    "impulse_middle": lambda: impulse(4000),
    "impulse_last": lambda: impulse(7999),
    "nyquist": lambda: np.where(np.arange(16_000) % 2, -1.0, 1.0),
    "sine": lambda: tone(997),
    "clipped_sine": lambda: np.clip(tone(440, 4), -1, 1),
    "hard_clipped_sine": lambda: np.clip(tone(3001, 100), -1, 1),
}


def signal(name: str) -> np.ndarray:
    return np.ascontiguousarray(SIGNALS[name](), dtype=np.float32)


# ---- references and implementations -----------------------------------------------------------------------------


@functools.cache
def librosa_filters(n_fft: int, dtype=np.float64) -> np.ndarray:
    return librosa.filters.mel(sr=16_000, n_fft=n_fft, n_mels=SIZES[n_fft][1], fmin=0, fmax=8000, dtype=dtype)


def reference(samples: np.ndarray, n_fft: int) -> np.ndarray:
    """float64, word for word from docs/numerics.md."""
    hop = SIZES[n_fft][0]
    padded = np.pad(np.asarray(samples, np.float64), n_fft // 2, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    frames = np.stack([padded[i * hop : i * hop + n_fft] for i in range(1 + len(samples) // hop)])
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    return 10 * np.log10(np.maximum(power @ librosa_filters(n_fft).T, 1e-10))


@pytest.fixture(scope="module")
def onnx_sessions(tmp_path_factory):
    """Our torch module through our exporter, by n_fft."""
    folder = tmp_path_factory.mktemp("logmel")
    sessions = {}
    for n_fft in SIZES:
        source = Source(TorchLogMel(n_fft), torch.zeros(1, 80_000))
        load_plugins().get("exporters", "onnx").export(source, folder / f"{n_fft}.onnx", {})
        sessions[n_fft] = onnxruntime.InferenceSession(folder / f"{n_fft}.onnx", providers=["CPUExecutionProvider"])
    return sessions


@pytest.fixture
def run(onnx_sessions):
    """run(implementation, samples, n_fft) -> [frames, mels]."""

    def run(implementation: str, samples: np.ndarray, n_fft: int) -> np.ndarray:
        if implementation == "c":
            return logmel(samples, n_fft)
        if implementation == "torch":
            with torch.inference_mode():
                return TorchLogMel(n_fft)(torch.from_numpy(samples)[None])[0].numpy()
        return onnx_sessions[n_fft].run(None, {"waveform": samples[None]})[0][0]

    return run


def with_librosa(samples: np.ndarray, n_fft: int) -> np.ndarray:
    # Padded here, not by librosa.stft(center=True, pad_mode="reflect"): librosa pads its last frame by reflecting a
    # slice of n_fft / 2 samples only, one too few for reflect padding where len(samples) % hop == 0, and the end
    # comes out wrong.
    padded = np.pad(samples, n_fft // 2, mode="reflect")
    spectrum = librosa.stft(padded, n_fft=n_fft, hop_length=SIZES[n_fft][0], window="hann", center=False)
    power = librosa_filters(n_fft, np.float32) @ np.abs(spectrum) ** 2
    return librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None).T


def with_torchlibrosa(samples: np.ndarray, n_fft: int) -> np.ndarray:
    hop, mels = SIZES[n_fft]
    spectrogram = torchlibrosa.Spectrogram(n_fft=n_fft, hop_length=hop, win_length=n_fft, freeze_parameters=True)
    bank = torchlibrosa.LogmelFilterBank(
        sr=16_000, n_fft=n_fft, n_mels=mels, fmin=0, fmax=8000, amin=1e-10, ref=1.0, top_db=None, freeze_parameters=True
    )
    with torch.inference_mode():
        return bank(spectrogram(torch.from_numpy(samples)[None]))[0, 0].numpy()


PEERS = {"librosa": with_librosa, "torchlibrosa": with_torchlibrosa}


def assert_close(got: np.ndarray, expected: np.ndarray, above: float = ABOVE, below: float = BELOW) -> None:
    assert got.shape == expected.shape
    assert got.dtype == np.float32
    assert np.isfinite(got).all()
    error, loud = np.abs(got - expected), expected > EDGE_DB
    assert error[loud].max(initial=0) <= above
    assert error[~loud].max(initial=0) <= below


# ---- numbers ----------------------------------------------------------------------------------------------------


@pytest.mark.slow("compares millions of frames")
@pytest.mark.parametrize("implementation", OURS)
@pytest.mark.parametrize("n_fft", SIZES)
@pytest.mark.parametrize("name", SIGNALS)
def test_keeps_the_contract_against_float64(run, name, n_fft, implementation):
    samples = signal(name)
    assert_close(run(implementation, samples, n_fft), reference(samples, n_fft))


@pytest.mark.parametrize("implementation", OURS)
@pytest.mark.parametrize(("n_fft", "length"), FITTING)
def test_keeps_the_contract_at_every_length(run, n_fft, length, implementation):
    samples = noise(length, 0.3)
    assert_close(run(implementation, samples, n_fft), reference(samples, n_fft))


# A full-scale sweep and a large offset under faint noise have more than 120 dB between one frame's loudest and quietest
# band, more than float32 sums can hold: there the contract is asked for down to 90 dB under the frame's loudest band.
@pytest.mark.parametrize("implementation", OURS)
@pytest.mark.parametrize("n_fft", SIZES)
@pytest.mark.parametrize("name", ["sweep", "offset"])
def test_keeps_the_contract_at_the_limit_of_float32(run, name, n_fft, implementation):
    t = np.arange(16_000) / 16_000
    samples = np.sin(2 * np.pi * 4000 * t * t) if name == "sweep" else 0.5 + noise(16_000, 1e-4)
    samples = samples.astype(np.float32)
    expected = reference(samples, n_fft)
    within = expected > expected.max(axis=1, keepdims=True) - 90
    got = run(implementation, samples, n_fft)
    assert_close(np.where(within, got, expected.astype(np.float32)), expected)


@pytest.mark.parametrize("implementation", OURS)
@pytest.mark.parametrize(("n_fft", "length"), TOO_SHORT)
def test_too_short_an_input_is_an_error(run, n_fft, length, implementation):
    if implementation == "onnx":
        with pytest.raises(Exception, match=r"Pad node.*reflect"):
            run(implementation, noise(length), n_fft)
    else:
        with pytest.raises(ValueError, match=r"too few samples|at least"):
            run(implementation, noise(length), n_fft)


# Two float32 implementations, each with its own rounding: measured 4e-4 dB and 0.007 dB.
@pytest.mark.slow("compares millions of frames")
@pytest.mark.parametrize("implementation", OURS)
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("n_fft", SIZES)
@pytest.mark.parametrize("name", ["noise", *(name for name in SIGNALS if name.startswith("speech"))])
def test_agrees_with_librosa_and_torchlibrosa(run, name, n_fft, peer, implementation):
    samples = signal(name)
    assert_close(run(implementation, samples, n_fft), PEERS[peer](samples, n_fft), above=1e-3, below=0.02)


def test_a_wrong_constant_would_break_the_contract():
    """The reference tells a symmetric from a periodic window and HTK's from Slaney's mel."""
    samples = signal("noise")
    expected, window = reference(samples, 64), np.hanning(64)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples.astype(np.float64), 32, mode="reflect"), 64)[::32]
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    symmetric = 10 * np.log10(np.maximum(power @ librosa_filters(64).T, 1e-10))
    assert np.abs(symmetric - expected).max() > 100 * ABOVE


@pytest.mark.parametrize("n_fft", SIZES)
def test_filters_are_librosas(n_fft):
    hop, mels = SIZES[n_fft]
    assert (mel.geometry(n_fft).hop, mel.geometry(n_fft).n_mels) == (hop, mels)
    np.testing.assert_allclose(mel.mel_filters(n_fft, mels), librosa_filters(n_fft), rtol=0, atol=1e-15)
    np.testing.assert_allclose(mel.hann(n_fft), librosa.filters.get_window("hann", n_fft), rtol=0, atol=1e-15)


def test_unknown_n_fft_is_an_error():
    with pytest.raises(ValueError, match="n_fft 128"):
        LogMel(128)


@pytest.mark.parametrize("n_fft", SIZES)
def test_normalise_equals_normalising_in_float64_first(n_fft):
    for samples in [
        signal(SPEECH and f"speech_{SPEECH[0].stem}"),
        noise(5000, 0.01),
        noise(5000, 0.2) + np.float32(0.4),
    ]:
        exact = samples.astype(np.float64)
        exact = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-7)
        assert_close(logmel(samples, n_fft, normalise=True), reference(exact, n_fft))


@pytest.mark.parametrize("n_fft", SIZES)
def test_normalised_silence_stays_silence(n_fft):
    assert (logmel(np.zeros(4000), n_fft, normalise=True) == -100).all()


@pytest.mark.parametrize("implementation", OURS)
@pytest.mark.parametrize("n_fft", SIZES)
def test_frames_are_one_and_a_frame_per_hop(run, n_fft, implementation):
    hop, mels = SIZES[n_fft]
    shortest = n_fft // 2 + 1
    lengths = [*range(shortest, shortest + 3 * hop, 7), *(k * hop + d for k in (16, 17, 33) for d in (-1, 0, 1))]
    for n in lengths if implementation == "c" else lengths[::5]:
        assert run(implementation, noise(n), n_fft).shape == (1 + n // hop, mels)


def test_any_real_array_is_taken_as_float32():
    samples = noise(500)
    expected = logmel(samples)
    assert np.array_equal(logmel(samples.astype(np.float64)), expected)
    assert np.array_equal(logmel(samples.tolist()), expected)
    assert np.array_equal(logmel(np.repeat(samples, 2)[::2]), expected)
    with pytest.raises(ValueError, match=r"\[n\]"):
        logmel(samples[None])


# ---- bits -------------------------------------------------------------------------------------------------------


def in_pieces(kernel: LogMel, samples: np.ndarray, cuts) -> np.ndarray:
    return np.concatenate([*(kernel.push(piece) for piece in np.split(samples, cuts)), kernel.finish()])


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("n_fft", SIZES)
def test_same_bits_however_the_input_is_cut(n_fft, isa):
    rng = np.random.default_rng(7)
    for length in [n_fft // 2 + 1, n_fft, 1000, 3001, 12_345]:
        samples = noise(length)
        whole = logmel(samples, n_fft, isa=isa)
        kernel = LogMel(n_fft, isa)
        assert np.array_equal(in_pieces(kernel, samples, []), whole)
        for pieces in [1, 2, 5, 40, 300]:
            cuts = np.sort(rng.integers(0, length + 1, pieces))  # equal neighbours: empty pushes
            assert np.array_equal(in_pieces(kernel, samples, cuts), whole)
        hop = SIZES[n_fft][0]
        for size in [hop - 1, hop, hop + 1, n_fft, 16 * hop, 15 * hop + n_fft + 1, 15 * hop + n_fft + 2]:
            assert np.array_equal(in_pieces(kernel, samples, range(size, length, size)), whole)


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("n_fft", SIZES)
def test_same_bits_one_sample_at_a_time(n_fft, isa):
    samples = noise(1500)
    got = in_pieces(LogMel(n_fft, isa), samples, range(1, len(samples)))
    assert np.array_equal(got, logmel(samples, n_fft, isa=isa))


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("n_fft", SIZES)
def test_same_bits_as_plain_c(n_fft, isa):
    hop = SIZES[n_fft][0]
    hard = {
        "subnormal": np.full(2000, 1e-40) * np.arange(2000),
        "largest": noise(2000, 2e11).clip(-1e12, 1e12),
        **{str(n): noise(n) for n in range(n_fft // 2 + 1, 20 * hop, hop // 2 + 1)},  # every number of lanes in use
    }
    for samples in [*(signal(name) for name in SIGNALS), *hard.values()]:
        got = logmel(samples, n_fft, isa=isa)
        assert np.isfinite(got).all()
        assert np.array_equal(got, logmel(samples, n_fft, isa="plain"))
        assert np.array_equal(logmel(samples, n_fft, True, isa), logmel(samples, n_fft, True, "plain"))


def test_plain_and_best_are_always_to_be_had():
    assert {"best", "plain"} <= set(available_isas())


# ---- errors and reuse -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e13, -1e13])
@pytest.mark.parametrize("n_fft", SIZES)
def test_an_unusable_sample_is_refused_as_if_never_pushed(n_fft, bad):
    samples = noise(3167)  # one less than a multiple of both hops: a sample too many would give a frame more
    expected = logmel(samples, n_fft)
    for start in [0, 1, n_fft, 1500]:
        for length in [1, 50, 1000]:
            for at in {0, length // 2, length - 1}:
                kernel = LogMel(n_fft)
                before = kernel.push(samples[:start])
                broken = noise(length, seed=1)
                broken[at] = bad
                with pytest.raises(ValueError, match="NaN, infinity or a value out of range"):
                    kernel.push(broken)
                after = [kernel.push(samples[start:]), kernel.finish()]
                assert np.array_equal(np.concatenate([before, *after]), expected)


@pytest.mark.parametrize("n_fft", SIZES)
def test_finish_leaves_it_ready_for_the_next_recording(n_fft):
    kernel = LogMel(n_fft)
    for length in [5000, n_fft // 2 + 1, 5000, 777, 16_000]:
        samples = noise(length, seed=length)
        got = np.concatenate([kernel.push(samples[:40]), kernel.push(samples[40:]), kernel.finish()])
        assert np.array_equal(got, logmel(samples, n_fft))


def test_finish_keeps_the_normalisation():
    kernel, samples = LogMel(), noise(1000)
    kernel.normalise(0.25, 2.0)
    first, second = (np.concatenate([kernel.push(samples), kernel.finish()]) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(first, logmel((samples - np.float32(0.25)) * np.float32(2)))


@pytest.mark.parametrize("n_fft", SIZES)
def test_finishing_too_early_is_an_error_and_the_next_recording_may_begin(n_fft):
    kernel, samples = LogMel(n_fft), noise(2000)
    kernel.push(samples[:20])
    with pytest.raises(ValueError, match="too few samples"):
        kernel.finish()
    assert np.array_equal(np.concatenate([kernel.push(samples), kernel.finish()]), logmel(samples, n_fft))


def test_normalising_by_what_is_no_number_is_refused():
    for mean, scale in [(np.nan, 1), (0, np.inf)]:
        with pytest.raises(ValueError, match="NaN"):
            LogMel().normalise(mean, scale)


def test_an_unknown_instruction_set_names_those_that_are_there():
    with pytest.raises(ValueError, match=r"'sse9' is not available on this CPU .*plain"):
        LogMel(isa="sse9")


# ---- generated tables -------------------------------------------------------------------------------------------


def test_committed_tables_are_what_make_tables_writes(monkeypatch):
    monkeypatch.setattr(sys, "path", sys.path[:])  # make_tables.py extends it
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "csrc" / "make_tables.py")
    make_tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_tables)
    for n_fft, geometry in mel.GEOMETRIES.items():
        assert make_tables.tables(geometry) == (ROOT / "csrc" / f"logmel_{n_fft}.h").read_text()
