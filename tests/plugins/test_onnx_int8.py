"""Exporter onnx-int8: which weights are quantised and how, against arithmetic in float64 and onnxruntime's own."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from sertool import Source
from sertool.errors import SertoolError, UsageError
from sertool.exporting import variants
from sertool.exporting.origin import find_origin
from sertool.features.mel import Geometry
from sertool.nn import LogMel, frontend
from sertool.plugins import load_plugins
from sertool_onnx import int8

pytestmark = pytest.mark.slow("exports networks; test_onnx_small.py has a fast one")

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("error::RuntimeWarning")]

RECIPES = {
    "mixed": {},
    "seven": {"product": 7, "conv": 4},
    "matmul": {"recipe": "matmul"},
    "static": {"recipe": "static"},
    "weights": {"recipe": "weights"},
    "four": {"recipe": "weights", "bits": 4},
    "few": {"recipe": "weights", "bits": 2, "conv": 4},
}


class Mixed(nn.Module):
    """One of each: a basis, a buffer, convolutions, products over frames that share an input, and layers on pooled."""

    def __init__(self):
        super().__init__()
        self.logmel = LogMel(Geometry(512, 160, 64))  # both its bases are large
        self.register_buffer("turn", torch.linalg.qr(torch.randn(128, 128))[0])
        self.tiny = nn.Conv1d(64, 64, 1, groups=64)
        self.small = nn.Conv1d(64, 128, 1)
        self.large = nn.Conv1d(128, 128, 3, padding=1)
        self.huge = nn.Conv1d(128, 256, 8, padding=4)
        self.query, self.key = nn.Linear(256, 128), nn.Linear(256, 128, bias=False)
        self.pooled = nn.Linear(128, 200)
        self.head = nn.Linear(200, 4)

    def forward(self, waveform):
        x = self.tiny(self.logmel(waveform).transpose(1, 2) / 40)
        x = torch.relu(self.large(torch.relu(self.small(x))))
        x = torch.relu(self.huge((x.transpose(1, 2) @ self.turn).transpose(1, 2))).transpose(1, 2)
        x = torch.tanh(self.query(x)) * torch.sigmoid(self.key(x))
        return self.head(torch.relu(self.pooled(x.mean(dim=1))))


def exporter(name="onnx-int8"):
    return load_plugins().get("exporters", name)


def noise(n, seed=0):
    rng = np.random.default_rng([n, seed])
    return (0.1 * rng.standard_normal((1, n)) * (1.2 + np.sin(np.arange(n) / 900))).astype(np.float32)


CLIPS = tuple(torch.from_numpy(noise(n)) for n in (16_000, 9_001, 24_000))


def export(network, file, metadata=None, clips=(), name="onnx-int8", **options):
    exporter(name).export(Source(network, torch.zeros(1, 80_000), clips=clips), file, metadata or {}, **options)
    return file


def outputs(file, waveform):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {"waveform": waveform})[0]


def stored(file) -> dict[str, np.ndarray]:
    """Initialisers as they lie in a file, by name."""
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(file).graph.initializer}


def restored(file) -> list[tuple[str, np.ndarray]]:
    """(operator, its weights as onnxruntime computes them) of a file, in the order of its nodes."""
    model = onnx.load(file)
    computed = {name for node in model.graph.node for name in node.output}
    nodes = [node for node in model.graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    wanted = [node.input[1] for node in nodes if node.input[1] in computed]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in wanted)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = dict(zip(wanted, session.run(None, {"waveform": noise(600)}), strict=True)) | stored(file)
    return [(node.op_type, values.get(node.input[1])) for node in nodes]


def same(found, wanted) -> bool:
    """Equal but for what is zero up to rounding."""
    return found is not None and found.shape == wanted.shape and np.allclose(found, wanted, rtol=0, atol=1e-15)


def optimised(file, tmp_path) -> list[str]:
    """Kinds of the nodes that onnxruntime is left with."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]


