"""A file that several shipped models use lies once beside them; packed, each bundle brings it along."""

import json
import shutil
import zipfile

import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, numpy_helper

from sertool import bundle
from sertool.bundle import folder
from sertool.errors import BundleError
from sertool.packaging import archive
from sertool.packaging.check import check
from sertool.runtime import Runtime

PART = "encoder-0123456789abcdef.bin"
SOUND = 0.2 * np.sin(np.arange(8_000) / 20).astype(np.float32)


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A folder for what shipped bundles share."""
    there = tmp_path / "shared"
    there.mkdir()
    monkeypatch.setattr(folder, "shared_folder", lambda: there)
    return there


@pytest.fixture
def split(tmp_path, shared, emotion_bundle):
    """A copy of a model of four classes whose weights lie in the shared folder."""
    path = shutil.copytree(emotion_bundle, tmp_path / "split")
    manifest = bundle.read(path).manifest
    (variant,) = manifest.variants
    model = onnx.load(path / variant.file)
    (weights,) = [tensor for tensor in model.graph.initializer if tensor.name == "weights"]
    data = numpy_helper.to_array(weights).tobytes()
    weights.ClearField("float_data")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", PART), ("offset", 0), ("length", len(data))):
        weights.external_data.add(key=key, value=str(value))
    model.metadata_props.add(key=bundle.METADATA_KEY, value=manifest.embedded(variant))
    onnx.save(model, path / variant.file)
    (shared / PART).write_bytes(data)
    (path / bundle.SAMPLES).mkdir()
    soundfile.write(path / bundle.SAMPLES / "a.wav", SOUND, 16_000, "FLOAT")
    lines = ["file,angry,happy,neutral,sad", ",".join(["a.wav", *map(str, outputs(emotion_bundle))])]
    (path / bundle.SAMPLES / bundle.EXPECTED).write_text("\n".join(lines) + "\n")
    bundle.write(path, manifest, "card\n")
    return path


def outputs(path):
    return Runtime(str(path)).run(SOUND)


def test_it_runs_and_is_checked_as_if_the_file_were_its_own(split, emotion_bundle, shared):
    assert not (split / PART).exists()
    assert np.array_equal(outputs(split), outputs(emotion_bundle))
    found = bundle.read(split)
    assert bundle.sums(split)[PART] == bundle.sha256(shared / PART)
    assert found.manifest.variants[0].beside == {PART: 16}
    assert found.variant().size == found.variant().bytes + 16
    assert check(found)["files"] == len(bundle.sums(split))


def test_its_own_file_comes_first(split, shared):
    shutil.copy(shared / PART, split / PART)
    (shared / PART).write_bytes(bytes(16))
    bundle.check_sums(bundle.read(split))
    outputs(split)


@pytest.mark.parametrize("harm", ["changed", "gone", "a link"])
def test_a_shared_file_that_is_not_the_one_listed_is_refused(split, shared, harm):
    if harm == "changed":
        (shared / PART).write_bytes(bytes(16))
    else:
        (shared / PART).rename(shared / "elsewhere")
    if harm == "a link":
        (shared / PART).symlink_to(shared / "elsewhere")
    with pytest.raises(BundleError, match=PART):
        outputs(split)
    with pytest.raises(BundleError, match=PART):
        bundle.check_sums(bundle.read(split))


def test_packed_and_installed_it_needs_nothing_beside_it(split, shared, tmp_path, emotion_bundle, monkeypatch):
    archive.pack(bundle.read(split), tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "x.zip") as packed:
        (name,) = [name for name in packed.namelist() if name.endswith(PART)]
        assert packed.read(name) == (shared / PART).read_bytes()
    monkeypatch.setenv("SERTOOL_BUNDLES", str(tmp_path / "home"))
    copied = archive.install(split, "copied", False, None, check)
    (shared / PART).unlink()
    unpacked = archive.unpack(tmp_path / "x.zip", tmp_path / "out")
    for found in (copied, unpacked):
        assert (found.path / PART).is_file()
        bundle.check_sums(found)
        assert np.array_equal(outputs(found.path), outputs(emotion_bundle))
    assert bundle.digest(unpacked.path) == bundle.digest(split)


@pytest.mark.parametrize("beside", [{"../x": 1}, {"x": -1}, {"x": "1"}, ["x"]])
def test_a_manifest_that_says_nonsense_of_what_lies_beside_is_refused(split, beside):
    manifest = json.loads((split / bundle.MANIFEST).read_text())
    manifest["variants"][0]["beside"] = beside
    with pytest.raises(BundleError, match="beside"):
        bundle.Manifest.parse(json.dumps(manifest), "it")


SHIPPED = sorted(path.parent for path in bundle.bundled_folder().glob(f"*/{bundle.MANIFEST}"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_what_ships_is_sound(path):
    found = check(bundle.read(path))
    assert found["name"] == path.name
    assert all(variant["samples"] == 4 for variant in found["variants"])


def test_mobile_models_share_one_encoder_and_have_at_most_15_mb():
    mobile = [bundle.read(path).variant() for path in SHIPPED if path.name.startswith("mobile")]
    assert len(mobile) == 3
    ((encoder, size),) = {tuple(*variant.beside.items()) for variant in mobile}
    assert (bundle.bundled_folder() / "shared" / encoder).stat().st_size == size
    assert [path.name for path in (bundle.bundled_folder() / "shared").iterdir()] == [encoder]
    assert all(variant.size <= 15_000_000 for variant in mobile)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_no_test_corpus_took_part_in_what_ships(path):
    """What a model is measured on from outside is in its metrics, and nowhere in its training data."""
    manifest = bundle.read(path).manifest
    assert not {"tess", "ased", "emotale"} & {entry["corpus"] for entry in manifest.training["data"]}
    free = all(
        "NC" not in entry["licence"] and "research" not in entry["licence"] for entry in manifest.training["data"]
    )
    assert free == (manifest.licence == "CC-BY-4.0")
