"""The MobileNet students: counts, timm's own forward as the reference, weights from a file, their ONNX files."""

import copy
import subprocess
import sys

import librosa
import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from sertool import Source
from sertool.errors import UsageError
from sertool.plugins import load_plugins

#: Student -> (trunk by timm's name, n_fft, n_mels, width, shortest, trained parameters, frozen LogMel).
STUDENTS = {
    "mobilenetv4-small": ("mobilenetv4_conv_small", 64, 26, 960, 33, 3_109_697, 5_082),
    "mobilenetv4-medium": ("mobilenetv4_hybrid_medium", 64, 26, 960, 33, 10_410_321, 5_082),
    "mobilenetv4-large": ("mobilenetv4_conv_aa_large", 144, 58, 960, 2160, 31_926_537, 25_258),
    "mobilenetv3-small": ("mobilenetv3_small_075", 64, 26, 1024, 33, 3_119_177, 5_082),
}
#: Table I of the paper, in millions, and how far this implementation is from it (network.py says why).
TABLE = {
    "mobilenetv4-small": (3.12, 0.011),
    "mobilenetv4-medium": (10.38, 0.031),
    "mobilenetv4-large": (31.87, 0.057),
    "mobilenetv3-small": (3.14, 0.021),
}
#: The same in the ONNX file, batch norms folded into the convolutions before them, LogMel included.
TABLE_FOLDED = {
    "mobilenetv4-small": (3.12, 0.017),
    "mobilenetv4-medium": (10.38, 0.005),
    "mobilenetv4-large": (31.87, 0.009),
    "mobilenetv3-small": (3.14, 0.025),
}

pytestmark = pytest.mark.usefixtures("timm", "_one_thread")


