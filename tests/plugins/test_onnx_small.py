"""Exporters onnx, onnx-fp16 and audonnx, and how files become small without other outputs."""

import json
import shutil
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from sertool import Source, bundle
from sertool.features import mel
from sertool.nn import LogMel, SoftmaxPool
from sertool.plugins import load_plugins

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"onnx-fp16": {}, "onnx-int8": {"recipe": "weights"}}


def noise(n, seed=0):
    rng = np.random.default_rng([n, seed])
    return (0.1 * rng.standard_normal((1, n)) * (1.2 + np.sin(np.arange(n) / 900))).astype(np.float32)


def export(network, file, name, metadata=None, clips=(), **options):
    source = Source(network.eval(), torch.zeros(1, 80_000), clips=clips)
    load_plugins().get("exporters", name).export(source, file, metadata or {}, **options)
    return file


def outputs(file, waveform):
    return onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"waveform": waveform})[0]


def stored(file):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(file).graph.initializer}


@pytest.fixture(scope="module")
def wav2small():
    torch.manual_seed(0)
    network = load_plugins().get("models", "wav2small").build()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.3, 3)
            nn.init.normal_(module.bias, std=0.3)
    nn.init.normal_(network.pool.sof.bias, std=2)
    nn.init.normal_(network.pool.lin.bias, std=2)
    return network.eval()


@pytest.fixture(scope="module")
def exported(wav2small, tmp_path_factory):
    """Format -> file."""
    folder = tmp_path_factory.mktemp("small")
    clips = tuple(torch.from_numpy(noise(n)) for n in (16_000, 30_000))
    formats = {
        "fp32": ("onnx", {}),
        "fp16": ("onnx-fp16", {}),
        "int8": ("onnx-int8", {"recipe": "weights"}),
        "int4": ("onnx-int8", {"recipe": "weights", "bits": 4}),
    }
    return {
        key: export(wav2small, folder / f"{key}.onnx", name, {"a": "ü" * 600}, clips, **options)
        for key, (name, options) in formats.items()
    }


@pytest.mark.slow("exports and quantises networks")
def test_wav2small_takes_few_bytes(exported):
    sizes = {key: file.stat().st_size for key, file in exported.items()}
    assert sizes["int8"] < 76_000
    assert sizes["int4"] < 47_500
    assert sizes["fp16"] < 140_000


def test_and_answers_the_same(exported, wav2small):
    for key, allowed in (("fp32", 1e-5), ("fp16", 2e-3), ("int8", 5e-3), ("int4", 0.02)):
        for n in (33, 100, 16_001, 80_000):
            with torch.no_grad():
                expected = wav2small(torch.from_numpy(noise(n))).numpy()
            assert np.abs(outputs(exported[key], noise(n)) - expected).max() < allowed, (key, n)


def test_float32_is_plain(exported, wav2small):
    """What anything that reads ONNX can take: its weights are there as they are."""
    found = stored(exported["fp32"])
    assert np.array_equal(found["logmel.real"], wav2small.logmel.real.detach())
    assert np.array_equal(found["head.weight"], wav2small.head.weight.detach())
    assert {value.dtype.name for value in found.values()} == {"float32", "int64"}


def test_half_of_the_weights_is_left_in_16_bits(exported, wav2small):
    found = stored(exported["fp16"])
    assert np.array_equal(found["pool.sof.weight.half"].T, wav2small.pool.sof.weight.detach().half())
    assert np.array_equal(found["head.weight.half"], wav2small.head.weight.detach().half())
    assert "head.bias" in found  # 3 values


@pytest.mark.slow("exports and quantises networks")
def test_weights_that_16_bits_cannot_hold_stay_as_they_are(tmp_path):
    network = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 8, 16), nn.Conv1d(8, 8, 9), nn.Conv1d(8, 8, 10))
    with torch.no_grad():
        network[1].weight *= 1e6  # above 65504
        network[2].weight *= 1e-7  # below 6e-8
    found = stored(export(network, tmp_path / "it.onnx", "onnx-fp16"))
    assert {"1.weight", "2.weight", "3.weight.half"} <= found.keys()
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(noise(500))).numpy()
    assert np.abs(outputs(tmp_path / "it.onnx", noise(500)) / expected - 1).max() < 0.01


