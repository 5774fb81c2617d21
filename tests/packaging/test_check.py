"""`bundle check`'s core: tolerance by variant, both inputs, metadata; and two bundles compared."""

import csv
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sertool import audio, bundle
from sertool.errors import BundleError
from sertool.features import logmel
from sertool.packaging.check import TOLERANCE, check, self_test, tolerance
from sertool.packaging.diff import compare
from sertool.runtime import Runtime

SHIPPED = bundle.bundled_folder() / "wav2small"


def put_model(folder, about, variant, added=0.0):
    """A variant's file: outputs = mean of its input times (1, 2, 3) and something added."""
    frames = variant.input == "logmel"
    nodes = [helper.make_node("ReduceMean", [variant.input], ["each"], axes=[2], keepdims=0)] if frames else []
    nodes += [
        helper.make_node("ReduceMean", ["each" if frames else variant.input], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Gemm", ["mean", "weights", "added"], ["outputs"]),
    ]
    shape = [1, "frames", 26] if frames else [1, "time"]
    tensors = {"weights": np.array([[1, 2, 3]], np.float32) / 100, "added": np.full(3, added, np.float32)}
    made = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(variant.input, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    model.metadata_props.add(key=bundle.METADATA_KEY, value=about.embedded(variant))
    onnx.save(model, folder / variant.file)


@pytest.fixture
def made(tmp_path):
    """made(variants, name): a bundle whose samples are the shipped one's, with outputs of the first variant."""

    def make(variants, name="made", **about):
        folder = tmp_path / name
        shutil.copytree(SHIPPED / "samples", folder / "samples")
        about = replace(
            bundle.read(SHIPPED).manifest,
            **{"metrics": {}, "default": variants[0][0].name} | about,
            variants=[entry for entry, _ in variants],
        )
        for entry, added in variants:
            put_model(folder, about, entry, added)
        with open(folder / "samples" / "expected.csv", "w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["file", *about.output_names])
            runtime = Runtime(str(folder / variants[0][0].file))
            for clip in sorted((folder / "samples").glob("*.wav")):
                table.writerow([clip.name, *runtime.run(audio.read(clip))])
        return bundle.write(folder, about, "a card")

    return make


def variant(name, form="waveform", added=0.0, **difference):
    """A variant and what is added to its outputs."""
    return bundle.Variant(name, f"{name}.onnx", form, difference=difference), added


def test_a_variant_may_differ_by_twice_what_was_measured(made):
    given = [variant("fp32"), variant("int8", added=0.015, max=0.0075), variant("int4", added=0.03, max=0.015)]
    found = check(made(given))
    assert [v["name"] for v in found["variants"]] == ["fp32", "int8", "int4"]
    assert [v["allowed"] for v in found["variants"]] == pytest.approx([TOLERANCE, 0.016, 0.031])
    assert [v["difference"] for v in found["variants"]] == pytest.approx([0, 0.015, 0.03], abs=1e-6)
    assert all(v["samples"] == 4 for v in found["variants"])


def test_a_variant_that_differs_by_more_is_named_with_its_sample(made):
    with pytest.raises(BundleError, match=r"fast-german.wav: outputs of int8.onnx differ by 1.7e-02 .* than 1.6e-02"):
        check(made([variant("fp32"), variant("int8", added=0.017, max=0.0075)]))


def test_what_is_allowed_grows_with_what_was_measured_only():
    assert tolerance(bundle.Variant("fp32", "fp32.onnx", difference={})) == TOLERANCE
    assert tolerance(bundle.Variant("fp32", "fp32.onnx", difference={"max": 0.01})) == pytest.approx(TOLERANCE + 0.02)


def test_a_variant_that_takes_logmel_is_checked_as_label_runs_it(made):
    found = made([variant("fp32-logmel", "logmel")])
    assert check(found)["variants"][0]["difference"] < 1e-5
    clip = SHIPPED / "samples" / "plain.wav"
    mean = logmel(audio.read(clip), normalise=True).mean(dtype=np.float64)
    expected = bundle.expected_outputs(found)["plain.wav"]
    assert expected == pytest.approx(list(mean * np.array([1, 2, 3]) / 100), abs=1e-5)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("licence", "CC0"),
        ("version", "9"),
        ("window_s", 4.0),
        ("outputs", [bundle.Output(name, 0, 5) for name in ("arousal", "dominance", "valence")]),
        ("variants", None),
    ],
)
def test_metadata_unlike_the_manifest_are_found_in_every_variant(made, key, value):
    found = made([variant("fp32"), variant("second")])
    about, entry = found.manifest, found.manifest.variants[1]
    if key == "variants":
        shutil.copy(found.path / "fp32.onnx", found.path / "second.onnx")
    else:
        put_model(found.path, replace(about, **{key: value}), entry)
    found = bundle.write(found.path, about, "a card")
    first = "default" if key == "variants" else key
    with pytest.raises(BundleError, match=f"second.onnx: its metadata and bundle.json differ in '{first}'"):
        check(found)


def test_a_file_without_metadata_fails_though_it_is_listed(made):
    found = made([variant("fp32")])
    model = onnx.load(found.path / "fp32.onnx")
    del model.metadata_props[:]
    onnx.save(model, found.path / "fp32.onnx")
    bundle.write(found.path, found.manifest, "a card")
    with pytest.raises(BundleError, match=r"fp32.onnx: no 'sertool.bundle' in its metadata"):
        check(bundle.read(found.path))


def test_check_works_without_the_onnx_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert check(bundle.read(SHIPPED))["files"] > 4


def test_a_digest_is_asked_for_before_anything_is_loaded(made, monkeypatch):
    found = made([variant("fp32")])
    monkeypatch.setattr("sertool.packaging.check.self_test", None)
    with pytest.raises(BundleError, match="not the one you gave"):
        check(found, "0" * 64)


def test_self_test_of_one_variant_runs_that_one(made):
    found = made([variant("fp32"), variant("int8", added=0.5)])
    assert self_test(found) == (4, pytest.approx(0, abs=1e-6))
    with pytest.raises(BundleError, match=r"int8.onnx differ by 5.0e-01"):
        self_test(found, "int8")


# Two bundles


def test_compare_gives_the_differences_of_outputs_on_the_samples_of_both(made):
    one = made([variant("fp32")], "one")
    other = made([variant("fp32", added=0.25)], "other")
    Path(other.path / "samples" / "slow-low.wav").rename(other.path / "samples" / "renamed.wav")  # the same recording
    text = (other.path / "samples" / "expected.csv").read_text().replace("slow-low", "renamed")
    (other.path / "samples" / "expected.csv").write_text(text)
    found = compare(one, bundle.write(other.path, other.manifest, "a longer card"))
    assert found["equal"] is False
    assert found["clips"] == 4
    assert [output["name"] for output in found["outputs"]] == one.outputs
    for output in found["outputs"]:
        assert output["max"] == pytest.approx(0.25, abs=1e-6)
        assert output["mean"] == pytest.approx(0.25, abs=1e-6)
    sizes = {entry["file"]: (entry["a"], entry["b"]) for entry in found["files"]}
    size = (SHIPPED / "samples" / "slow-low.wav").stat().st_size
    assert sizes["samples/slow-low.wav"] == (size, None)
    assert sizes["samples/renamed.wav"] == (None, size)
    assert sizes["README.md"] == (6, 13)
    assert "samples/plain.wav" not in sizes


def test_compare_takes_the_variant_that_is_asked_for(made):
    one = made([variant("fp32"), variant("int8", added=0.5)], "one")
    other = made([variant("fp32"), variant("int8", added=0.75)], "other")
    assert max(output["max"] for output in compare(one, other)["outputs"]) == 0
    assert compare(one, other, "int8")["outputs"][0]["max"] == pytest.approx(0.25)
    assert compare(one, other, "int8")["bundles"][1]["variant"] == "int8"
    with pytest.raises(BundleError, match="no variant 'none'"):
        compare(one, other, "none")


def test_compare_names_fields_and_metrics(made):
    recipe = {"train": {"steps": 10}, "augment": [{"name": "noise", "p": 0.5}]}
    recipe["band"] = [{"name": "low", "p": 0.1}, {"name": "low", "p": 0.2}]
    changed = {"train": {"steps": 20}, "augment": [{"name": "noise", "p": 0.5}, {"name": "room", "p": 0.1}]}
    changed["band"] = [{"name": "low", "p": 0.3}, {"name": "low", "p": 0.2}]
    one = made([variant("fp32")], "one", training={"recipe": recipe}, metrics={"val": {"CCC": 0.5, "n": 3}})
    other = made([variant("fp32")], "other", training={"recipe": changed}, metrics={"val": {"CCC": 0.4, "UA": None}})
    found = compare(one, other)
    fields = {field["key"]: (field["a"], field["b"]) for field in found["fields"]}
    assert fields == {
        "training.recipe.train.steps": (10, 20),
        "training.recipe.band[0].p": (0.1, 0.3),
        "training.recipe.augment[room].name": (None, "room"),
        "training.recipe.augment[room].p": (None, 0.1),
    }
    assert found["metrics"] == [
        {"metric": "val.CCC", "a": 0.5, "b": 0.4, "change": -0.1},
        {"metric": "val.n", "a": 3, "b": None, "change": None},
        {"metric": "val.UA", "a": None, "b": None, "change": None},
    ]
    assert [entry["file"] for entry in found["files"]] == ["bundle.json"]
    assert found["equal"] is False


def test_compare_of_models_without_a_common_output_has_none(made):
    other = bundle.read(bundle.bundled_folder() / "wav2small-emotion")
    assert compare(made([variant("fp32")]), other)["outputs"] == []
