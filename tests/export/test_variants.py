"""Files of a bundle: their names, what is measured of them, the limits that they are held to, the one that is run."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sertool import audio
from sertool.bundle import Variant
from sertool.errors import UsageError
from sertool.exporting import variants
from sertool.exporting.origin import find_origin
from sertool.exporting.variants import Limits, Material
from sertool.runtime import Runtime
from sertool.testing.clips import sound

ENTRY = Variant(
    "int8",
    "model.int8.onnx",
    difference={"max": 0.004, "mean": 0.001, "clips": 9},
    checks=[
        {"on": "val", "clips": 9, "metric": "UA", "fp32": 0.5, "value": 0.499, "drop": 0.001},
        {"on": "ood", "clips": 9, "metric": "UA", "fp32": 0.5, "value": 0.49, "drop": 0.01},
    ],
    bytes=80_001,
    cost={"speed": 0.97},
)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(), []),
        (Limits(max_diff=0.004, max_metric_drop=0.01, max_bytes=80_001, min_speed=0.97), []),
        (Limits(max_diff=0.0039), ["int8 differs from torch by 0.004, allowed is at most 0.0039"]),
        (Limits(max_metric_drop=0.005), ["int8 UA on ood drops by 0.0100, allowed is at most 0.005"]),
        (Limits(max_bytes=80_000), ["int8 has 80001 bytes, allowed is at most 80000"]),
        (Limits(min_speed=1), ["int8 runs at 0.97 times the speed of fp32, allowed is at least 1"]),
        (Limits(max_bytes=1, min_speed=2), ["80001 bytes", "0.97 times"]),
    ],
)
def test_a_limit_that_is_missed_is_named_with_the_figure(limits, words):
    missed = limits.missed(ENTRY, tolerance=0.05)
    assert len(missed) == len(words)
    assert all(word in line for word, line in zip(words, missed, strict=True))


def test_the_exporters_tolerance_holds_unless_the_user_says_another():
    assert Limits().missed(ENTRY, tolerance=0.003) == ["int8 differs from torch by 0.004, allowed is at most 0.003"]
    assert not Limits(max_diff=0.005).missed(ENTRY, tolerance=0.003)


@pytest.mark.parametrize("name", ["speed {0}", "high-speed corpus"])
def test_a_corpus_may_have_any_name(name):
    entry = replace(ENTRY, checks=[{**ENTRY.checks[0], "on": name}])
    assert Limits(max_metric_drop=0.0005).missed(entry, 1) == [
        f"int8 UA on {name} drops by 0.0010, allowed is at most 0.0005"
    ]
    assert not Limits(max_metric_drop=0.002).missed(entry, 1)


def test_what_is_not_a_number_keeps_no_limit():
    entry = replace(ENTRY, difference={"max": float("nan")})
    assert Limits().missed(entry, tolerance=1)


def entry(name, largest, speed, drop=0.0, low=1.01):
    cost = {"speed": speed, "speed_range": [low, 9]}
    return Variant(name, f"{name}.onnx", difference={"max": largest}, cost=cost, checks=[{"drop": drop}])


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], "fp32"),
        ([entry("native", 4e-4, 1.3)], "native"),
        ([entry("native", 4e-4, 1.02)], "fp32"),  # within the day's noise
        ([entry("native", 4e-4, 1.3, low=0.97)], "fp32"),
        ([entry("int8", 0.002, 1.3)], "fp32"),  # other outputs
        ([entry("native", 4e-4, 1.3, drop=0.006)], "fp32"),
        ([entry("a", 4e-4, 1.2), entry("b", 4e-4, 1.4)], "b"),
        ([Variant("untimed", "untimed.onnx", difference={"max": 0})], "fp32"),
    ],
)
def test_label_is_to_run_the_fastest_at_equal_output(others, expected):
    assert variants._default([entry("fp32", 1e-6, 1.0), *others]) == expected


def names(*texts):
    return [(e.name, e.file) for e in variants.entries([variants.parse(text) for text in texts])]


def test_variants_are_called_by_what_tells_them_apart():
    assert names("onnx") == [("fp32", "model.onnx")]
    assert names("onnx", "onnx:input=logmel") == [("fp32", "model.onnx"), ("fp32-logmel", "model.fp32-logmel.onnx")]
    assert names("onnx-int8:recipe=matmul") == [("int8", "model.int8.onnx")]
    assert names("native", "native-int8") == [("native", "model.native"), ("native-int8", "model.int8.native")]
    two = names("onnx-int8:recipe=matmul", "onnx-int8:recipe=weights,bits=4")
    assert [name for name, _ in two] == ["int8-matmul", "int8-weights-4"]


def test_formats_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match="formats onnx and onnx would both be variant 'fp32'"):
        names("onnx", "onnx")
    with pytest.raises(UsageError, match="input must be waveform or logmel, not 'mfcc'"):
        variants.parse("onnx:input=mfcc")
    with pytest.raises(UsageError, match="exporters: there is no 'tflite'"):
        variants.parse("tflite")


@pytest.fixture(scope="module")
def wav2small():
    from sertool.exporting import release
    from sertool.plugins import load_plugins
    from sertool.training.sections import BundleSection, ModelSection, Recipe

    model = load_plugins().get("models", "wav2small")
    torch.manual_seed(1)
    network = model.build().eval()
    recipe = Recipe(ModelSection("wav2small"), bundle=BundleSection(name="it"))
    return network, replace(release.describe(recipe, model, network), training={"data": []})


@pytest.fixture(scope="module")
def written(wav2small, tmp_path_factory):
    """(folder, manifest, Written) of two formats of one network, with a limit that the second misses."""
    network, manifest = wav2small
    manifest = replace(manifest, variants=[])
    folder = tmp_path_factory.mktemp("written")
    rng = np.random.default_rng(0)
    clips = [0.1 * rng.standard_normal(n).astype(np.float32) for n in (3_001, 16_000, 20_000)]
    formats = [variants.parse("onnx:input=logmel"), variants.parse("onnx")]
    limits = Limits(max_bytes=290_000)
    found = variants.write(folder, manifest, network, formats, Material(clips, runs=0), limits)
    return folder, manifest, found


@pytest.mark.slow("exports and measures files")
def test_only_what_keeps_the_limits_is_written(written):
    folder, manifest, found = written
    assert [path.name for path in folder.iterdir()] == ["model.fp32-logmel.onnx"]
    (kept,) = manifest.variants
    assert (kept.name, kept.input, kept.format) == ("fp32-logmel", "logmel", "onnx:input=logmel")
    assert kept.bytes == (folder / kept.file).stat().st_size
    assert manifest.default == found.default == "fp32-logmel"
    assert [(e.name, e.name in found.kept) for e in found.variants] == [("fp32-logmel", True), ("fp32", False)]
    assert found.kept == {"fp32-logmel"}
    assert len(found.missed) == 1
    assert found.missed[0].startswith("fp32 has ")


@pytest.mark.slow("exports and measures files")
def test_native_weights_are_compared_with_torch_and_kept(wav2small, tmp_path):
    network, manifest = wav2small
    manifest = replace(manifest, variants=[])
    clips = [sound(n, level) for n, level in ((3_001, 0.1), (16_000, 0.3), (40_000, 0.02))]
    formats = [variants.parse("native"), variants.parse("native-int8")]
    found = variants.write(tmp_path, manifest, network, formats, Material(clips, clips, runs=0))
    assert not found.missed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.int8.native", "model.native"]
    plain, small = manifest.variants
    assert (plain.runtime, small.runtime, manifest.default) == ("native", "native", "native")
    assert plain.difference["max"] < 1e-4 < small.difference["max"] < 0.05


def test_8_bits_without_recordings_leave_nothing(wav2small, tmp_path):
    network, manifest = wav2small
    clips = [sound(16_000)]
    with pytest.raises(UsageError, match=r"native-int8: needs recordings to calibrate with \(--calibrate DIR\)"):
        variants.write(
            tmp_path, replace(manifest, variants=[]), network, [variants.parse("native-int8")], Material(clips)
        )
    assert not list(tmp_path.iterdir())


def test_logmel_from_the_c_front_end_gives_what_torch_gives(wav2small, written):
    network, _ = wav2small
    folder, manifest, _ = written
    runtime = Runtime(str(folder / "model.fp32-logmel.onnx"))
    worst = 0.0
    for n in (33, 34, 63, 65, 1_000, 15_999, 16_000, 48_017, 300_000):
        samples = np.random.default_rng(n).standard_normal(n).astype(np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(samples)[None])[0].numpy()
        worst = max(worst, float(np.abs(runtime.run(samples) - expected).max()))
    assert worst <= 1e-4
    assert manifest.variants[0].difference["max"] <= 1e-4


@pytest.mark.slow("exports and measures files")
def test_the_difference_is_the_largest_over_all_clips(wav2small, tmp_path, monkeypatch):
    """An exporter that is wrong on long clips only."""
    network, manifest = wav2small
    real = variants.parse("onnx")

    class Drifting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, waveform):
            return self.network(waveform) + 0.03 * (torch.ones_like(waveform).sum() > 900_000)

    def export(source, path, metadata):
        real.exporter.export(replace(source, module=Drifting()), path, metadata)

    drifting = variants.Format("drifting", replace(real.exporter, name="drifting", export=export), {})
    manifest = replace(manifest, variants=[])
    clips = [np.random.default_rng(0).standard_normal(20_000).astype(np.float32)]
    found = variants.write(tmp_path, manifest, network, [drifting], Material(clips, runs=0))
    assert found.variants[0].difference["max"] == pytest.approx(0.03, abs=1e-3)
    assert not found.default
    assert not list(tmp_path.iterdir())


def test_an_option_that_an_exporter_does_not_have_is_named(wav2small, tmp_path):
    network, manifest = wav2small
    form = variants.parse("onnx:colour=red")
    with pytest.raises(UsageError, match=r"onnx:colour=red: .*'colour'; onnx is ONNX"):
        variants.export(network, form, tmp_path / "x.onnx", manifest, *variants.entries([form]), [])


@pytest.mark.slow("exports and measures files")
@pytest.mark.parametrize("form", ["native-int8", "onnx-int8:recipe=static", "onnx-int8:recipe=weights,bits=4"])
def test_the_same_clips_give_the_same_bytes_however_many_threads_there_are(tmp_path, form):
    origin = find_origin("wav2small")
    clips = [audio.read(sample) for sample in origin.samples] * 3
    parsed = variants.parse(form)
    (entry,) = variants.entries([parsed])
    before, written = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            path = tmp_path / str(threads) / entry.file
            path.parent.mkdir()
            variants.export(origin.network, parsed, path, origin.manifest, entry, clips)
            assert torch.get_num_threads() == threads
            written.append(path.read_bytes())
    finally:
        torch.set_num_threads(before)
    assert written[0] == written[1] == written[2]


def test_what_is_kept_for_the_end_decides_nothing():
    cost = {"speed": 2.0, "speed_range": [1.9, 2.1]}
    fast = Variant("int8", "model.int8.onnx", difference={"max": 1e-4}, cost=cost)
    cost = {"speed": 1.0, "speed_range": [1, 1]}
    plain = Variant("fp32", "model.onnx", difference={"max": 0.0}, cost=cost)
    on = {"metric": "UA", "fp32": 0.5, "value": 0.1, "drop": 0.4}
    kept, chosen = on | {"on": "test-ood", "chooses": False}, on | {"on": "val"}
    assert variants._default([plain, replace(fast, checks=[kept])]) == "int8"
    assert variants._default([plain, replace(fast, checks=[chosen])]) == "fp32"
    limits = Limits(max_metric_drop=0.01)
    assert not limits.missed(replace(fast, checks=[kept]), 0.01)
    assert limits.missed(replace(fast, checks=[chosen]), 0.01) == [
        "int8 UA on val drops by 0.4000, allowed is at most 0.01"
    ]


def test_whatever_calibrates_an_export_sums_on_one_thread(tmp_path):
    """The order of a sum on several threads is not the same each time, nor are then the bytes."""
    origin, seen = find_origin("wav2small"), []
    parsed = variants.parse("onnx")
    exporter = replace(parsed.exporter, export=lambda *_, **__: seen.append(torch.get_num_threads()))
    (entry,) = variants.entries([parsed])
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        variants.export(origin.network, replace(parsed, exporter=exporter), tmp_path / "a", origin.manifest, entry, [])
        assert (seen, torch.get_num_threads()) == ([1], 3)
    finally:
        torch.set_num_threads(before)
