"""Wav2Small: the paper's counts, an independent re-implementation, and its ONNX file."""

import librosa
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F

from sertool import Source
from sertool.errors import UsageError
from sertool.nn import LogMel
from sertool.plugins import load_plugins

LENGTHS = [33, 34, 63, 64, 65, 100, 16_000, 80_001, 960_000]


def random_network(outputs: int = 3, seed: int = 0, **options) -> torch.nn.Module:
    """Random weights, and BatchNorm statistics and affine parameters as if trained."""
    torch.manual_seed(seed)
    network = load_plugins().get("models", "wav2small").build(outputs=outputs, **options)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.5)
            torch.nn.init.uniform_(module.running_var, 0.3, 3)
            torch.nn.init.normal_(module.weight, 1, 0.3)
            torch.nn.init.normal_(module.bias, std=0.3)
    return network.eval()


def clip(n: int, seed: int = 0) -> torch.Tensor:
    """Noise under a slow envelope and over an offset, [1, n]."""
    noise = torch.randn(1, n, generator=torch.Generator().manual_seed(seed + n))
    return 0.1 * noise * (1.2 + torch.sin(torch.arange(n) / 900)) + 0.02


def export(network: torch.nn.Module, path, metadata=None):
    load_plugins().get("exporters", "onnx").export(Source(network, clip(80_000)), path, metadata or {})
    return path


