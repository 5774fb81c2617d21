"""What a model costs: counts against graphs counted by hand and torch's own counter, memory against /proc."""

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sertool import bundle
from sertool.errors import SertoolError
from sertool.measure import cost
from sertool.plugins import load_plugins
from sertool.registry import Source

FLOAT, INT8, UINT8, INT32, INT64 = (getattr(TensorProto, n) for n in ("FLOAT", "INT8", "UINT8", "INT32", "INT64"))


def tensor(name, shape, kind=FLOAT, values=0):
    if kind == TensorProto.INT4:
        return helper.make_tensor(name, kind, shape, bytes((int(np.prod(shape)) + 1) // 2), raw=True)
    values = np.zeros(shape, helper.tensor_dtype_to_np_dtype(kind)) + np.array(
        values, helper.tensor_dtype_to_np_dtype(kind)
    )
    return numpy_helper.from_array(values, name)


@pytest.fixture
def saved(tmp_path):
    """saved(nodes, tensors, shape): a model from waveform of that shape to `y`; its path."""

    def save(nodes, tensors=(), shape=(1, "time"), **metadata):
        ends = [
            helper.make_tensor_value_info("waveform", FLOAT, shape),
            helper.make_tensor_value_info("y", FLOAT, None),
        ]
        graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], list(tensors))
        opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets)
        for key, value in metadata.items():
            model.metadata_props.add(key=key, value=value)
        onnx.save(model, tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    return save


def node(kind, inputs, output="y", **attributes):
    outputs = output.split()
    domain = "com.microsoft" if kind in ("MatMulNBits", "QGemm", "Mystery") else ""
    return helper.make_node(kind, inputs.split(), outputs, domain=domain, **attributes)


class Encoder(nn.Module):
    """Convolutions, one of them in groups, a group norm, two heads of attention, a linear layer."""

    def __init__(self):
        super().__init__()
        self.front = nn.Sequential(
            nn.Conv1d(1, 8, 10, stride=5, bias=False), nn.GroupNorm(8, 8), nn.GELU(), nn.Conv1d(8, 12, 3, groups=4)
        )
        self.mixed = nn.Linear(12, 48)
        self.head = nn.Linear(16, 3)

    def forward(self, waveform):
        x = self.mixed(self.front(waveform[:, None]).transpose(1, 2))
        q, k, v = (part.reshape(1, -1, 2, 8).transpose(1, 2) for part in x.split([16, 16, 16], dim=2))
        x = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.head(x.transpose(1, 2).reshape(1, -1, 16).mean(dim=1))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """An Encoder and its files by format."""
    torch.manual_seed(0)
    module, files = Encoder().eval(), {}
    for name in ("onnx", "onnx-int8"):
        files[name] = tmp_path_factory.mktemp("encoder") / "model.onnx"
        load_plugins().get("exporters", name).export(Source(module, torch.zeros(1, 80_000)), files[name], {})
    return module, files


def flops(module, inputs):
    """Multiply-accumulates as torch counts them where attention is written out."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module(inputs)
    return counter.get_total_flops() // 2


# --- weights


def test_weights_are_floats_and_not_what_a_formula_needs(saved):
    path = saved(
        [
            node("Unsqueeze", "waveform axes", "x"),
            node("Conv", "x kernel bias", "c"),
            node("Mul", "c factor", "d"),
            node("Constant", "", "gain", value=tensor("gain", [4, 1])),
            node("Mul", "d gain", "e"),
            node("Reshape", "e shape"),
        ],
        [
            tensor("kernel", [4, 1, 3]),
            tensor("bias", [4]),
            tensor("factor", []),
            tensor("axes", [1], INT64),
            tensor("shape", [2], INT64),
        ],
    )
    assert cost.parameters(path) == 12 + 4 + 4


def test_quantised_weights_count_and_their_scales_do_not(saved):
    path = saved(
        [
            node("DequantizeLinear", "a a.scale a.zero", "kernel", axis=0),
            node("DequantizeLinear", "b b.scale", "bias", axis=0),
            node("Unsqueeze", "waveform axes", "x"),
            node("Conv", "x kernel bias", "c"),
            node("DequantizeLinear", "four four.scale", "wide", axis=1, block_size=16),
            node("MatMul", "c wide", "d"),
            node("MatMul", "d wide.too", "d2"),
            node("DynamicQuantizeLinear", "d2", "u u.scale u.zero"),
            node("MatMulInteger", "u w u.zero w.zero", "i"),
            node("Cast", "i", "f", to=FLOAT),
            node("Mul", "u.scale w.scale", "s"),
            node("Mul", "f s", "g"),
            node("Cast", "half", "n.scale", to=FLOAT),
            node("MatMulNBits", "g n n.scale", "h", K=24, N=10, bits=4, block_size=16),
            node("QuantizeLinear", "h one zero", "q"),
            node("QLinearConv", "q one zero k k.scale k.zero one zero k.bias", "p"),
            node("DequantizeLinear", "p one zero"),
        ],
        [
            tensor("a", [8, 1, 3], INT8),
            tensor("a.scale", [8]),
            tensor("a.zero", [8], INT8),
            tensor("axes", [1], INT64),
            tensor("b", [8], INT32),
            tensor("b.scale", [8]),
            tensor("four", [2, 32], TensorProto.INT4),
            tensor("four.scale", [2, 2]),
            tensor("wide.too", [32, 5]),
            tensor("w", [5, 24], INT8),
            tensor("w.zero", [24], INT8),
            tensor("w.scale", [24]),
            tensor("n", [10, 2, 8], UINT8),
            tensor("half", [20], TensorProto.FLOAT16),
            tensor("k", [6, 8, 1], INT8),
            tensor("k.scale", [6]),
            tensor("k.zero", [6], INT8),
            tensor("k.bias", [6], INT32),
            tensor("one", []),
            tensor("zero", [], UINT8),
            tensor("unused", [7]),
        ],
    )
    assert cost.parameters(path) == 8 * 3 + 8 + 2 * 32 + 32 * 5 + 5 * 24 + 24 * 10 + 6 * 8 + 6


def test_weights_that_nodes_unpack_count_as_they_come_out(saved):
    path = saved(
        [
            node("Div", "bytes sixteen", "high"),
            node("Mod", "bytes sixteen", "low"),
            node("Concat", "high low", "pairs", axis=1),
            node("Cast", "pairs", "values", to=FLOAT),
            node("Reshape", "values shape", "blocks"),
            node("Mul", "blocks scales", "weights"),
            node("Reshape", "weights whole", "kernel"),
            node("MatMul", "waveform kernel", "a"),
            node("Transpose", "kernel", "turned"),  # the same weights again
            node("MatMul", "a turned", "b"),
            node("Cast", "steps", "times", to=FLOAT),
            node("Mul", "times hertz", "turns"),
            node("Cos", "turns", "basis"),  # computed, not stored
            node("MatMul", "b basis"),
        ],
        [
            tensor("bytes", [60, 1], UINT8),
            tensor("sixteen", [1], UINT8),
            tensor("shape", [2], INT64, [20, 6]),
            tensor("scales", [20, 1]),
            tensor("whole", [2], INT64, [30, 4]),
            tensor("steps", [30, 8], INT64),
            tensor("hertz", []),
        ],
    )
    assert cost.parameters(path) == 120


def test_wav2small_holds_its_weights_with_batch_norms_folded():
    network = load_plugins().get("models", "wav2small").build()
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    expected = sum(weights.numel() for weights in network.parameters()) - sum(norm.num_features for norm in norms)
    assert cost.parameters(bundle.bundled_folder() / "wav2small" / "model.onnx") == expected


# --- multiply-accumulates


def test_products_counted_by_hand(saved):
    path = saved(
        [
            node("MatMul", "waveform a", "b"),  # [1, 6] x [6, 4]
            node("Gemm", "b w", "c", transA=1, transB=1),  # [4, 1] x [1, 5]
            node("Unsqueeze", "c axes", "d"),  # [1, 4, 5]
            node("Conv", "d kernel", "e", pads=[1, 1]),  # [4, 5] -> [3, 5]
            node("ConvTranspose", "e upward", "f", strides=[2]),  # [3, 5] -> [2, 11]
            node("LSTM", "f x r", "g", hidden_size=2),  # one step of 2, 11 -> 2
            node("Relu", "g"),
        ],
        [
            tensor("a", [6, 4]),
            tensor("w", [5, 1]),
            tensor("axes", [1], INT64),
            tensor("kernel", [3, 4, 3]),
            tensor("upward", [3, 2, 3]),
            tensor("x", [1, 8, 11]),
            tensor("r", [1, 8, 2]),
        ],
    )
    counted = [6 * 4, 4 * 5, 3 * 5 * 4 * 3, 3 * 5 * 2 * 3, 2 * 8 * (11 + 2)]
    assert cost.macs(path, 6) == sum(counted)


def test_quantised_products_count_as_any(saved):
    path = saved(
        [
            node("MatMulNBits", "waveform n s", "a", K=32, N=10, bits=4, block_size=16),
            node("DynamicQuantizeLinear", "a", "u us uz"),
            node("MatMulInteger", "u w uz", "i"),  # [1, 10] x [10, 6]
            node("Cast", "i", "f", to=FLOAT),
            node("Unsqueeze", "f axes", "g"),
            node("DynamicQuantizeLinear", "g", "v vs vz"),
            node("ConvInteger", "v k vz", "j", pads=[1, 1]),  # [1, 6] -> [4, 6]
            node("Cast", "j", "h", to=FLOAT),
            node("QuantizeLinear", "h one zero", "q"),
            node("QLinearConv", "q one zero k2 one zero2 one zero", "p"),  # [4, 6] -> [2, 6]
            node("DequantizeLinear", "p one zero"),
        ],
        [
            tensor("n", [10, 2, 8], UINT8),
            tensor("s", [20]),
            tensor("w", [10, 6], INT8),
            tensor("axes", [1], INT64),
            tensor("k", [4, 1, 3], UINT8),
            tensor("k2", [2, 4, 1], INT8),
            tensor("one", []),
            tensor("zero", [], UINT8),
            tensor("zero2", [], INT8),
        ],
    )
    assert cost.macs(path, 32) == 32 * 10 + 10 * 6 + 4 * 6 * 3 + 2 * 6 * 4


def test_attention_is_two_products(saved):
    nodes = [node("Attention", "waveform waveform waveform", q_num_heads=2, kv_num_heads=2)]
    path = saved(nodes, shape=(1, "time", 8))
    assert cost.macs(path, 7) == 2 * 7 * 7 * 8


@pytest.mark.parametrize("samples", [33, 16_001, 80_000])
def test_wav2small_as_torch_counts_it(samples):
    network = load_plugins().get("models", "wav2small").build().eval()
    path = bundle.bundled_folder() / "wav2small" / "model.onnx"
    assert cost.macs(path, samples) == flops(network, torch.zeros(1, samples))


@pytest.mark.slow("measures models in processes of their own")
@pytest.mark.parametrize("name", ["onnx", "onnx-int8"])
def test_convolutions_and_attention_as_torch_counts_them(encoder, name):
    module, files = encoder
    for samples in (1000, 16_001):
        assert cost.macs(files[name], samples) == flops(module, torch.zeros(1, samples))


def test_logmel_of_the_front_end_is_left_out(saved):
    manifest = {"variants": [{"input": "logmel"}], "frontend": {"hop": 32}}
    nodes = [node("MatMul", "waveform a")]
    path = saved(nodes, [tensor("a", [26, 5])], (1, "frames", 26), **{bundle.METADATA_KEY: json.dumps(manifest)})
    assert cost.macs(path, 3200) == 101 * 26 * 5


def test_what_cannot_be_counted_is_said(saved):
    path = saved([node("Mystery", "waveform", "x"), node("MatMul", "x a")], [tensor("a", [26, 5])])
    with pytest.raises(SertoolError, match=r"model\.onnx: the shape of '[xy]' is unknown"):
        cost.macs(path, 100)


def test_bytes_include_external_data(tmp_path):
    weights = numpy_helper.from_array(np.zeros((1000, 3), np.float32), "a")
    ends = [helper.make_tensor_value_info(name, FLOAT, None) for name in ("waveform", "y")]
    model = helper.make_model(helper.make_graph([node("MatMul", "waveform a")], "g", ends[:1], ends[1:], [weights]))
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="data", size_threshold=0)
    (tmp_path / "other").write_bytes(b"not of the model")
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes["data"] >= 12_000
    assert cost.stored_bytes(tmp_path / "model.onnx") == sizes["model.onnx"] + sizes["data"]


def test_a_group_norm_of_21_is_seen_through(saved):
    nodes = [node("Unsqueeze", "waveform axes", "x"), node("GroupNormalization", "x g b", "n", num_groups=1)]
    path = saved(
        [*nodes, node("Conv", "n k")],
        [tensor("axes", [1], INT64), *(tensor(n, [1]) for n in "gb"), tensor("k", [4, 1, 3])],
    )
    assert cost.macs(path, 10) == 8 * 4 * 3


# --- parts


@pytest.mark.slow("trains or exports a network")
@pytest.mark.parametrize("name", ["onnx", "onnx-int8"])
def test_parts_one_after_another_are_the_whole(encoder, name, tmp_path):
    _, files = encoder
    pieces = cost.cut(files[name], {"front": "front", "rest": ""}, tmp_path)
    assert list(pieces) == ["front", "rest"]
    waveform = np.random.default_rng(0).standard_normal((1, 4000)).astype(np.float32)
    values = {"waveform": waveform}
    for path in pieces.values():
        session = onnxruntime.InferenceSession(path)
        given = session.run(None, {end.name: values[end.name] for end in session.get_inputs()})
        values |= zip((end.name for end in session.get_outputs()), given, strict=True)
    whole = onnxruntime.InferenceSession(files[name])
    np.testing.assert_allclose(values["outputs"], whole.run(None, {"waveform": waveform})[0], rtol=1e-4, atol=1e-6)
    # Every multiplication of the convolutions is in the first, every other one in the second.
    graphs = [onnx.load(path).graph for path in pieces.values()]
    kinds = [{n.op_type for n in graph.node} & {"Conv", "MatMul", "MatMulInteger", "Gemm"} for graph in graphs]
    assert kinds[0] == {"Conv"}
    assert "Conv" not in kinds[1]
    assert kinds[1]


def test_a_part_ends_with_what_takes_its_weights_not_with_what_unpacks_them(saved, tmp_path):
    path = saved(
        [
            node("Unsqueeze", "waveform axes", "x"),
            node("Cast", "all.ears.1.int8", "float", to=FLOAT),
            node("Mul", "float scale", "kernel"),
            node("Conv", "x kernel", "a"),
            node("DequantizeLinear", "all.ears.2 scale", "second"),
            node("Conv", "a second", "b"),
            node("Relu", "b", "c"),
            node("MatMul", "c all.mind"),
        ],
        [
            tensor("axes", [1], INT64, 1),
            tensor("all.ears.1.int8", [4, 1, 3], INT8),
            tensor("all.ears.2", [4, 4, 1], INT8),
            tensor("scale", []),
            tensor("all.mind", [8, 2]),
        ],
    )
    ears, mind = cost.cut(path, {"ears": "ears", "mind": "mind"}, tmp_path).values()
    assert cost.macs(ears, 10) == 8 * 4 * 3 + 8 * 4 * 4
    assert cost.parameters(ears) == 12 + 16
    assert [n.op_type for n in onnx.load(mind).graph.node] == ["Relu", "MatMul"]


def test_a_part_without_weights_is_named(encoder, tmp_path):
    with pytest.raises(SertoolError, match="no weights of 'fron' in it: its ears cannot be measured separately"):
        cost.cut(encoder[1]["onnx"], {"ears": "fron", "rest": ""}, tmp_path)


# --- time


def test_calls_take_turns_and_warm_up_does_not_count(monkeypatch):
    clock, seen = [0.0], []
    monkeypatch.setattr(cost.time, "perf_counter", lambda: clock[0])

    def call(name, seconds):
        def run():
            seen.append(name)
            clock[0] += seconds(len(seen))

        return run

    calls = {"a": call("a", lambda n: 100 if n <= 4 else 1), "b": call("b", lambda n: 100 if n <= 4 else 2)}
    assert cost.alternating(calls, repeats=3, warmup=2) == {"a": [1, 1, 1], "b": [2, 2, 2]}
    rounds = ["".join(seen[i : i + 2]) for i in range(0, 10, 2)]
    assert rounds in (["ab", "ba"] * 2 + ["ab"], ["ba", "ab"] * 2 + ["ba"])


# --- a process of its own


@pytest.fixture(scope="module")
def heavy(tmp_path_factory, labeller):
    """A lone file whose weights are 64 MB."""
    weights = np.random.default_rng(0).standard_normal((1, 1 << 24)).astype(np.float32)
    nodes = [
        node("ReduceMean", "waveform axis", "mean", keepdims=1),
        node("MatMul", "mean a", "b"),
        node("ReduceMean", "b axis", "c", keepdims=1),
        node("Mul", "c three", "y"),
    ]
    tensors = [numpy_helper.from_array(weights, "a"), numpy_helper.from_array(np.array([1]), "axis")]
    tensors.append(numpy_helper.from_array(np.ones((1, 3), np.float32), "three"))
    ends = [
        helper.make_tensor_value_info("waveform", FLOAT, [1, "time"]),
        helper.make_tensor_value_info("y", FLOAT, [1, 3]),
    ]
    graph = helper.make_graph(nodes, "heavy", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    text = labeller.bundle.manifest.embedded(bundle.Variant("fp32", "model.onnx"))
    model.metadata_props.add(key=bundle.METADATA_KEY, value=text)
    path = tmp_path_factory.mktemp("heavy") / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.slow("measures models in processes of their own")
def test_a_fresh_process_tells_time_and_memory(heavy):
    found = cost.fresh(str(heavy), seconds=0.5, repeats=4, warmup=1)
    assert len(found.seconds) == 4
    assert min(found.seconds) > 0
    assert found.load_s > 0
    assert (found.threads, found.audio_s) == (1, 0.5)
    # The file's weights, and perhaps a copy or two, are what the model adds.
    assert 60e6 < found.added_bytes < 300e6
    script = """
import sys
import numpy as np
from sertool.runtime import Runtime
peak = lambda: int(next(x for x in open("/proc/self/status") if x.startswith("VmHWM")).split()[1]) * 1024
before = peak()
runtime = Runtime(sys.argv[1])
for _ in range(5):  # the second run needs more than the first
    runtime.run(np.ones(8000, np.float32))
print(before, peak())
"""
    done = subprocess.run([sys.executable, "-c", script, heavy], capture_output=True, check=True)
    before, after = map(int, done.stdout.split())
    assert found.peak_bytes == pytest.approx(after, rel=0.15)
    assert found.added_bytes == pytest.approx(after - before, rel=0.15)


def test_neither_torch_nor_onnx_nor_the_working_directory_is_imported(tmp_path, monkeypatch):
    (tmp_path / "poison").mkdir()
    for folder, names in ((tmp_path / "poison", ("torch", "onnx", "transformers", "scipy")), (tmp_path, ("json",))):
        for name in names:
            (folder / f"{name}.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path / "poison")
    monkeypatch.chdir(tmp_path)
    assert len(cost.fresh("wav2small", seconds=0.1, repeats=2).seconds) == 2


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        ("nobody", {}, "no model 'nobody'"),
        ("wav2small", {"variant": "int2"}, "no variant 'int2'"),
        ("wav2small", {"seconds": 0.001}, "wav2small: too short: 16 samples"),
    ],
)
def test_what_is_wrong_is_one_line(model, options, reason):
    with pytest.raises(SertoolError, match=reason) as caught:
        cost.fresh(model, repeats=1, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "wav2small: its process was killed; most likely memory ran out"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "wav2small: its process crashed with SIGSEGV"),
        ("raise RuntimeError('a bad day')", "wav2small: its process failed: RuntimeError: a bad day"),
        ("raise MemoryError", "wav2small: memory ran out"),
    ],
)
def test_a_process_that_dies_is_an_error(death, reason, tmp_path, monkeypatch):
    hook = f"import os, signal\nfrom sertool.measure import process\ndef die(**job):\n    {death}\n"
    (tmp_path / "sertool_dying.py").write_text(hook + "process.TASKS['measure'] = die\n")
    run = subprocess.run

    def instead(command, **how):
        assert command[1:4] == ["-P", "-m", "sertool.measure.process"]
        code = "import sys, sertool_dying; sertool_dying.process.main(sertool_dying.process.TASKS, *sys.argv[1:])"
        return run([command[0], "-P", "-c", code, *command[4:]], **how)

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cost.subprocess, "run", instead)
    with pytest.raises(SertoolError, match=reason) as caught:
        cost.fresh("wav2small")
    assert "\n" not in str(caught.value)
