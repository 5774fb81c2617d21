"""Bundles on disk: written, read, checked, found; every fault named."""

import csv
import hashlib
import json
import shutil
from dataclasses import replace

import onnxruntime
import pytest

from sertool import bundle
from sertool.bundle import Manifest
from sertool.errors import BundleError
from sertool.labelling import Labeller
from sertool.packaging.check import self_test

SHIPPED = bundle.bundled_folder() / "wav2small"
KEYS = (
    *("schema", "name", "version", "title", "student", "task", "outputs", "sample_rate", "input", "frontend"),
    *("preprocessing", "window_s", "shortest_samples", "variants", "default", "licence", "training", "metrics"),
)


@pytest.fixture
def manifest(bundle_copy):
    return json.loads((bundle_copy / "bundle.json").read_text(encoding="utf-8"))


@pytest.fixture
def parsed(manifest):
    return Manifest.parse(json.dumps(manifest), "test")


def put(folder, manifest):
    (folder / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")


def fault(call, *arguments):
    with pytest.raises(BundleError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def checked(folder):
    return bundle.check_sums(bundle.read(folder))


def test_the_shipped_bundle_is_sound():
    found = bundle.read(SHIPPED)
    assert bundle.check_sums(found) == sum(path.is_file() for path in SHIPPED.rglob("*")) - 1  # all but the sums
    assert self_test(found)[0] == len(list((SHIPPED / "samples").glob("*.wav"))) > 0


def test_what_is_written_can_be_read_checked_and_run(bundle_copy, manifest, parsed):
    for name in ("bundle.json", "README.md", "SHA256SUMS"):
        (bundle_copy / name).unlink()
    for variant in parsed.variants:
        variant.bytes = variant.sha256 = None  # measured by write
    for table in (manifest["training"], parsed.training):
        table["recipe"]["title"] = "Größe"
    written = bundle.write(bundle_copy, replace(parsed, metrics={"val": {"CCC": float("nan")}}), "# A card\n")
    assert all(variant.bytes and variant.sha256 for variant in parsed.variants)
    assert written.manifest == replace(parsed, metrics={"val": {"CCC": None}}) == bundle.read(bundle_copy).manifest
    there = json.loads((bundle_copy / "bundle.json").read_text(encoding="utf-8"))
    assert there == manifest | {"metrics": {"val": {"CCC": None}}} == written.manifest.to_dict()
    assert (bundle_copy / "README.md").read_text() == "# A card\n"
    for line in (bundle_copy / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((bundle_copy / name).read_bytes()).hexdigest() == digest
    assert checked(bundle_copy) == len(list(bundle_copy.rglob("*.*"))) == checked(SHIPPED)
    assert self_test(written)[0] > 0


def test_what_this_version_does_not_know_or_was_not_measured_is_kept(bundle_copy, manifest):
    manifest |= {"more": {"a": 1}, "colour": "red"}
    manifest["variants"][0] |= {"more": [2], "difference": {}}
    put(bundle_copy, manifest)
    found = bundle.read(bundle_copy).manifest
    assert found.to_dict() == manifest
    assert bundle.write(bundle_copy, found, "a card").manifest.to_dict() == manifest


def test_the_id_changes_with_whatever_may_change_the_labels(bundle_copy, manifest):
    before = bundle.read(bundle_copy).id
    assert before == bundle.read(SHIPPED).id
    manifest["variants"][0]["sha256"] = "0" * 64
    put(bundle_copy, manifest)
    assert bundle.read(bundle_copy).id != before


@pytest.mark.parametrize("key", KEYS)
def test_each_key_is_required_and_named_if_missing(bundle_copy, manifest, key):
    del manifest[key]
    put(bundle_copy, manifest)
    said = fault(bundle.read, bundle_copy)
    assert "bundle.json" in said
    assert "schema" in said if key == "schema" else f"key '{key}' is missing" in said


@pytest.mark.parametrize(
    ("table", "key"),
    [("variants", k) for k in ("name", "file", "input", "bytes", "sha256", "difference")]
    + [("outputs", k) for k in ("name", "range")],
)
def test_each_key_of_a_variant_and_an_output_is_required(bundle_copy, manifest, table, key):
    del manifest[table][0][key]
    put(bundle_copy, manifest)
    said = fault(bundle.read, bundle_copy)
    assert f"{table}: key '{key}' is missing" in said


@pytest.mark.parametrize(
    ("key", "value"), [("sample_rate", "16000"), ("window_s", "8"), ("outputs", {}), ("shortest_samples", True)]
)
def test_a_key_of_the_wrong_type_is_named(bundle_copy, manifest, key, value):
    put(bundle_copy, {**manifest, key: value})
    assert f"'{key}' must be" in fault(bundle.read, bundle_copy)


@pytest.mark.parametrize("schema", ["sertool.bundle/2", "other", 1, None])
def test_an_unknown_schema_is_refused_with_the_one_that_is_known(bundle_copy, manifest, schema):
    put(bundle_copy, {**manifest, "schema": schema})
    assert f"schema {schema!r} is unknown (this sertool reads 'sertool.bundle/1')" in fault(bundle.read, bundle_copy)


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "null"])
def test_a_manifest_that_is_no_json_object_is_refused(bundle_copy, text):
    (bundle_copy / "bundle.json").write_text(text)
    assert str(bundle_copy / "bundle.json") in fault(bundle.read, bundle_copy)


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["model.onnx", "bundle.json", "README.md", "samples/expected.csv"])
def test_one_changed_bit_is_found_and_the_file_named(bundle_copy, name):
    flip(bundle_copy / name, (bundle_copy / name).read_bytes().rindex(b"0"))  # a digit stays valid JSON and CSV
    said = fault(checked, bundle_copy)
    assert str(bundle_copy / name) in said
    assert "SHA256SUMS" in said