@pytest.fixture(scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def clip(n: int, seed: int = 0) -> torch.Tensor:
    """Noise under a slow envelope and over an offset, [1, n]."""
    noise = torch.randn(1, n, generator=torch.Generator().manual_seed(seed + n))
    return 0.1 * noise * (1.2 + torch.sin(torch.arange(n) / 900 + seed)) + 0.02


def build(name: str) -> torch.nn.Module:
    """Random weights; BatchNorm's statistics are those of two clips, so that outputs neither vanish nor explode."""
    torch.manual_seed(0)
    network = load_plugins().get("models", name).build()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            torch.nn.init.normal_(module.weight, 1, 0.1)
            torch.nn.init.normal_(module.bias, std=0.1)
        elif type(module).__name__ == "LayerScale2d":  # 1e-5 when new: attention would not show
            torch.nn.init.normal_(module.gamma, 1, 0.1)
    with torch.no_grad():
        network.train()(torch.cat([clip(16_000), clip(16_000, seed=1)]))
    return network.eval()


@pytest.fixture(scope="module", params=STUDENTS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def network(name, timm):
    return build(name)


@pytest.fixture(scope="module")
def exported(name, network, tmp_path_factory):
    path = tmp_path_factory.mktemp(name) / "model.onnx"
    load_plugins().get("exporters", "onnx").export(Source(network, clip(80_000)), path, {"a": "b"})
    return path, onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.slow("builds networks of millions of weights")
def test_parameter_counts_and_their_distance_from_table_1(name, network):
    *_, trained, frozen = STUDENTS[name]
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == trained
    assert sum(p.numel() for p in network.parameters() if not p.requires_grad) == frozen
    table, distance = TABLE[name]
    assert abs(trained / 1e6 - table) <= distance


def test_registered_with_outputs_in_order_and_its_shortest_input(name):
    model = load_plugins().get("models", name)
    assert model.outputs == ("arousal", "dominance", "valence")
    assert model.shortest == STUDENTS[name][4]


@pytest.fixture(scope="module")
def classifier(name, network, timm):
    """The trunk as a whole classifier of timm's, float64, with the network's weights."""
    weights = {key.removeprefix("trunk."): value for key, value in network.state_dict().items() if "trunk." in key}
    whole = timm.create_model(STUDENTS[name][0], pretrained=False)
    missing, unexpected = whole.load_state_dict(weights, strict=False)
    assert not unexpected
    assert {key.split(".")[0] for key in missing} <= {"conv_head", "norm_head", "classifier"}
    return whole.double().eval()


def reimplemented(name, classifier, weights, waveform):
    """The student once more in float64: LogMel through torch.stft and librosa, the trunk within a whole classifier."""
    _, n_fft, n_mels, width, *_ = STUDENTS[name]
    w = {key: value.double() for key, value in weights.items() if "trunk." not in key}
    x = waveform.double()
    x = x - x.mean(dim=1, keepdim=True)
    x = x / ((x * x).mean(dim=1, keepdim=True) + 1e-7) ** 0.5
    window = torch.hann_window(n_fft, dtype=x.dtype)
    spectrum = torch.stft(x, n_fft, hop_length=n_fft // 2, window=window, pad_mode="reflect", return_complex=True)
    mel = torch.from_numpy(librosa.filters.mel(sr=16_000, n_fft=n_fft, n_mels=n_mels, dtype=np.float64))
    x = 10 * torch.log10((mel @ spectrum.abs().square()).clamp(min=1e-10)).transpose(1, 2)[:, None]
    x = classifier.forward_features(F.conv2d(x, w["lift.weight"], w["lift.bias"], padding=1))
    if width == 1024:
        x = F.hardswish(classifier.conv_head(x))
    x = x.mean(dim=3).transpose(1, 2)  # [batch, tokens, width]
    assert x.shape[2] == width
    share = F.linear(x, w["pool.sof.weight"], w["pool.sof.bias"]).exp()
    share = share / share.sum(dim=1, keepdim=True)
    x = (share * F.linear(x, w["pool.lin.weight"], w["pool.lin.bias"])).sum(dim=1)
    return F.linear(x, w["head.weight"], w["head.bias"])


@pytest.mark.slow("builds networks of millions of weights")
@pytest.mark.parametrize("n", [0, 8_000])
def test_network_equals_timm_between_logmel_and_pooling(name, network, classifier, n):
    n = n or STUDENTS[name][4]
    batch = torch.cat([clip(n), clip(n, seed=1)])
    with torch.inference_mode():
        got, expected = network(batch).double(), reimplemented(name, classifier, network.state_dict(), batch)
    assert got.shape == (2, 3)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    if n == 8_000:  # and the outputs do depend on the audio
        assert (got[0] - got[1]).abs().max() > 1e-2


@pytest.mark.slow("builds networks of millions of weights")
def test_a_row_of_a_batch_equals_the_row_alone(network):
    batch = torch.cat([clip(8_000), clip(8_000, seed=1)])
    with torch.inference_mode():
        alone = torch.cat([network(row[None]) for row in batch])
        torch.testing.assert_close(network(batch), alone, rtol=1e-4, atol=1e-4)


@pytest.mark.slow("builds networks of millions of weights")
@pytest.mark.parametrize("n", [0, 8_000, 80_000, 192_000], ids=["shortest", "0.5s", "5s", "12s"])
def test_onnx_agrees_with_torch(name, network, exported, n):
    waveform = clip(n or STUDENTS[name][4])
    with torch.inference_mode():
        expected = network(waveform).numpy()
    (got,) = exported[1].run(None, {"waveform": waveform.numpy()})
    assert got.shape == (1, 3)
    assert np.abs(got - expected).max() <= 1e-4


@pytest.mark.slow("builds networks of millions of weights")
def test_onnx_has_one_batch_any_time_and_its_metadata(exported):
    model = onnx.load(exported[0])
    (waveform,), (outputs,) = model.graph.input, model.graph.output
    batch, time = waveform.type.tensor_type.shape.dim
    assert batch.dim_value == 1
    assert time.dim_param
    assert not time.HasField("dim_value")
    assert [d.dim_value for d in outputs.type.tensor_type.shape.dim] == [1, 3]
    assert {p.key: p.value for p in model.metadata_props} == {"a": "b"}


@pytest.mark.slow("builds networks of millions of weights")
def test_folded_parameter_counts_and_their_distance_from_table_1(name, exported):
    floats = [t for t in onnx.load(exported[0]).graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    table, distance = TABLE_FOLDED[name]
    assert abs(sum(np.prod(t.dims, dtype=int) for t in floats) / 1e6 - table) <= distance


@pytest.mark.slow("builds networks of millions of weights")
def test_one_sample_fewer_than_the_shortest_is_an_error(name, network):
    shortest = STUDENTS[name][4]
    with pytest.raises(ValueError, match=f"at least {shortest} samples"):
        network(clip(shortest - 1))


@pytest.mark.slow("builds networks of millions of weights")
def test_the_large_trunk_itself_takes_no_less_than_2160_samples(timm):
    """Registered, because timm's poolings without padding need 31 frames: fewer are torch's own error."""
    trunk = timm.create_model("mobilenetv4_conv_aa_large", pretrained=False).eval()
    with torch.inference_mode():
        assert trunk.forward_features(torch.zeros(1, 3, 1 + 2160 // 72, 64)).shape == (1, 960, 1, 2)
        with pytest.raises(RuntimeError, match="too small"):
            trunk.forward_features(torch.zeros(1, 3, 1 + 2159 // 72, 64))


@pytest.mark.slow("builds networks of millions of weights")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_gradients_reach_all_that_is_trained_and_nothing_else(network, precision):
    """In training mode, channels last, with and without mixed precision."""
    student = copy.deepcopy(network).train().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        outputs = student(torch.cat([clip(8_000), clip(8_000, seed=1)]))
    outputs.float().square().sum().backward()
    assert torch.isfinite(outputs).all()
    for key, parameter in student.named_parameters():
        if key.startswith("logmel."):
            assert parameter.grad is None
        else:
            assert parameter.grad.isfinite().all(), key
            assert parameter.grad.any() or key == "pool.sof.bias", key  # it shifts all tokens alike: no effect


@pytest.mark.slow("builds networks of millions of weights")
def test_channels_last_keeps_the_outputs(network):
    with torch.inference_mode():
        last = copy.deepcopy(network).to(memory_format=torch.channels_last)
        torch.testing.assert_close(last(clip(8_000)), network(clip(8_000)), rtol=1e-4, atol=1e-4)


def test_options_reach_the_network(timm):
    network = load_plugins().get("models", "mobilenetv3-small").build(outputs=4, dropout=0.3, drop_path=0.2)
    assert network.head.out_features == 4
    assert network.dropout.p == 0.3
    assert any(getattr(module, "drop_prob", 0) > 0 for module in network.trunk.modules())


# ---- weights


@pytest.fixture(scope="module")
def published(timm):
    """published(student): the whole of a timm classifier's state dict, as its weights are published."""

    def state(student):
        torch.manual_seed(5)
        return timm.create_model(STUDENTS[student][0], pretrained=False).state_dict()

    return state


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "bin"])
@pytest.mark.parametrize("student", ["mobilenetv4-small", "mobilenetv3-small"])
def test_weights_fill_the_trunk(student, suffix, published, tmp_path):
    state, path = published(student), tmp_path / f"weights.{suffix}"
    (safetensors.torch.save_file if suffix == "safetensors" else torch.save)(state, path)
    trunk = load_plugins().get("models", student).build(weights=str(path)).trunk.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in trunk.items())
    left_out = {key.split(".")[0] for key in state.keys() - trunk.keys()}
    assert left_out == ({"classifier"} if student == "mobilenetv3-small" else {"conv_head", "norm_head", "classifier"})


@pytest.mark.slow("builds networks of millions of weights")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("blocks.1.0.conv_pw.weight"), "1 missing weights, the first: blocks.1.0.conv_pw.weight"),
        (lambda s: s.update(extra=s["bn1.bias"]), "1 unexpected weights, the first: extra"),
        (lambda s: s.update({"classifier.more": s["bn1.bias"]}), "1 unexpected weights, the first: classifier.more"),
        (
            lambda s: s.update({"bn1.bias": s["bn1.bias"][:3]}),
            r"1 misshapen weights, the first: bn1.bias, \[3\] instead of \[16\]",
        ),
    ],
)
def test_weights_that_do_not_fit_are_one_line(change, message, published, tmp_path):
    state, path = published("mobilenetv3-small"), tmp_path / "weights.pth"
    change(state)
    torch.save(state, path)
    with pytest.raises(
        UsageError, match=rf"^\S+weights.pth: {message}; give the weights of timm's mobilenetv3_small_075"
    ):
        load_plugins().get("models", "mobilenetv3-small").build(weights=path)


@pytest.mark.slow("builds networks of millions of weights")
def test_another_trunks_weights_are_refused(published, tmp_path):
    torch.save(published("mobilenetv3-small"), tmp_path / "weights.bin")
    with pytest.raises(UsageError, match="give the weights of timm's mobilenetv4_conv_small"):
        load_plugins().get("models", "mobilenetv4-small").build(weights=tmp_path / "weights.bin")


@pytest.mark.parametrize("file", ["junk.safetensors", "empty.bin", "list.pth", "none.pth"])
def test_a_file_that_holds_no_weights_is_one_line(file, tmp_path, timm):
    path = tmp_path / file
    if file.startswith(("junk", "empty")):
        path.write_bytes(b"" if file.startswith("empty") else b"junk")
    elif file == "list.pth":
        torch.save([1, 2], path)
    with pytest.raises(UsageError, match=rf"^\S+{file}: ") as error:
        load_plugins().get("models", "mobilenetv3-small").build(weights=path)
    assert "\n" not in str(error.value)


# ---- without timm


def test_without_timm_building_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UsageError, match=r"pip install 'sertool\[mobilenet\]'"):
        load_plugins().get("models", "mobilenetv4-small").build()


@pytest.mark.slow("builds networks of millions of weights")
def test_registering_imports_neither_torch_nor_timm():
    code = "import sys, sertool.plugins as p; p.load_plugins().get('models', 'mobilenetv4-large'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "timm", "torchvision"} & set(loaded)


@pytest.mark.slow("builds networks of millions of weights")
@pytest.mark.parametrize("network", ["mobilenetv4-small", "wavlm", "distilhubert"])
def test_a_torchvision_of_another_torch_is_in_nobodys_way(network):
    """In a process of its own, where no test has declared its operators; so it is with the index's torchvision."""
    code = f"""
import sys, types
broken = types.ModuleType("torchvision")
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision" and not declared():
            raise RuntimeError("operator torchvision::nms does not exist")
def declared():
    import torch
    return hasattr(torch.ops.torchvision, "nms")
sys.meta_path.insert(0, Broken())
from sertool.plugins import load_plugins
import torch
with torch.device("meta"):
    load_plugins().get("models", {network!r}).build()
assert declared()
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