@pytest.fixture(scope="module", autouse=True)
def quicker():
    """The same module is traced once, which takes longer than all that comes after it; huge is less than it is."""
    made, trace = {}, int8.trace

    def cached(source, *opset):
        if (key := (source.module, *opset)) not in made:
            made[key] = trace(source, *opset)
        return copy.deepcopy(made[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(int8, "trace", cached)
        patch.setattr(int8, "HUGE", 1 << 18)
        yield


@pytest.fixture(scope="module")
def network(one_thread):
    torch.manual_seed(0)
    network = Mixed().eval()
    with torch.no_grad():
        network.large.weight[5] = network.query.weight[7] = network.huge.weight[9] = 0  # no scale to divide by
    return network


@pytest.fixture(scope="module")
def files(network, tmp_path_factory):
    """files(recipe): the network by one of RECIPES."""
    folder, made = tmp_path_factory.mktemp("int8"), {}

    def file(name):
        if name not in made:
            about = {"sertool": '{"name": "mixed"}', "more": "ü"}
            made[name] = export(network, folder / f"{name}.onnx", about, CLIPS, **RECIPES[name])
        return made[name]

    return file


@pytest.mark.parametrize("name", ["mixed", "seven", "matmul", "static", "weights"])
def test_exporting_again_gives_the_same_bytes(files, network, tmp_path, name):
    about = {"sertool": '{"name": "mixed"}', "more": "ü"}
    again = export(network, tmp_path / "again.onnx", about, CLIPS, **RECIPES[name])
    assert again.read_bytes() == files(name).read_bytes()


@pytest.mark.parametrize(
    ("name", "weights", "floats"),
    [
        ("mixed", {"small": 8, "large": 8, "huge": 8, "query": 8, "key": 8, "pooled": 8, "head": 8}, set()),
        ("seven", {"small": 8, "large": 8, "huge": 4, "query": 8, "key": 8, "pooled": 8, "head": 8}, set()),
        ("matmul", {"query": 8, "key": 8, "pooled": 8}, {"small", "large", "huge", "head"}),
        ("weights", dict.fromkeys(["small", "large", "huge", "query", "key", "pooled", "head"], 8), set()),
        ("few", {"small": 4, "large": 4, "huge": 4, "query": 2, "key": 2, "pooled": 2, "head": 8}, set()),
    ],
)
def test_each_recipe_quantises_its_weights_alone(files, network, name, weights, floats):
    found = stored(files(name))
    for layer, bits in weights.items():
        size = getattr(network, layer).weight.numel()
        tensor = found[f"{layer}.weight.int{bits}"]
        assert tensor.nbytes == (size if tensor.dtype.name == "int4" else size * bits // 8)
    kept = {key for key in found if key.endswith(".weight")}
    assert kept - {"query.weight", "key.weight"} == {f"{layer}.weight" for layer in floats | {"tiny"}}
    assert found["turn"].dtype == np.float32


def test_the_basis_is_quantised_only_if_that_is_asked(files, network, tmp_path):
    exact = {"real": network.logmel.real, "imaginary": network.logmel.imaginary, "mel": network.logmel.mel}
    for name in RECIPES:
        weights = [value for _, value in restored(files(name))]
        for basis in exact.values():
            assert any(same(value, basis.detach().numpy()) for value in weights)
    file = export(network, tmp_path / "basis.onnx", recipe="weights", basis=True)
    found = stored(file)
    for name, basis in exact.items():
        assert found[f"logmel.{name}.int8"].size == basis.numel()
    difference = np.abs(restored(file)[0][1] - exact["real"].detach().numpy())
    assert 1e-4 < difference.max() < 0.51 / 127


def test_values_and_scales_restore_each_weight_to_half_a_step(network, tmp_path):
    weights = restored(export(network, tmp_path / "plain.onnx", recipe="weights"))
    for layer in (network.small, network.large, network.huge, network.query, network.key, network.pooled):
        exact = layer.weight.detach().numpy().astype(float)
        found = [value for _, value in weights if value.shape == exact.shape] + [
            value.T for _, value in weights if value.shape == exact.T.shape
        ]
        step = np.abs(exact).reshape(len(exact), -1).max(axis=1).reshape(-1, *[1] * (exact.ndim - 1)) / 127
        assert any(np.all(np.abs(value - exact) <= step * 0.5001) for value in found)


def test_a_huge_convolution_has_a_scale_for_each_16_inputs(network, tmp_path):
    """It is rounded better than to the nearest of 16 steps to each block's largest value."""
    weight = network.huge.weight.detach().numpy()
    found = restored(export(network, tmp_path / "plain.onnx", conv=4))
    found = next(value for _, value in found if value is not None and value.shape == weight.shape)
    blocks, got = (x.reshape(256, 8, 16, 8) for x in (weight, found))
    assert all(len(np.unique(got[i, j, :, k])) <= 16 for i in range(0, 256, 37) for j in range(8) for k in range(8))
    plain = np.abs(blocks).max(axis=2, keepdims=True).clip(1e-9) / 7
    rounded = np.round(blocks / plain) * plain
    assert np.square(got - blocks).mean() < 0.94 * np.square(rounded - blocks).mean()


def test_few_bits_are_few_levels_of_each_output(files):
    weights = [value for op, value in restored(files("few")) if op != "Conv" and value is not None]
    query, key = [value for value in weights if value.shape == (256, 128)]
    for column in [*query.T, *key.T]:
        levels = np.unique(column)
        assert len(levels) <= 4
        steps = levels / max(np.abs(levels).max(), 1e-20) * 2
        assert np.allclose(steps, np.round(steps), atol=1e-5)  # -2, -1, 0, 1 times a scale
    assert len(np.unique(query[:, 0])) == 4


def test_they_agree_with_torch_at_every_length(network, files):
    allowed = {"mixed": 0.02, "seven": 0.02, "matmul": 0.02, "static": 0.05, "weights": 0.005, "four": 0.03, "few": 0.1}
    for name, most in allowed.items():
        for n in (257, 400, 16_001, 48_000):
            with torch.no_grad():
                expected = network(torch.from_numpy(noise(n))).numpy()
            difference = np.abs(outputs(files(name), noise(n)) - expected).max()
            assert 1e-7 < difference < most, (name, n)


def test_clips_make_few_bits_better(network, files, tmp_path):
    plain = export(network, tmp_path / "plain.onnx", **RECIPES["few"])
    off = {"plain": 0, "with clips": 0}
    for seed in range(1, 5):
        samples = noise(20_000, seed)  # none of the clips
        with torch.no_grad():
            expected = network(torch.from_numpy(samples)).numpy()
        for name, file in (("plain", plain), ("with clips", files("few"))):
            off[name] += np.square(outputs(file, samples) - expected).sum()
    assert off["with clips"] < 0.5 * off["plain"]


def test_stored_weights_cost_no_time(network, files, tmp_path):
    """onnxruntime is left with the nodes of float32, having computed the weights."""
    wanted = optimised(export(network, tmp_path / "float.onnx", name="onnx"), tmp_path)
    for name in ("weights", "four", "few"):
        assert sorted(optimised(files(name), tmp_path)) == sorted(wanted)


def test_products_join_again(files, tmp_path):
    graph = onnx.load(files("mixed")).graph
    count = {op: sum(node.op_type == op for node in graph.node) for op in ("DynamicQuantizeLinear", "MatMulInteger")}
    assert count == {"DynamicQuantizeLinear": 1, "MatMulInteger": 2}  # query and key share their input
    kinds = optimised(files("matmul"), tmp_path)
    assert sum(kind in ("MatMulIntegerToFloat", "DynamicQuantizeMatMul") for kind in kinds) == 3


def test_weights_of_products_have_8_bits_or_7_and_a_sign(files):
    """uint8 about 128 is exact on every processor; int8 of 7 bits stays within 16, which some add up in."""
    for name, kind, levels in (("mixed", np.uint8, 255), ("seven", np.int8, 127)):
        values = stored(files(name))["query.weight.int8"]
        assert values.dtype == kind
        assert int(values.max()) - int(values.min()) + 1 == levels


def test_static_computes_in_8_bits_what_the_front_end_left(files, network, tmp_path):
    kinds = optimised(files("static"), tmp_path)
    assert kinds.count("QLinearConv") == 4
    assert kinds.count("Conv") + kinds.count("FusedConv") == 2  # LogMel's
    assert "QGemm" in kinds
    weights = [value for value in stored(files("static")).values() if value.dtype == np.int8 and value.ndim > 1]
    assert len(weights) == 8
    assert max(np.abs(value.astype(int)).max() for value in weights) <= 64  # 2 * 255 * 64 is the most 16 bits hold


def test_static_needs_clips(network, tmp_path):
    with pytest.raises(UsageError, match=r"^onnx-int8: recipe=static needs recordings to calibrate with"):
        export(network, tmp_path / "it.onnx", recipe="static")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"recipe": "int3"}, r"recipe must be one of mixed, matmul, weights, static, not 'int3'"),
        ({"recipe": "weights", "bits": 3}, "bits must be 8, 4 or 2, not 3"),
        ({"recipe": "weights", "conv": "4"}, "conv must be 8, 4 or 2, not '4'"),
        ({"bits": 4}, "bits=4 is for recipe=weights, not mixed"),
        ({"recipe": "static", "conv": 4}, "conv=4 is for recipe=weights, not static"),
        ({"product": 6}, "product must be 8 or 7, not 6"),
        ({"recipe": "matmul", "conv": 4}, "conv=4 is for recipe=weights, not matmul"),
        ({"basis": "no"}, "basis must be true or false, not 'no'"),
    ],
)
def test_options_that_mean_nothing_are_refused(network, tmp_path, options, reason):
    with pytest.raises(UsageError, match=f"^onnx-int8: {reason}$"):
        export(network, tmp_path / "it.onnx", **options)


