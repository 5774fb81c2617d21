"""What native weights hold and compute, against torch and the ONNX graph; what they cost, as any file."""

import pytest

from sertool import bench
from sertool.errors import BundleError
from sertool.measure import cost, native
from sertool.plugins import load_plugins


@pytest.mark.parametrize("name", ["model.native", "model.int8.native"])
def test_weights_are_the_trained_ones_less_what_is_folded(native_bundle, name):
    network = load_plugins().get("models", "wav2small").build()
    trained = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
    norms, biases = 7 * 13, 2 * 169  # of a gain and an offset a bias is left; sof's and lin's biases are gone
    file = native_bundle() / name
    found = native.count(file, 80_000)
    assert found["parameters"] == trained - norms - biases
    assert found["bytes"] == file.stat().st_size


@pytest.mark.parametrize("samples", [33, 80_000, 80_031, 80_032, 80_064])
def test_multiplications_are_those_of_the_graph_behind_logmel(native_bundle, samples):
    logmel = (1 + samples // 32) * 33 * (2 * 64 + 26)
    graph = cost.macs(native_bundle() / "model.onnx", samples)
    assert native.count(native_bundle() / "model.native", samples)["macs"] == graph - logmel


def test_a_damaged_file_is_not_counted(native_bundle, tmp_path):
    (tmp_path / "it").write_bytes((native_bundle() / "model.native").read_bytes()[:-1])
    with pytest.raises(BundleError, match="size differs from its header"):
        native.count(tmp_path / "it", 80_000)


@pytest.mark.slow("measures models in processes of their own")
def test_bench_measures_each_variant_by_its_runtime(native_bundle):
    how, said = bench.How(seconds=1, repeats=2, warmup=1), []
    rows = {row["variant"]: row for row in bench.table(bench.subjects([str(native_bundle())]), how, said.append)}
    assert rows.keys() == {"fp32", "int8", "native", "native-int8"}
    assert not any("error" in row for row in rows.values())
    before = {name: row["peak_bytes"] - row["added_bytes"] for name, row in rows.items()}
    assert before["native"] < before["fp32"] - 10e6  # the import of onnxruntime is none of the model's
    assert rows["native-int8"]["bytes"] < rows["native"]["bytes"] / 3


@pytest.mark.slow("measures models in processes of their own")
def test_a_registered_network_is_measured_as_native_weights(native_bundle):
    how = bench.How(seconds=1, repeats=2, warmup=1)
    (row,) = bench.sweep(bench.subjects(["wav2small"], ["native"]), [1], how, lambda what: None)
    assert (row["variant"], "error" in row, "parts" in row) == ("native", False, False)
    assert row["macs"] == native.count(native_bundle() / "model.native", 16_000)["macs"]


@pytest.mark.slow("measures models in processes of their own")
def test_a_network_that_is_not_for_the_engine_is_one_line_in_the_table():
    how = bench.How(seconds=1, repeats=2, warmup=1)
    (row,) = bench.table(bench.subjects(["resnet"], ["native"]), how, lambda what: None)
    assert "native: only Wav2Small" in row["error"]