def session_of(path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module", params=[3, 4], ids=lambda outputs: f"{outputs}_outputs")
def exported(request, tmp_path_factory):
    """(network, path, session), traced at 5 s."""
    network = random_network(request.param)
    path = export(network, tmp_path_factory.mktemp("wav2small") / "model.onnx", {"sertool": '{"name": "é"}', "b": "2"})
    return network, path, session_of(path)


def reimplemented(
    weights: dict[str, torch.Tensor], waveform: torch.Tensor, transposed=False, centre=False
) -> torch.Tensor:
    """docs/numerics.md once more, in float64, with nothing of sertool's but the trained weights."""
    w = {name: value.double() for name, value in weights.items()}
    x = waveform.double()
    x = x - x.mean(dim=1, keepdim=True)
    x = x / ((x * x).mean(dim=1, keepdim=True) + 1e-7) ** 0.5
    spectrum = torch.stft(
        x, 64, hop_length=32, window=torch.hann_window(64, dtype=x.dtype), pad_mode="reflect", return_complex=True
    )
    mel = torch.from_numpy(librosa.filters.mel(sr=16_000, n_fft=64, n_mels=26, dtype=np.float64))
    x = 10 * torch.log10((mel @ spectrum.abs().square()).clamp(min=1e-10))  # [batch, 26, frames]
    if centre:
        x = torch.stack([torch.stack([band - band.sum() / len(band) for band in one]) for one in x])
    x = x.transpose(1, 2).unsqueeze(1)

    def convolve(x, name):
        x = F.conv2d(x, w[f"{name}.0.weight"], padding=1)
        statistics = w[f"{name}.1.running_mean"], w[f"{name}.1.running_var"]
        return F.relu(F.batch_norm(x, *statistics, w[f"{name}.1.weight"], w[f"{name}.1.bias"]))

    for i in range(3):
        x = convolve(x, f"fine.{i}")
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for i in range(4):
        x = convolve(x, f"coarse.{i}")
    x = F.conv2d(x, w["mix.weight"], w["mix.bias"])
    batch, channels, tokens, rows = x.shape
    assert (channels, rows) == (13, 13)
    if transposed:
        x = x.permute(0, 2, 1, 3).reshape(batch, tokens, 169)
    else:  # every clip's numbers in one line, channel after channel, cut every 169
        x = torch.stack([torch.stack(torch.cat([c.flatten() for c in one]).split(169)) for one in x])
    share = F.linear(x, w["pool.sof.weight"], w["pool.sof.bias"]).exp()
    share = share / share.sum(dim=1, keepdim=True)
    x = (share * F.linear(x, w["pool.lin.weight"], w["pool.lin.bias"])).sum(dim=1)
    return F.linear(x, w["head.weight"], w["head.bias"])


def test_parameter_counts_are_the_papers():
    network = load_plugins().get("models", "wav2small").build()
    assert sum(p.numel() for p in network.parameters()) == 72_659
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 67_577


def test_registered_with_outputs_in_order_and_its_shortest_input():
    model = load_plugins().get("models", "wav2small")
    assert model.outputs == ("arousal", "dominance", "valence")
    assert model.shortest == 33
    assert all(recipe.is_file() for recipe in model.recipes)


@pytest.mark.slow("builds, exports or trains large networks")
@pytest.mark.parametrize("n", [33, 64, 100, 5000, 48_017])
@pytest.mark.parametrize("outputs", [3, 4])
def test_network_equals_a_reimplementation(outputs, n):
    network = random_network(outputs, seed=outputs)
    batch = torch.cat([clip(n), clip(n, seed=1)])
    with torch.inference_mode():
        got, expected = network(batch).double(), reimplemented(network.state_dict(), batch)
        other = reimplemented(network.state_dict(), batch, transposed=True)
    assert got.shape == (2, outputs)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    if n >= 5000:  # and the test can tell the memory order from the transpose
        assert (got - other).abs().max() > 1e-2


@pytest.mark.slow("builds, exports or trains large networks")
@pytest.mark.parametrize("n", LENGTHS)
def test_onnx_agrees_with_torch(exported, n):
    network, _, session = exported
    with torch.inference_mode():
        expected = network(clip(n)).numpy()
    (got,) = session.run(None, {"waveform": clip(n).numpy()})
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= 1e-4


@pytest.mark.parametrize("n", [0, 1, 2, 31, 32])
def test_too_short_an_input_is_an_error_in_both(exported, n):
    network, _, session = exported
    with pytest.raises(ValueError, match="at least 33 samples"):
        network(clip(n))
    with pytest.raises(Exception, match=r"Pad node.*reflect"):
        session.run(None, {"waveform": clip(n).numpy()})


def test_onnx_has_one_batch_and_any_time(exported):
    network, path, session = exported
    model = onnx.load(path)
    (waveform,), (outputs,) = model.graph.input, model.graph.output
    batch, time = waveform.type.tensor_type.shape.dim
    assert (waveform.name, batch.dim_value) == ("waveform", 1)
    assert time.dim_param
    assert not time.HasField("dim_value")
    assert outputs.name == "outputs"
    assert [d.dim_value for d in outputs.type.tensor_type.shape.dim] == [1, network.head.out_features]
    with pytest.raises(Exception, match=r"(?i)got: 2 expected: 1|invalid dimensions"):
        session.run(None, {"waveform": torch.cat([clip(100), clip(100)]).numpy()})


def test_onnx_holds_the_metadata_and_nothing_else(exported):
    _, path, session = exported
    metadata = {"sertool": '{"name": "é"}', "b": "2"}
    model = onnx.load(path)
    assert {p.key: p.value for p in model.metadata_props} == metadata
    assert session.get_modelmeta().custom_metadata_map == metadata
    assert b"site-packages" not in path.read_bytes()
    assert str(load_plugins().get("models", "wav2small").recipes[0].parent).encode() not in path.read_bytes()


@pytest.mark.slow("builds, exports or trains large networks")
def test_exporting_twice_gives_identical_bytes(exported, tmp_path):
    network, path, _ = exported
    again = export(network, tmp_path / "other_name.onnx", {"sertool": '{"name": "é"}', "b": "2"})
    assert again.read_bytes() == path.read_bytes()


def test_exporting_leaves_weights_and_constants_frozen_as_they_were(exported):
    network, _, _ = exported
    assert not any(p.requires_grad for p in network.logmel.parameters())
    fresh = LogMel(64).state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in network.logmel.state_dict().items())


# Four classes


def test_of_four_classes_with_the_dimensions_network():
    model = load_plugins().get("models", "wav2small-emotion")
    assert (model.outputs, model.task) == (("angry", "happy", "neutral", "sad"), "categorical")
    assert (model.shortest, [path.stem for path in model.recipes]) == (33, ["wav2small-emotion"])
    network = model.build()
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 67_577 + 170  # a row of the head more
    assert network(clip(33)).shape == (1, 4)
    assert not network.centre
    assert model.build(centre=True).state_dict().keys() == network.state_dict().keys()