@pytest.mark.parametrize(("product", "kind", "largest"), [(7, QuantType.QInt8, 63), (8, QuantType.QUInt8, 127)])
def test_products_are_as_onnxruntime_quantises_them(tmp_path, product, kind, largest):
    class Products(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(64, 256), nn.Linear(256, 128)

        def forward(self, waveform):
            frames = waveform[:, : waveform.shape[1] // 64 * 64].reshape(1, -1, 64)
            return torch.tanh(self.two(torch.relu(self.one(frames)))).amax(dim=1)

    torch.manual_seed(1)
    network = Products().eval()
    export(network, tmp_path / "float.onnx", name="onnx")
    export(network, tmp_path / "ours.onnx", product=product)
    quantize_dynamic(
        tmp_path / "float.onnx",
        tmp_path / "theirs.onnx",
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=product == 7,
        weight_type=kind,
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )
    x = 5 * noise(6_400)
    ours, theirs, exact = (outputs(tmp_path / f"{name}.onnx", x) for name in ("ours", "theirs", "float"))
    # Theirs divides by 64, or 63.5, where ours does by 63: as near to the truth, and near to each other.
    assert np.abs(ours - theirs).max() < 2 * np.abs(theirs - exact).max()
    assert np.sqrt(np.mean((ours - exact) ** 2)) < 1.2 * np.sqrt(np.mean((theirs - exact) ** 2))
    values = [value for name, value in stored(tmp_path / "ours.onnx").items() if name.endswith("weight.int8")]
    assert [np.abs(value.astype(int) - 128 * (product == 8)).max() for value in values] == [largest, largest]


def test_the_same_weights_give_the_same_bytes_and_the_module_is_left_as_it_was(tmp_path):
    """Weight norm's weights are plain in the file, and trained on after it."""
    conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 128, 200, 50), dim=2)
    network = nn.Sequential(nn.Unflatten(1, (1, -1)), conv, nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        expected = network(torch.from_numpy(noise(9_000))).numpy()
    for name in ("once", "again"):
        export(network, file := tmp_path / f"{name}.onnx", {"key": "ü"}, CLIPS)
        assert np.abs(outputs(file, noise(9_000)) - expected).max() < 0.01
    assert stored(file)["1.weight.int8"].shape == (128, 1, 200)
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "once.onnx").read_bytes()
    after = network.state_dict()
    assert before.keys() == after.keys() == dict(network.named_parameters()).keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert not any(part._forward_pre_hooks for part in network.modules())
    network(torch.zeros(1, 400)).sum().backward()
    assert conv.parametrizations.weight.original1.grad is not None


