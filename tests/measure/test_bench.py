"""Which files are measured, and what is said of them."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from sertool import bench, bundle
from sertool.bench import Subject
from sertool.errors import UsageError
from sertool.plugins import load_plugins
from sertool.runtime import Runtime


@pytest.fixture
def two_variants(bundle_copy):
    """A bundle with a second file, which is the default."""
    shutil.copy(bundle_copy / "model.onnx", bundle_copy / "model.int8.onnx")
    manifest = json.loads((bundle_copy / "bundle.json").read_text())
    manifest["variants"] = manifest["variants"][:1] + [
        {**manifest["variants"][0], "name": "int8", "file": "model.int8.onnx"}
    ]
    (bundle_copy / "bundle.json").write_text(json.dumps(manifest | {"default": "int8"}))
    return str(bundle_copy)


def told(subjects):
    return [(one.model, one.format, one.network is not None) for one in subjects]


def test_without_a_name_published_networks_and_bundles_are_measured():
    found = told(bench.subjects([]))
    plugins = load_plugins()
    published = {name for name in plugins.names("models") if plugins.get("models", name).published}
    assert published >= {"teacher", "wavlm", "dawn", "wav2small", "distilhubert", "mobilenetv3-small"}
    assert {(name, form, True) for name in published for form in ("onnx", "onnx-int8")} <= set(found)
    for name in bundle.installed():
        for variant in bundle.read(bundle.find(name)).manifest.variants:
            assert (name, variant.name, False) in found
    assert found[0][0] == "teacher"  # the largest first
    assert len(found) == len(set(found))


def test_a_name_is_the_bundle_unless_the_network_is_asked_for(two_variants):
    variants = [v.name for v in bundle.read(bundle.find("wav2small")).manifest.variants]
    assert told(bench.subjects(["wav2small"])) == [("wav2small", name, False) for name in variants]
    both = [("wav2small", "onnx", True), ("wav2small", "onnx-int8", True)]
    assert told(bench.subjects(["wav2small:"])) == both
    assert told(bench.subjects(["wav2small"], ["onnx-int8"])) == both[1:]
    assert told(bench.subjects(["wav2small:outputs=4"], ["onnx"])) == [("wav2small:outputs=4", "onnx", True)]
    assert told(bench.subjects([two_variants], ["onnx"])) == [(two_variants, n, False) for n in ("fp32", "int8")]
    assert told(bench.subjects([f"{two_variants}:variant=int8"])) == [(two_variants, "int8", False)]


def test_the_paper_speaks_of_the_network_as_it_built_it():
    (teacher,) = bench.subjects(["teacher"], ["onnx"])
    assert teacher.network == 'teacher:members=[{model="wavlm"},{model="dawn"}]'
    table = {"parameters": 483.9e6, "macs": 149e9, "added_bytes": 1929e6, "seconds": 1.089}  # of Table I
    assert teacher.published == pytest.approx(table)
    (other,) = bench.subjects(['teacher:members=[{model="dawn"}]'], ["onnx"])
    assert other.network == 'teacher:members=[{model="dawn"}]'
    assert other.published == {}
    (small,) = bench.subjects(["wav2small"], ["onnx-int8"])
    assert small.published == {"parameters": 72e3, "macs": 0.4e9, "bytes": 120e3}
    assert bench.subjects(["wav2small:outputs=4"], ["onnx"])[0].published == {}


def test_what_is_not_there_is_named():
    with pytest.raises(UsageError, match=r"no model 'nobody'.*wav2small.*teacher"):
        bench.subjects(["nobody"])
    with pytest.raises(UsageError, match="no 'onyx'"):
        bench.subjects(["wav2small"], ["onyx"])


def test_two_models_side_by_side_are_their_defaults(two_variants):
    assert told(bench.pair(["wav2small-emotion", two_variants])) == [
        ("wav2small-emotion", bundle.read(bundle.find("wav2small-emotion")).manifest.default, False),
        (two_variants, "int8", False),
    ]
    assert told(bench.pair(["wav2small:", two_variants]))[0] == ("wav2small", "onnx", True)
    assert told(bench.pair([two_variants])) == [(two_variants, "fp32", False), (two_variants, "int8", False)]
    for models in ([], ["wav2small", "wav2small:", "dawn"], [f"{two_variants}:variant=fp32"]):
        with pytest.raises(UsageError, match="--vs takes two models"):
            bench.pair(models)


def row(model, form, variant, scale, **published):
    figures = {figure: scale * (i + 1) for i, figure in enumerate(bench.FIGURES)}
    return {"model": model, "format": form, "variant": variant, "published": published, **figures}


def test_multiples_are_of_the_smallest_published_model_in_the_same_format():
    rows = [
        row("large", "onnx", "fp32", 8, parameters=400, seconds=90),
        row("large", "onnx-int8", "int8", 6, parameters=400),
        {"model": "broken", "format": "onnx", "variant": "fp32", "published": {"parameters": 1}, "error": "died"},
        row("small", "onnx", "fp32", 2, parameters=20, seconds=3),
        row("small", "onnx-int8", "int8", 1, parameters=20, bytes=7),
        row("own", "int8", "int8", 3),
        row("own", "fp16", "fp16", 3),
    ]
    name, found = bench.relative(rows)
    assert name == "small"
    assert [(one["model"], one["format"]) for one in found] == [
        ("large", "onnx"),
        ("large", "onnx-int8"),
        ("small", "onnx"),
        ("small", "onnx-int8"),
        ("own", "int8"),
    ]
    assert [one["macs"] for one in found] == [(4, None), (6, None), (1, None), (1, None), (3, None)]
    assert [one["parameters"] for one in found] == [(4, 20), (6, 20), (1, 1), (1, 1), (3, None)]
    assert [one["seconds"][1] for one in found] == [30, None, 1, None, None]
    assert [one["bytes"][1] for one in found] == [None, None, None, 1, None]
    assert bench.relative(rows[-2:]) == (None, [])


def test_spread_is_the_middle_and_the_outer_tenths():
    assert bench.spread(list(range(1, 12))) == {"seconds": 6, "low_s": 2, "high_s": 10}
    assert bench.spread(np.arange(1, 12) / 2, "") == {"median": 3, "low": 1, "high": 5}


def test_conditions_name_the_checkout_and_nothing_where_there_is_none(tmp_path, monkeypatch):
    found = bench.conditions(bench.How(threads=2), ("onnxruntime", "nothing-of-that-name"))
    assert found["threads"] == 2
    assert found["repeats"] >= 20
    assert found["versions"]["nothing-of-that-name"] == "missing"
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "bench.py"))
    assert bench.conditions()["commit"] is None  # no checkout
    for command in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "-", "--allow-empty"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / "bench.py").touch()
    assert bench.conditions()["commit"] is None  # installed into a folder within somebody's checkout
    subprocess.run(["git", "add", "bench.py"], cwd=tmp_path, check=True)
    described = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=tmp_path, capture_output=True, text=True)
    assert bench.conditions()["commit"] == f"{described.stdout.strip()}-dirty"
    assert described.stdout.strip() in bench.headline(bench.conditions())


def test_subjects_may_be_of_parts():
    assert list(bench.subjects(["dawn"], ["onnx"])[0].parts) == ["feature extractor", "transformer layers"]
    assert bench.subjects(["wav2small"])[0] == Subject("wav2small", "fp32", "fp32")


@pytest.mark.parametrize("form", ["native", "native-int8"])
def test_a_network_is_exported_with_random_weights_and_calibrated_on_noise(form, tmp_path):
    from sertool.bench import network

    network.export("wav2small:centre=true", form, str(tmp_path / "x.native"))
    runtime = Runtime(str(tmp_path / "x.native"))
    found = runtime.run(np.full(16_000, 0.1, np.float32) * np.sin(np.arange(16_000, dtype=np.float32)))
    assert found.shape == (3,)
    assert np.isfinite(found).all()