def test_a_changed_model_is_not_run(bundle_copy):
    for variant in bundle.read(bundle_copy).manifest.variants:
        flip(bundle_copy / variant.file, -100)
        assert str(bundle_copy / variant.file) in fault(Labeller, str(bundle_copy), variant.name)


@pytest.mark.parametrize("name", ["model.onnx", "README.md", "samples/expected.csv", "SHA256SUMS", "bundle.json"])
def test_a_missing_file_is_named(bundle_copy, name):
    (bundle_copy / name).unlink()
    assert str(bundle_copy / name) in fault(checked, bundle_copy)


@pytest.mark.parametrize("line", ["no sum at all", "", f"{'0' * 63}  README.md", f"{'0' * 64} *README.md"])
def test_a_line_that_is_no_sum_is_refused(bundle_copy, line):
    with open(bundle_copy / "SHA256SUMS", "a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    assert f"{line!r} is not the checksum of a file in the bundle" in fault(checked, bundle_copy)


def test_a_file_that_is_not_listed_is_named(bundle_copy):
    (bundle_copy / "samples" / "extra.wav").write_bytes(b"x")
    assert "'samples/extra.wav' is not listed in SHA256SUMS" in fault(checked, bundle_copy)


def test_the_digest_of_a_bundle_is_that_of_its_sums(bundle_copy):
    assert bundle.digest(bundle_copy) == hashlib.sha256((SHIPPED / "SHA256SUMS").read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["model.onnx", "bundle.json", "README.md", "samples/expected.csv"])
def test_a_file_that_must_be_listed_and_is_not_is_named(bundle_copy, name):
    sums = bundle_copy / "SHA256SUMS"
    sums.write_text("".join(line for line in sums.read_text().splitlines(True) if not line.endswith(f"  {name}\n")))
    assert f"{name} is not listed" in fault(checked, bundle_copy)


def test_the_manifest_inside_the_model_is_the_one_beside_it():
    beside = json.loads((SHIPPED / "bundle.json").read_text(encoding="utf-8"))
    manifest = bundle.read(SHIPPED).manifest
    for variant in (entry for entry in manifest.variants if entry.runtime == "onnx"):
        session = onnxruntime.InferenceSession(SHIPPED / variant.file)
        inside = json.loads(session.get_modelmeta().custom_metadata_map["sertool.bundle"])
        assert inside == json.loads(manifest.embedded(variant))
        own = ("variants", "default", "training", "metrics", "calibration")
        assert inside["calibration"].keys() == beside["calibration"].keys() - {"about"}
        assert {k: v for k, v in inside.items() if k not in own} == {k: beside[k] for k in beside if k not in own}


def test_a_manifest_that_is_not_the_one_inside_the_model_fails_the_self_test(bundle_copy, parsed):
    written = bundle.write(bundle_copy, replace(parsed, licence="CC0"), "a card")
    assert checked(bundle_copy)
    for variant in written.manifest.variants:
        said = fault(self_test, written, variant.name)
        assert f"{variant.file}: its metadata and bundle.json differ in 'licence'" in said


def test_a_changed_expectation_fails_the_self_test(bundle_copy):
    path = bundle_copy / "samples" / "expected.csv"
    header, *rows = list(csv.reader(path.read_text().splitlines()))
    rows[1][2] = f"{float(rows[1][2]) + 0.01:.6f}"
    path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    assert rows[1][0] in fault(self_test, bundle.read(bundle_copy))


@pytest.mark.parametrize("text", ["", "file,arousal,dominance,valence\n", "file,arousal\na.wav,0.5\n"])
def test_a_bundle_without_expectations_fails_the_self_test(bundle_copy, text):
    (bundle_copy / "samples" / "expected.csv").write_text(text)
    assert "expected.csv" in fault(self_test, bundle.read(bundle_copy))


def test_an_unknown_task_is_refused(bundle_copy, manifest):
    put(bundle_copy, {**manifest, "task": "diarisation"})
    with pytest.raises(BundleError, match="task 'diarisation' is unknown"):
        bundle.read(bundle_copy)


def test_a_bundle_with_unknown_steps_in_front_is_not_run(bundle_copy, manifest):
    put(bundle_copy, {**manifest, "preprocessing": ["reverse"]})
    with pytest.raises(BundleError, match=r"'reverse'.*unknown step"):
        Labeller(str(bundle_copy))


def test_the_users_own_bundles_are_found_and_win_over_those_that_ship(bundle_copy, manifest, monkeypatch):
    put(bundle_copy, {**manifest, "version": "7.7"})
    shutil.copytree(bundle_copy, bundle_copy.parent / "mine")
    assert "mine" not in bundle.installed()
    monkeypatch.setenv("SERTOOL_BUNDLES", str(bundle_copy.parent))
    assert bundle.find("mine") == bundle_copy.parent / "mine"
    assert bundle.find("wav2small") == bundle_copy
    assert Labeller("wav2small").bundle.manifest.version == "7.7"


def test_a_folder_of_bundles_that_is_not_there_is_no_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("SERTOOL_BUNDLES", str(tmp_path / "none"))
    assert bundle.installed() == {path.parent.name: path.parent for path in SHIPPED.parent.glob("*/bundle.json")}