def test_weights_that_several_layers_share_are_stored_once(tmp_path):
    conv = nn.Conv1d(1, 1, 301, padding=150)
    network = nn.Sequential(nn.Unflatten(1, (1, -1)), conv, nn.Tanh(), conv, nn.AdaptiveAvgPool1d(1), nn.Flatten())
    file = export(network, tmp_path / "it.onnx", clips=CLIPS, recipe="weights")
    assert sum(value.dtype == np.int8 for value in stored(file).values()) == 1
    with torch.no_grad():
        expected = network(torch.from_numpy(noise(9_000))).numpy()
    assert np.abs(outputs(file, noise(9_000)) - expected).max() < 0.01


def test_a_network_after_the_front_end_is_quantised_alike(network, tmp_path):
    wav2small = load_plugins().get("models", "wav2small").build().eval()
    inner, clips = frontend.without(wav2small), [wav2small.logmel(clip) for clip in CLIPS]
    source = Source(inner, torch.zeros(1, 2501, 26), "logmel", tuple(clips))
    exporter().export(source, tmp_path / "it.onnx", {}, recipe="weights", bits=4)
    session = onnxruntime.InferenceSession(tmp_path / "it.onnx")
    with torch.no_grad():
        expected = inner(clips[0]).numpy()
    assert np.abs(session.run(None, {"logmel": clips[0].numpy()})[0] - expected).max() < 0.02
    assert (tmp_path / "it.onnx").stat().st_size < 45_000