@pytest.mark.slow("exports and quantises networks")
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("n_fft", mel.GEOMETRIES)
def test_a_computed_logmel_is_the_stored_one(tmp_path, n_fft, name):
    network = LogMel(n_fft)
    plain = export(network, tmp_path / "plain.onnx", "onnx")
    small = export(network, tmp_path / "small.onnx", name, **SMALL[name])
    assert small.stat().st_size < plain.stat().st_size / (8 if n_fft == 64 else 20)
    for samples in (noise(16_000), 1e-4 * noise(3_001), np.zeros((1, 500), np.float32)):
        expected = outputs(plain, samples)
        assert np.abs(outputs(small, samples) - expected).max() < 1e-4


def test_no_name_is_longer_than_it_says(exported, wav2small):
    known = {*wav2small.state_dict()}
    for key in ("fp16", "int8", "int4"):
        graph = onnx.load(exported[key]).graph
        assert not any(node.name for node in graph.node)
        names = {name for node in graph.node for name in [*node.input, *node.output]} - {"waveform", "outputs"}
        long = {name for name in names if len(name) > 2}
        assert all(name.rpartition(".int")[0] in known or name.removesuffix(".half") in known for name in long)
        inits = [(t.data_type, tuple(t.dims), numpy_helper.to_array(t).tobytes()) for t in graph.initializer]
        assert len({*inits}) == len(inits)
        used = {name for node in graph.node for name in node.input}
        assert {tensor.name for tensor in graph.initializer} <= used


class Pooled(nn.Module):
    """SoftmaxPool over frames of ten samples, and a layer after it. ``how`` breaks what makes its biases foldable."""

    def __init__(self, how="as it is"):
        super().__init__()
        self.how, self.pool, self.head = how, SoftmaxPool(10), nn.Linear(10, 3)
        for bias in (self.pool.sof.bias, self.pool.lin.bias, self.head.bias):
            nn.init.normal_(bias, std=2)

    def forward(self, waveform):
        x = waveform[:, : waveform.shape[1] // 10 * 10].reshape(1, -1, 10)
        if self.how == "other axis":
            return self.head((torch.softmax(self.pool.sof(x), dim=2) * self.pool.lin(x)).sum(dim=1))
        if self.how == "mean":
            return self.head((torch.softmax(self.pool.sof(x), dim=1) * self.pool.lin(x)).mean(dim=1))
        if self.how == "logits are used again":
            y = self.pool.sof(x)
            return self.head((torch.softmax(y, dim=1) * self.pool.lin(x)).sum(dim=1)) + y.amax(dim=(1, 2))
        if self.how == "pooled are used again":
            y = self.pool(x)
            return self.head(y) + y[:, :3]
        if self.how == "gates are no softmax":
            return self.head((torch.sigmoid(self.pool.sof(x)) * self.pool.lin(x)).sum(dim=1))
        return self.head(self.pool(x))


@pytest.mark.slow("exports and quantises networks")
@pytest.mark.parametrize(
    ("how", "biases"),
    [
        ("as it is", set()),
        ("other axis", {"sof", "lin"}),
        ("mean", {"lin"}),
        ("logits are used again", {"sof"}),
        ("pooled are used again", {"lin"}),
        ("gates are no softmax", {"sof", "lin"}),
    ],
)
def test_biases_around_a_softmax_go_where_that_changes_nothing(tmp_path, how, biases):
    torch.manual_seed(0)
    network = Pooled(how).eval()
    file = export(network, tmp_path / "it.onnx", "onnx-fp16")
    assert {name.split(".")[1] for name in stored(file) if name.startswith("pool.") and "bias" in name} == biases
    for n in (10, 75, 3_000):
        with torch.no_grad():
            expected = network(torch.from_numpy(noise(n))).numpy()
        assert np.abs(outputs(file, noise(n)) - expected).max() < 2e-3


@pytest.mark.slow("exports and quantises networks")
def test_exporting_again_gives_the_same_bytes(tmp_path, wav2small, exported):
    again = export(wav2small, tmp_path / "again.onnx", "onnx-fp16", {"a": "ü" * 600})
    assert again.read_bytes() == exported["fp16"].read_bytes()


MANIFEST = {"outputs": [{"name": name, "range": [0, 1]} for name in ("angry", "no", "é: 'x'")]}


@pytest.fixture(scope="module")
def folder(wav2small, tmp_path_factory):
    """What exporter audonnx wrote, carried to another place."""
    here, there = (tmp_path_factory.mktemp(name) for name in ("made", "carried"))
    export(wav2small, here / "model.onnx", "audonnx", {bundle.METADATA_KEY: json.dumps(MANIFEST)})
    return shutil.copytree(here, there / "model")


@pytest.mark.slow("exports and quantises networks")
def test_audonnx_loads_its_folder(folder, wav2small):
    audonnx = pytest.importorskip("audonnx")
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("error", UserWarning)
        model = audonnx.load(str(folder))
    assert model.labels() == ["angry", "no", "é: 'x'"]
    assert model.inputs["waveform"].shape == [1, -1]
    with torch.no_grad():
        expected = wav2small(torch.from_numpy(noise(9_000))).numpy()
    assert np.abs(model(noise(9_000)[0], 16_000) - expected).max() < 1e-5


@pytest.mark.slow("exports and quantises networks")
def test_audonnx_file_is_that_of_onnx(folder, wav2small, tmp_path):
    plain = export(wav2small, tmp_path / "model.onnx", "onnx", {bundle.METADATA_KEY: json.dumps(MANIFEST)})
    assert (folder / "model.onnx").read_bytes() == plain.read_bytes()
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "model.yaml"}
    assert str(tmp_path.parent) not in (folder / "model.yaml").read_text()


