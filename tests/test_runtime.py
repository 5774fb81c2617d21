"""Which runtime runs a variant, and that both give what torch gives."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from sertool import bundle, load
from sertool.errors import AudioError, BundleError
from sertool.features import steps
from sertool.packaging import check
from sertool.runtime import Runtime
from sertool.testing.clips import sound

MODELS = ["wav2small", "wav2small-emotion"]
#: Around one FFT; around one row of the reshape, 13 tokens of 64 samples; odd; 1, 5 and 8 s.
LENGTHS = [33, 34, 63, 64, 65, 100, 831, 832, 833, 1_000, 9_999, 16_000, 33_333, 80_000, 128_000]


def clips():
    """Buzzes of many lengths, loud, soft and offset, and the samples that ship."""
    from sertool import audio

    made = [sound(n, level) for n, level in zip(LENGTHS, np.resize([0.1, 0.5, 0.01], len(LENGTHS)), strict=True)]
    return made + [audio.read(file) for file in sorted((bundle.bundled_folder() / MODELS[0] / "samples").glob("*.wav"))]


@pytest.mark.slow("takes long")
@pytest.mark.parametrize("name", MODELS)
def test_both_runtimes_agree_with_torch(native_bundle, one_thread, name):
    import torch

    from sertool.exporting.origin import find_origin

    network = find_origin(name).network
    runtimes = {kind: Runtime(str(native_bundle(name)), runtime=kind) for kind in bundle.RUNTIMES}
    assert {kind: runtime.variant.name for kind, runtime in runtimes.items()} == {"onnx": "fp32", "native": "native"}
    prepare = steps.build(runtimes["native"].bundle.manifest.preprocessing)
    for clip in clips():
        with torch.inference_mode():
            wanted = network(torch.from_numpy(prepare(clip))[None])[0].numpy()
        for runtime in runtimes.values():
            assert np.abs(runtime.run(clip) - wanted).max() < 1e-4, len(clip)


@pytest.mark.parametrize("name", MODELS)
def test_eight_bits_are_near(native_bundle, name):
    plain, small = (Runtime(str(native_bundle(name)), variant) for variant in ("native", "native-int8"))
    differences = [np.abs(plain.run(clip) - small.run(clip)).max() for clip in clips()]
    assert 1e-4 < max(differences) < 0.05


def test_eight_threads_that_share_a_runtime_get_the_bits_of_one(native_bundle):
    work = [sound(n) for n in LENGTHS[:12]] * 4
    runtime = Runtime(str(native_bundle()))
    alone = [runtime.run(clip) for clip in work]
    order = np.random.default_rng(0).permutation(len(work))
    with ThreadPoolExecutor(8) as pool:
        found = dict(zip(order, pool.map(lambda i: runtime.run(work[i]), order), strict=True))
    assert all(np.array_equal(found[i], wanted) for i, wanted in enumerate(alone))


def test_the_default_is_kept_where_it_is_of_the_runtime_else_the_first_that_is(native_bundle):
    found = bundle.read(native_bundle())
    assert found.variant().name == "native"
    assert found.variant(runtime="native").name == "native"
    assert found.variant(runtime="onnx").name == "fp32"
    assert found.variant("int8", "onnx").name == "int8"
    other = bundle.Bundle(found.path, replace(found.manifest, default="native-int8"))
    assert other.variant(runtime="native").name == "native-int8"
    assert load(str(native_bundle()), runtime="onnx").runtime.variant.name == "fp32"


def test_what_a_bundle_has_not_for_a_runtime_is_one_line(native_bundle, tmp_path):
    found = bundle.read(native_bundle())
    with pytest.raises(
        BundleError, match=r"variant 'int8' is not for runtime native \(there are: fp32 \(onnx\), int8 "
    ):
        Runtime(str(found.path), "int8", runtime="native")
    with pytest.raises(BundleError, match="no variant 'fp16'"):
        Runtime(str(found.path), "fp16", runtime="native")
    lone = shutil.copy(found.path / "model.onnx", tmp_path)
    with pytest.raises(BundleError, match=r"no variant is for runtime native \(there are: fp32 \(onnx\)\)"):
        Runtime(str(lone), runtime="native")


def test_a_lone_native_file_labels_whatever_it_is_called(native_bundle, tmp_path):
    clip, folder = sound(20_000), native_bundle()
    for name in ("model.native", "model.onnx", "model"):
        lone = Runtime(str(shutil.copy(folder / "model.native", tmp_path / name)))
        assert (lone.variant.name, lone.variant.runtime) == ("native", "native")
        assert np.array_equal(lone.run(clip), Runtime(str(folder)).run(clip))


def test_a_bundle_with_native_variants_is_sound(native_bundle):
    found = check.check(bundle.read(native_bundle()))
    assert [variant["runtime"] for variant in found["variants"]] == ["onnx", "onnx", "native", "native"]
    assert found["variants"][2]["difference"] < 1e-5


@pytest.mark.parametrize(
    ("samples", "reason"), [(np.nan, "NaN"), (np.inf, "infinity"), (np.zeros(32), "too short: 32")]
)
def test_what_the_engine_refuses_is_an_audio_error(native_bundle, samples, reason):
    runtime = Runtime(str(native_bundle()))
    with pytest.raises(AudioError, match=reason):
        runtime.run(np.asarray(samples, np.float32) * np.ones(50 if np.ndim(samples) == 0 else 32, np.float32))
    assert np.isfinite(runtime.run(sound(1_000))).all()  # as if nothing had been


@pytest.mark.parametrize(("kind", "loaded"), [("native", False), ("onnx", True)])
def test_onnxruntime_is_imported_for_onnx_files_alone(native_bundle, kind, loaded):
    script = "import sys, sertool; sertool.load(sys.argv[1], runtime=sys.argv[2]); print('onnxruntime' in sys.modules)"
    call = [sys.executable, "-c", script, str(native_bundle()), kind]
    assert subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip() == str(loaded)


def test_whatever_takes_a_variant_takes_a_runtime(native_bundle, command, tmp_path):
    from sertool.evaluation import run
    from sertool.testing import write_clips

    folder = str(native_bundle())
    for kind, variant in (("onnx", "fp32"), ("native", "native")):
        (labeller,) = run.labellers([folder], kind).values()
        assert labeller.runtime.variant.name == variant
        found = json.loads(command("bundle", "diff", folder, folder, "--runtime", kind, "--json").out)
        assert [about["variant"] for about in found["bundles"]] == [variant, variant]
        corpus, call = write_clips(tmp_path / "corpus"), ("--bootstrap", "0", "--json", "-", "--runtime", kind)
        found = json.loads(command("evaluate", folder, corpus, *call).out)
        assert [model["variant"] for model in found["models"]] == [variant]
    code, _, err = command("evaluate", "wav2small", tmp_path / "corpus", "--against", "nowhere", "--runtime", "native")
    assert (code, len(err.splitlines())) == (2, 1)
