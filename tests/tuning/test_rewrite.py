"""Bundles that compute something after their model: every format, and again after that."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from sertool import bundle
from sertool.bundle import Output
from sertool.errors import BundleError, UsageError
from sertool.packaging.check import check
from sertool.runtime import Runtime
from sertool.testing.clips import sound
from sertool.tuning import cards
from sertool.tuning.rewrite import rewrite
from sertool.tuning.solver import Linear
from sertool.tuning.tail import Tail

CLIPS = [sound(20_000, seed=seed) for seed in range(3)]


def tail_of(source, names, classes, embedding=True, seed=0):
    """A tail with random weights, as large as those of a fit."""
    rng = np.random.default_rng(seed)
    old = len(source.manifest.outputs)
    width = Runtime(str(source.path)).width
    weights = 0.5 * rng.standard_normal((len(names), width)) / np.sqrt(width) if embedding else None
    linear = Linear(rng.standard_normal((len(names), old)), weights, rng.standard_normal(len(names)))
    return Tail(linear, source.manifest.task == "categorical", classes)


def rewritten(source, folder, names, classes, tail):
    task = "categorical" if classes else "dimensional"
    manifest = replace(
        source.manifest, name="own", task=task, outputs=[Output(name) for name in names], calibration={}, metrics={}
    )
    manifest.made = {"sertool": "0", "reference": "first"} | {
        part: {"on": "nothing", "clips": 0} for part in ("calibrated", "checked")
    }
    return rewrite(source, folder, manifest, tail, CLIPS, cards.own_card(manifest, source, "tune", ["Nothing."]))


@pytest.mark.parametrize("name", ["wav2small", "wav2small-emotion", "mobile-emotion"])
@pytest.mark.parametrize("classes", [True, False])
def test_every_file_computes_the_tail_and_the_bundle_is_sound(name, classes, tmp_path):
    source, names = bundle.read(bundle.find(name)), ["tense", "relaxed", "x y"]
    tail = tail_of(source, names, classes)
    made = rewritten(source, tmp_path / "own", names, classes, tail)
    assert made.dropped == {}
    for variant in source.manifest.variants:
        old, new = Runtime(name, variant.name), Runtime(str(tmp_path / "own"), variant.name)
        for clip in [*CLIPS, sound(60_000)]:
            outputs, embedding = (part[None].astype(np.float64) for part in old.run_both(clip))
            actual, same = new.run_both(clip)
            assert np.allclose(actual, tail(outputs, embedding)[0], atol=2e-5)
            assert np.array_equal(same, embedding[0].astype(np.float32))
    assert len(check(made.bundle)["variants"]) == len(source.manifest.variants)
    assert (tmp_path / "own" / bundle.WEIGHTS).exists() == (source.path / bundle.WEIGHTS).exists()


def test_a_bundle_can_be_rewritten_again(tmp_path):
    source = bundle.read(bundle.find("wav2small-emotion"))
    first = rewritten(source, tmp_path / "one", ["a", "b"], True, tail_of(source, ["a", "b"], True)).bundle
    tail = tail_of(first, ["c", "d", "e"], False, seed=1)
    second = rewritten(first, tmp_path / "two", ["c", "d", "e"], False, tail).bundle
    for variant in first.manifest.variants:
        old, new = Runtime(str(first.path), variant.name), Runtime(str(second.path), variant.name)
        outputs, embedding = (part[None].astype(np.float64) for part in old.run_both(CLIPS[0]))
        assert np.allclose(new.run(CLIPS[0]), tail(outputs, embedding)[0], atol=1e-4)
    check(second)


def test_a_shift_is_one_node_and_needs_no_embedding(tmp_path):
    import onnx

    source = bundle.read(bundle.find("mobile-emotion"))
    shift = np.array([0.5, -0.5, 0.25, -0.25])
    tail = Tail(Linear(np.eye(4), None, shift), True, True)
    made = rewritten(source, tmp_path / "own", source.manifest.output_names, True, tail)
    before, after = (
        [node.op_type for node in onnx.load(path / "model.int8.onnx", load_external_data=False).graph.node]
        for path in (source.path, made.bundle.path)
    )
    assert sorted(after) == sorted([*before, "Add"])
    expected = np.log(Runtime("mobile-emotion").run(CLIPS[0])) + shift
    assert np.allclose(
        Runtime(str(made.bundle.path)).run(CLIPS[0]), np.exp(expected) / np.exp(expected).sum(), atol=1e-5
    )


def test_the_weights_of_torch_are_exported_to_the_same_outputs(tmp_path):
    from sertool.exporting.origin import find_origin

    for name, classes in (("wav2small", True), ("wav2small-emotion", True), ("wav2small-emotion", False)):
        source, names = bundle.read(bundle.find(name)), ["a", "b", "c", "d", "e"]
        folder = tmp_path / f"{name}-{classes}"
        made = rewritten(source, folder, names, classes, tail_of(source, names, classes)).bundle
        manifest = made.manifest
        manifest.training["recipe"]["model"]["options"]["outputs"] = 5
        made = bundle.write(folder, manifest, (folder / bundle.CARD).read_text())
        origin = find_origin(str(folder))
        assert origin.model.outputs == tuple(names)
        import torch

        from sertool.features import steps

        prepared = torch.from_numpy(steps.build(manifest.preprocessing)(CLIPS[0]))[None]
        with torch.inference_mode():
            outputs = origin.network(prepared)[0].numpy()
        assert np.allclose(outputs, Runtime(str(folder), "fp32").run(CLIPS[0]), atol=1e-4)


def test_without_a_tail_only_the_manifest_changes(tmp_path):
    source = bundle.read(bundle.find("wav2small-emotion"))
    manifest = replace(source.manifest, licence="other")
    made = rewrite(source, tmp_path / "own", manifest, None, CLIPS, (source.path / bundle.CARD).read_text())
    check(made.bundle)
    for variant in source.manifest.variants:
        old, new = Runtime("wav2small-emotion", variant.name), Runtime(str(tmp_path / "own"), variant.name)
        assert np.array_equal(old.run(CLIPS[0]), new.run(CLIPS[0]))
        assert json.loads(new.embedded)["licence"] == "other"
    assert [v.checks for v in made.bundle.manifest.variants] == [v.checks for v in source.manifest.variants]


def test_what_cannot_be_rewritten_is_left_out_and_said(tmp_path):
    shutil.copytree(bundle.find("wav2small-emotion"), tmp_path / "source")
    source = bundle.read(tmp_path / "source")
    source.manifest.variants[0].format = "audonnx"
    source = bundle.write(source.path, source.manifest, (source.path / bundle.CARD).read_text())
    names = [f"n{i}" for i in range(17)]
    made = rewritten(source, tmp_path / "own", names, True, tail_of(source, names, True))
    assert made.dropped.keys() == {"fp32", "native", "native-int8"}
    assert "at most 16 outputs" in made.dropped["native"]
    assert [variant.name for variant in made.bundle.manifest.variants] == ["int8"]
    check(made.bundle)


def test_files_without_an_embedding_are_refused(tmp_path):
    from sertool.tuning import files

    source = bundle.read(bundle.find("wav2small-emotion"))
    tail = tail_of(source, ["a", "b"], True)
    tensors, text = bundle.container.unpacked((source.path / "model.native").read_bytes())
    tensors.pop("lin.bias")
    (tmp_path / "model.native").write_bytes(bundle.container.packed(tensors, text))
    with pytest.raises(BundleError, match="has no embedding"):
        files.write_native(tmp_path / "model.native", tmp_path / "out", tail, "{}")
    with pytest.raises(UsageError, match="a single file"):
        rewrite(
            bundle.Bundle(source.path / "model.onnx", source.manifest), tmp_path / "x", source.manifest, tail, [], ""
        )


def test_nothing_is_left_behind_by_a_failure(tmp_path, monkeypatch):
    from sertool.tuning import rewrite as module

    source = bundle.read(bundle.find("wav2small-emotion"))
    monkeypatch.setattr(module, "EXACT", -1.0)
    with pytest.raises(Exception, match="differ by"):
        rewritten(source, tmp_path / "own", ["a", "b"], True, tail_of(source, ["a", "b"], True))
    assert list(tmp_path.iterdir()) == []