def trained(**options) -> torch.nn.Module:
    """A random network whose BatchNorm statistics are those of a clip, so that what comes in shows in what goes out."""
    network = random_network(4, seed=1, **options)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(clip(48_000))
    return network.eval()


@pytest.mark.slow("builds, exports or trains large networks")
@pytest.mark.parametrize("n", [33, 100, 48_017])
def test_centred_each_mel_filter_has_a_mean_of_nought(n):
    network = trained(centre=True)
    batch = torch.cat([clip(n), clip(n, seed=1)])
    with torch.inference_mode():
        got, expected = network(batch).double(), reimplemented(network.state_dict(), batch, centre=True)
        plain = reimplemented(network.state_dict(), batch)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert (got - plain).abs().max() > 0.05


@pytest.mark.slow("builds, exports or trains large networks")
def test_centred_onnx_agrees_with_torch(tmp_path):
    network = trained(centre=True)
    session = session_of(export(network, tmp_path / "c.onnx"))
    with torch.inference_mode():
        for n in (33, 65, 16_000, 80_001):
            expected = network(clip(n)).numpy()
            assert np.abs(session.run(None, {"waveform": clip(n).numpy()})[0] - expected).max() <= 1e-4


@pytest.mark.slow("builds, exports or trains large networks")
@pytest.mark.parametrize(
    ("options", "mels", "shortest"), [({"n_fft": 128}, 51, 65), ({"n_fft": 512, "hop": 160}, 202, 257)]
)
def test_the_window_is_an_option_for_the_papers_ablation(options, mels, shortest, tmp_path):
    model = load_plugins().get("models", "wav2small")
    network = model.build(**options).eval()
    geometry = network.logmel.geometry
    assert (geometry.n_fft, geometry.n_mels, network.shortest) == (options["n_fft"], mels, shortest)
    assert network.width == 13 * ((mels - 1) // 2 + 1)
    assert model.of(network).shortest == shortest
    export(network, tmp_path / "it.onnx")
    for n in (shortest, 16_001):
        with torch.inference_mode():
            expected = network(clip(n)).numpy()
        (found,) = session_of(tmp_path / "it.onnx").run(None, {"waveform": clip(n).numpy()})
        assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_fft": 63}, "must be even"),
        ({"hop": 0}, "hop must be a whole number from 1"),
        ({"n_mels": 2.5}, "n_mels must"),
    ],
)
def test_a_window_that_is_none_is_refused(options, said):
    with pytest.raises(UsageError, match=f"^wav2small: .*{said}"):
        load_plugins().get("models", "wav2small").build(**options)


@pytest.mark.slow("builds, exports or trains large networks")
def test_a_transformer_takes_wav2smalls_tokens():
    """50 a second, each the mean of five; a network that learns from them reaches all of its parts."""
    network = load_plugins().get("models", "wav2small-transformer").build(layers=2, width=32, heads=2).eval()
    samples = clip(16_000)
    with torch.inference_mode():
        tokens = network.extractor(samples)
        assert tokens.shape == (1, 251, 169)
        taken = network.stride(tokens.transpose(1, 2)).transpose(1, 2)
        assert taken.shape == (1, 51, 169)
        assert torch.allclose(taken[:, 3], tokens[:, 15:20].mean(dim=1), atol=1e-5)
        assert torch.allclose(taken[:, 50], tokens[:, 250], atol=1e-5)
    with pytest.raises(ValueError, match="takes at most 480000 samples"):
        network(torch.zeros(1, 480_001))
    optimiser = torch.optim.AdamW(network.train().parameters(), 3e-3)
    batch, target = torch.cat([clip(8_000, seed) for seed in range(6)]), torch.rand(6, 3)
    losses = []
    for _ in range(40):
        loss = (network(batch) - target).square().mean()
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in network.parameters() if p.requires_grad)
        optimiser.step()
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize(("options", "said"), [({"layers": 0}, "layers must be"), ({"width": 30}, "multiple of twice")])
def test_a_transformer_of_no_size_is_refused(options, said):
    with pytest.raises(UsageError, match=f"^wav2small-transformer: .*{said}"):
        load_plugins().get("models", "wav2small-transformer").build(**options)