@pytest.mark.slow("exports and quantises networks")
def test_audonnx_names_outputs_itself_where_nothing_does(wav2small, tmp_path):
    audonnx = pytest.importorskip("audonnx")
    export(wav2small, tmp_path / "other name.onnx", "audonnx")
    assert audonnx.load(str(tmp_path)).labels() == ["outputs-0", "outputs-1", "outputs-2"]


def test_audonnx_writes_its_model_yaml(monkeypatch, tmp_path):
    monkeypatch.setattr("sertool_onnx.audonnx.export_onnx", lambda source, path, metadata: path.write_bytes(b""))
    export(nn.Identity(), tmp_path / "model.onnx", "audonnx", {bundle.METADATA_KEY: json.dumps(MANIFEST)})
    assert (tmp_path / "model.yaml").read_text(encoding="utf-8").splitlines() == [
        "$audonnx.core.model.Model:",
        '  path: "model.onnx"',
        """  labels: ["angry", "no", "é: 'x'"]""",
        "  transform: null",
    ]


@pytest.mark.slow("exports and quantises networks")
def test_a_constant_of_zeros_is_no_scattering_of_nothing(tmp_path):
    """OpenVINO refuses a ScatterElements whose indices are empty, as of a bias that was never trained."""

    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Linear(64, 64)
            self.register_buffer("shift", torch.zeros(64, 64))

        def forward(self, waveform):
            frames = waveform[:, : waveform.shape[1] // 64 * 64].reshape(1, -1, 64)
            pooled = torch.relu(self.mix(frames)).mean(dim=1)
            return (pooled + pooled @ self.shift)[:, :4]

    torch.manual_seed(0)
    network = Shifted()
    file = export(network, tmp_path / "it.onnx", "onnx-int8", recipe="weights")
    constants = stored(file)
    nodes = onnx.load(file).graph.node
    for node in nodes:
        if node.op_type == "ScatterElements":
            assert constants[node.input[1]].size
    assert "ConstantOfShape" in {node.op_type for node in nodes}
    with torch.no_grad():
        expected = network(torch.from_numpy(noise(6_400))).numpy()
    assert np.abs(outputs(file, noise(6_400)) - expected).max() < 0.01