def test_metadata_survives(files):
    for name in RECIPES:
        meta = onnxruntime.InferenceSession(files(name)).get_modelmeta().custom_metadata_map
        assert meta == {"sertool": '{"name": "mixed"}', "more": "ü"}


def test_what_cannot_be_traced_is_one_line(tmp_path):
    class Other(nn.Module):
        def forward(self, waveform):
            return waveform if waveform.sum() > 0 else -waveform

    with pytest.raises(SertoolError, match=r"^Other cannot be exported to ONNX: [^\n]*$"):
        export(Other(), tmp_path / "it.onnx")
    assert not (tmp_path / "it.onnx").exists()


def test_the_tolerances():
    found = {name: exporter(name).tolerance for name in ("onnx", "audonnx", "onnx-fp16", "onnx-int8")}
    assert found == {"onnx": 1e-4, "audonnx": 1e-4, "onnx-fp16": 0.01, "onnx-int8": 0.05}


class Div(OpRun):
    """Integers are rounded to the nearest, as OpenVINO 2026.4 does, and not cut off as onnxruntime does."""

    def _run(self, x, y):
        if np.issubdtype(x.dtype, np.integer):
            return (np.rint(x / y).astype(x.dtype),)
        return (x / y,)


@pytest.mark.parametrize("form", ["onnx-int8:recipe=weights,bits=4", "onnx-int8:recipe=weights,bits=2"])
def test_weights_are_unpacked_alike_whatever_a_runtime_makes_of_a_division(tmp_path, form):
    origin, parsed = find_origin("wav2small"), variants.parse(form)
    (entry,) = variants.entries([parsed])
    variants.export(origin.network, parsed, tmp_path / "a.onnx", origin.manifest, entry, [])
    waveform = 0.1 * np.random.default_rng(0).standard_normal((1, 2_000)).astype(np.float32)
    (wanted,) = onnxruntime.InferenceSession(tmp_path / "a.onnx").run(None, {"waveform": waveform})
    (found,) = ReferenceEvaluator(onnx.load(tmp_path / "a.onnx"), new_ops=[Div]).run(None, {"waveform": waveform})
    np.testing.assert_allclose(found, wanted, atol=1e-4)
