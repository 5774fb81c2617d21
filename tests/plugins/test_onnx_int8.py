"""Exporter onnx-int8: which weights are quantised and how, against arithmetic in float64 and onnxruntime's own."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from sertool.errors import SertoolError
from sertool.frontend.filters import Geometry
from sertool.nn import LogMel
from sertool.plugins import load_plugins

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("error::RuntimeWarning")]

KIND = {TensorProto.FLOAT: "float", TensorProto.INT8: "int8", TensorProto.INT4: "int4"}


class Mixed(nn.Module):
    """One of each: a basis, a buffer, convolutions, products over frames that share an input, and layers on pooled."""

    def __init__(self):
        super().__init__()
        self.logmel = LogMel(Geometry(512, 160, 64))  # both its bases are large
        self.register_buffer("turn", torch.linalg.qr(torch.randn(128, 128))[0])
        self.small = nn.Conv1d(64, 128, 1)
        self.large = nn.Conv1d(128, 128, 3, padding=1)
        self.huge = nn.Conv1d(128, 512, 16, padding=8)
        self.query, self.key = nn.Linear(512, 128), nn.Linear(512, 128, bias=False)
        self.pooled = nn.Linear(128, 200)
        self.head = nn.Linear(200, 4)

    def forward(self, waveform):
        x = self.logmel(waveform).transpose(1, 2) / 40
        x = torch.relu(self.large(torch.relu(self.small(x))))
        x = torch.relu(self.huge((x.transpose(1, 2) @ self.turn).transpose(1, 2))).transpose(1, 2)
        x = torch.tanh(self.query(x)) * torch.sigmoid(self.key(x))
        return self.head(torch.relu(self.pooled(x.mean(dim=1))))


def exporter(name="onnx-int8"):
    return load_plugins().get("exporters", name)


def noise(n, seed=0):
    rng = np.random.default_rng([n, seed])
    return (0.1 * rng.standard_normal((1, n)) * (1.2 + np.sin(np.arange(n) / 900))).astype(np.float32)


def outputs(file, waveform):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {"waveform": waveform})[0]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, one_thread):
    """(network, its file)."""
    torch.manual_seed(0)
    network = Mixed().eval()
    with torch.no_grad():
        network.large.weight[5] = network.query.weight[7] = network.huge.weight[9] = 0  # no scale to divide by
    file = tmp_path_factory.mktemp("int8") / "mixed.onnx"
    exporter().export(network, file, {"sertool": '{"name": "mixed"}', "more": "ü"})
    return network, file


def test_only_large_learned_weights_are_quantised(mixed):
    graph = onnx.load(mixed[1]).graph
    kinds = {tensor.name: KIND.get(tensor.data_type) for tensor in graph.initializer}
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    float_names = {name for name, kind in kinds.items() if kind == "float"}
    assert float_names >= {"logmel.real", "logmel.imaginary", "logmel.mel", "turn", "small.weight", "head.weight"}
    assert kinds["large.weight.int8"] == "int8"
    assert kinds["huge.weight.int4"] == "int4"
    assert kinds["pooled.weight.int8"] == "int8"
    assert shapes["huge.weight.scale"] == (512, 8, 16)
    assert shapes["large.weight.scale"] == (128,)
    assert shapes["pooled.weight.scale"] == (200,)
    assert sorted(shapes[n] for n, kind in kinds.items() if kind == "int8" and n.startswith("val")) == [(512, 128)] * 2
    count = {op: sum(node.op_type == op for node in graph.node) for op in ("DynamicQuantizeLinear", "MatMulInteger")}
    assert count == {"DynamicQuantizeLinear": 1, "MatMulInteger": 2}  # query and key share their input
    quantised = 128 * 128 * 3 + 128 * 200 + 2 * 512 * 128, 128 * 512 * 16
    assert sum(np.prod(shapes[n]) for n, kind in kinds.items() if kind == "int8") == quantised[0]
    assert sum(np.prod(shapes[n]) for n, kind in kinds.items() if kind == "int4") == quantised[1]


def test_values_and_scales_restore_each_weight_to_half_a_step(mixed):
    network, file = mixed
    tensors = {tensor.name: tensor for tensor in onnx.load(file).graph.initializer}
    weights = {"large": network.large.weight, "pooled": network.pooled.weight}
    for name, weight in weights.items():
        values = numpy_helper.to_array(tensors[f"{name}.weight.int8"]).astype(float)
        scale = numpy_helper.to_array(tensors[f"{name}.weight.scale"]).astype(float)
        scale = scale.reshape(-1, *[1] * (values.ndim - 1))
        assert np.abs(values).max() == 127
        assert np.all(np.abs(values * scale - weight.detach().numpy()) <= scale * 0.5001)
    values = numpy_helper.to_array(tensors["huge.weight.int4"]).astype(float)
    scale = numpy_helper.to_array(tensors["huge.weight.scale"]).astype(float).repeat(16, axis=1)
    weight = network.huge.weight.detach().numpy()
    error = np.sqrt(np.mean((values * scale - weight) ** 2) / np.mean(weight**2))
    plain = np.abs(weight.reshape(512, 8, 16, 16)).max(axis=2, keepdims=True).clip(1e-9) / 7
    rounded = (np.round(weight.reshape(512, 8, 16, 16) / plain) * plain).reshape(weight.shape)
    assert error < 0.97 * np.sqrt(np.mean((rounded - weight) ** 2) / np.mean(weight**2))
    assert {value for value in np.unique(values)} <= set(range(-8, 8))


def test_it_agrees_with_torch_at_every_length(mixed):
    network, file = mixed
    for n in (257, 400, 16_001, 128_000):
        with torch.no_grad():
            expected = network(torch.from_numpy(noise(n))).numpy()
        got = outputs(file, noise(n))
        assert np.isfinite(got).all()
        assert np.abs(got - expected).max() < 0.02
        assert np.abs(got - expected).max() > 1e-6  # it is another network


def test_products_are_as_onnxruntime_quantises_them(tmp_path):
    class Products(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(64, 256), nn.Linear(256, 128)

        def forward(self, waveform):
            frames = waveform[:, : waveform.shape[1] // 64 * 64].reshape(1, -1, 64)
            return torch.tanh(self.two(torch.relu(self.one(frames)))).amax(dim=1)

    torch.manual_seed(1)
    network = Products().eval()
    exporter("onnx").export(network, tmp_path / "float.onnx", {})
    exporter().export(network, tmp_path / "ours.onnx", {})
    quantize_dynamic(
        tmp_path / "float.onnx",
        tmp_path / "theirs.onnx",
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )
    x = 5 * noise(6_400)
    ours, theirs, exact = (outputs(tmp_path / f"{name}.onnx", x) for name in ("ours", "theirs", "float"))
    # Theirs divides by 64, or 63.5, where ours does by 63: as near to the truth, and near to each other.
    assert np.abs(ours - theirs).max() < 2 * np.abs(theirs - exact).max()
    assert np.sqrt(np.mean((ours - exact) ** 2)) < 1.2 * np.sqrt(np.mean((theirs - exact) ** 2))
    values = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "ours.onnx").graph.initializer}
    largest = [np.abs(value).max() for value in values.values() if value.dtype == np.int8]
    assert largest == [63, 63]  # 2 * 255 * 64 is the most that 16 bits hold


def test_the_same_weights_give_the_same_bytes_and_the_module_is_left_as_it_was(tmp_path):
    """Weight norm's weights are plain in the file, and trained on after it."""
    conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 128, 200, 50), dim=2)
    network = nn.Sequential(nn.Unflatten(1, (1, -1)), conv, nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        expected = network(torch.from_numpy(noise(9_000))).numpy()
    for name in ("once", "again"):
        exporter().export(network, file := tmp_path / f"{name}.onnx", {"key": "ü"})
        assert np.abs(outputs(file, noise(9_000)) - expected).max() < 0.01
    graph = onnx.load(file).graph
    restored = [node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"]
    assert len(restored) == 1
    assert set(restored) < {tensor.name for tensor in graph.initializer}
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "once.onnx").read_bytes()
    after = network.state_dict()
    assert before.keys() == after.keys() == dict(network.named_parameters()).keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    network(torch.zeros(1, 400)).sum().backward()
    assert conv.parametrizations.weight.original1.grad is not None


def test_metadata_survives(mixed):
    meta = onnxruntime.InferenceSession(mixed[1]).get_modelmeta().custom_metadata_map
    assert meta == {"sertool": '{"name": "mixed"}', "more": "ü"}


def test_what_cannot_be_traced_is_one_line(tmp_path):
    class Other(nn.Module):
        def forward(self, waveform):
            return waveform if waveform.sum() > 0 else -waveform

    with pytest.raises(SertoolError, match=r"^Other cannot be exported to ONNX: [^\n]*$"):
        exporter().export(Other(), tmp_path / "it.onnx", {})
    assert not (tmp_path / "it.onnx").exists()


def test_the_tolerances():
    assert (exporter("onnx").tolerance, exporter("onnx-int8").tolerance) == (1e-4, 0.05)
