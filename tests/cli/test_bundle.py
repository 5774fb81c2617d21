"""`sertool bundle` and `sertool models` as a person calls them."""

import hashlib
import json
import shutil
import zipfile
from dataclasses import replace

import pytest

from sertool import bundle

SHIPPED = bundle.bundled_folder() / "wav2small"


@pytest.fixture
def manifest():
    return json.loads((SHIPPED / "bundle.json").read_text(encoding="utf-8"))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SERTOOL_BUNDLES", str(tmp_path / "home"))
    return tmp_path / "home"


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_bundle_check_passes_a_sound_bundle_by_name_and_by_folder(command, bundle_copy):
    for named in ("wav2small", bundle_copy):
        code, out, err = command("bundle", "check", named)
        assert (code, err) == (0, "")
        assert out.splitlines()[-1] == "sound"
        assert "model.onnx: " in out
        assert f"sha256 {bundle.digest(SHIPPED)}" in out
    found = json.loads(command("bundle", "check", "wav2small", "--json").out)
    assert found["sound"] is True
    assert found["sha256"] == bundle.digest(SHIPPED)
    assert found["files"] == sum(path.is_file() for path in SHIPPED.rglob("*")) - 1
    assert [v["file"] for v in found["variants"]] == [v.file for v in bundle.read(SHIPPED).manifest.variants]
    assert all(v["difference"] <= v["allowed"] for v in found["variants"])


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda folder: flip(folder / "model.onnx", -100), "model.onnx"),
        (lambda folder: (folder / "samples" / "plain.wav").unlink(), "plain.wav"),
        (lambda folder: (folder / "bundle.json").write_text("{}"), "bundle.json"),
        (lambda folder: shutil.rmtree(folder), "no model"),
    ],
    ids=["changed", "missing", "empty manifest", "no bundle"],
)
def test_bundle_check_fails_with_1_and_one_line_that_names_the_fault(command, bundle_copy, harm, named):
    harm(bundle_copy)
    code, out, err = command("bundle", "check", bundle_copy)
    assert code == 1
    assert "sound" not in out
    assert len(err.splitlines()) == 1
    assert named in err


def test_bundle_show_shows_what_the_manifest_says(command, manifest):
    code, out, _ = command("bundle", "show", "wav2small")
    assert code == 0
    for value in (manifest["version"], manifest["licence"], "arousal (0 to 1)", manifest["variants"][0]["bytes"]):
        assert str(value) in out
    ccc = manifest["metrics"]["val"]["overall"]["measures"]["arousal CCC"]["value"]
    assert f"val       all, 1436 clips: arousal CCC {ccc:.3f}" in out
    checks = manifest["metrics"]["robustness"]
    assert f"of {len(checks)} checks passed: arousal {sum(c['passed']['arousal'] for c in checks)}" in out
    code, out, _ = command("bundle", "show", "wav2small", "--json")
    assert json.loads(out) == manifest


def test_bundle_show_of_no_bundle_ends_with_2(command):
    code, _, err = command("bundle", "show", "no-such-bundle")
    assert code == 2
    assert "no model 'no-such-bundle' (there are: mobile, mobile-emotion, mobile-emotion-free, " in err


def test_models_lists_bundles_and_networks(command, manifest):
    code, out, _ = command("models")
    assert code == 0
    assert any("wav2small" in line and manifest["licence"] in line for line in out.splitlines())
    code, out, _ = command("models", "--json")
    listed = json.loads(out)
    (shipped,) = [entry for entry in listed["bundles"] if entry["name"] == "wav2small"]
    assert shipped == {
        "name": "wav2small",
        "path": str(SHIPPED),
        "shipped": True,
        **{key: manifest[key] for key in ("version", "student", "task", "licence")},
        "outputs": [output["name"] for output in manifest["outputs"]],
        "variants": {variant["name"]: variant["bytes"] for variant in manifest["variants"]},
    }
    assert "wav2small" in [entry["name"] for entry in listed["networks"]]


def test_models_lists_a_damaged_bundle_with_its_fault(command, bundle_copy, monkeypatch):
    shutil.copytree(bundle_copy, bundle_copy.parent / "damaged")
    (bundle_copy.parent / "damaged" / "bundle.json").write_text("{")
    monkeypatch.setenv("SERTOOL_BUNDLES", str(bundle_copy.parent))
    code, out, _ = command("models")
    assert code == 0
    (line,) = [line for line in out.splitlines() if line.split()[0] == "damaged"]
    assert "not JSON" in line
    listed = {entry["name"]: entry for entry in json.loads(command("models", "--json").out)["bundles"]}
    assert "not JSON" in listed["damaged"]["error"]
    assert listed["wav2small"]["shipped"] is False


def test_bundle_check_names_the_fault_as_json_too(command, bundle_copy):
    flip(bundle_copy / "README.md", 0)
    code, out, err = command("bundle", "check", bundle_copy, "--json")
    assert (code, err) == (1, "")
    found = json.loads(out)
    assert found["sound"] is False
    assert "README.md" in found["fault"]


def test_bundle_check_of_a_folder_is_never_that_of_the_name_it_shares(command, bundle_copy, monkeypatch):
    """Of a folder ./wav2small the samples must run through its own model, not through the installed one."""
    about = bundle.read(bundle_copy).manifest
    (bundle_copy / "model.onnx").write_bytes(b"\x08\x07")  # ONNX of a version, and nothing else
    bundle.write(bundle_copy, about, "a card")
    monkeypatch.chdir(bundle_copy.parent)
    code, _, err = command("bundle", "check", "./wav2small")
    assert code == 1
    assert "model.onnx: onnxruntime" in err


@pytest.mark.parametrize(
    "call", [("check", "{folder}"), ("install", "{folder}"), ("install", "{zip}"), ("unpack", "{zip}")]
)
def test_a_sha256_keeps_all_but_the_one_bundle_out(command, bundle_copy, home, tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    command("bundle", "pack", bundle_copy, "-o", "x.zip")
    call = ["bundle", *(part.format(folder=bundle_copy, zip="x.zip") for part in call)]
    more = ("--name", "mine") if call[1] == "install" else ()
    code, _, err = command(*call, *more, "--sha256", "0" * 64)
    assert code == 1
    assert "not the one you gave" in err
    assert err.count("\n") == 1
    code, _, err = command(*call, *more, "--sha256", "abc")
    assert code == 2
    assert "a sha256 has 64 digits" in err
    assert sorted(path.name for path in tmp_path.glob("*")) in (["copied", "x.zip"], ["copied", "home", "x.zip"])
    assert not home.exists() or not list(home.iterdir())
    assert command(*call, *more, "--sha256", bundle.digest(SHIPPED).upper()).code == 0


def test_a_zip_may_be_named_by_its_own_sha256(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = command("bundle", "pack", "wav2small", "-o", "x.zip").out
    digest = hashlib.sha256((tmp_path / "x.zip").read_bytes()).hexdigest()
    assert f"sha256 {digest}" in out
    assert f"sha256 {bundle.digest(SHIPPED)}" in out
    assert command("bundle", "unpack", "x.zip", "--sha256", digest).code == 0
    assert (tmp_path / "wav2small" / "bundle.json").read_bytes() == (SHIPPED / "bundle.json").read_bytes()


def test_bundle_pack_and_unpack_leave_alone_what_is_there(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("mine")
    for call in (("pack", "wav2small", "-o", "there"), ("pack", "wav2small", "-o", "none/x.zip")):
        code, _, err = command("bundle", *call)
        assert code == 2
        assert "already exists: --force replaces it" in err or "there is no folder" in err
    assert command("bundle", "pack", "wav2small").code == 0
    name = f"wav2small-{bundle.read(SHIPPED).manifest.version}.zip"
    code, _, err = command("bundle", "unpack", name, "-o", "there")
    assert code == 2
    assert "there already exists" in err
    assert (tmp_path / "there").read_text() == "mine"
    assert command("bundle", "pack", "wav2small", "-o", "there", "--force").code == 0
    assert zipfile.is_zipfile(tmp_path / "there")


def test_bundle_install_lets_a_model_be_named_and_uninstall_takes_it_away(command, clip, home, tmp_path):
    path = clip(tmp_path / "a.wav")
    command("bundle", "pack", "wav2small", "-o", tmp_path / "x.zip")
    code, out, err = command("bundle", "install", tmp_path / "x.zip", "--name", "mine")
    assert (code, err) == (0, "")
    assert bundle.digest(SHIPPED) in out
    assert command("label", "-q", "-m", "mine", path).out == command("label", "-q", "-m", "wav2small", path).out
    assert command("bundle", "show", "mine").out.splitlines()[1].split() == ["folder", str(home / "mine")]
    assert command("bundle", "uninstall", "mine").code == 0
    assert list(home.iterdir()) == []
    code, _, err = command("label", "-m", "mine", path)
    assert code == 2
    assert "no model 'mine'" in err


@pytest.mark.parametrize(
    ("name", "why"), [("wav2small", "ships with sertool"), ("none", "is not installed"), ("../x", "is not installed")]
)
def test_bundle_uninstall_takes_away_nothing_else(command, home, tmp_path, name, why):
    (tmp_path / "x").mkdir()
    shutil.copy(SHIPPED / "bundle.json", tmp_path / "x")
    home.mkdir()
    code, _, err = command("bundle", "uninstall", name)
    assert code == 2
    assert why in err
    assert (tmp_path / "x" / "bundle.json").exists()
    assert (SHIPPED / "bundle.json").exists()


def test_bundle_install_of_a_name_that_is_taken_needs_force(command, bundle_copy, home):
    code, _, err = command("bundle", "install", bundle_copy)
    assert code == 2
    assert "ships with sertool: --name OTHER, or --force" in err
    assert command("bundle", "install", bundle_copy, "--name", "mine").code == 0
    code, _, err = command("bundle", "install", bundle_copy, "--name", "mine")
    assert code == 2
    assert "mine is already installed: --force replaces it" in err
    assert command("bundle", "install", bundle_copy, "--name", "mine", "--force").code == 0
    code, _, err = command("bundle", "install", bundle_copy, "--name", "../mine")
    assert code == 2
    assert "must be a plain name" in err
    assert [path.name for path in home.iterdir()] == ["mine"]


def test_bundle_diff_of_a_bundle_and_its_copy_is_empty(command, bundle_copy):
    code, out, err = command("bundle", "diff", "wav2small", bundle_copy)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "equal"


def test_bundle_diff_shows_what_changed(command, bundle_copy):
    manifest = bundle.read(bundle_copy).manifest
    measure = manifest.metrics["val"]["overall"]["measures"]["arousal CCC"]
    shown = measure["value"]
    measure["value"] = shown + 0.01
    bundle.write(bundle_copy, replace(manifest, version="7.7"), "another card")
    code, out, err = command("bundle", "diff", "wav2small", bundle_copy)
    assert (code, err) == (1, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert f"version {bundle.read(SHIPPED).manifest.version} -> 7.7" in lines
    assert f"README.md {(SHIPPED / 'README.md').stat().st_size} -> 12 bytes" in lines
    assert f"val.overall arousal CCC {shown:.4f} -> {shown + 0.01:.4f} (+0.0100)" in lines
    assert "arousal at most 0.0e+00, mean 0.0e+00" in lines
    assert lines[-1] == "different"
    found = json.loads(command("bundle", "diff", "wav2small", bundle_copy, "--json").out)
    assert found["equal"] is False
    assert [field["key"] for field in found["fields"]] == ["version"]


def test_bundle_diff_says_in_a_line_that_a_variant_is_gone_and_nothing_of_timings(command, bundle_copy):
    manifest = bundle.read(bundle_copy).manifest
    for entry in manifest.variants:
        entry.cost = {"speed": 9.0}
    bundle.write(bundle_copy, manifest, (bundle_copy / bundle.CARD).read_text())
    answer = command("bundle", "diff", "wav2small", bundle_copy)
    assert "speed" not in answer.out
    assert "\nbundle.json\n" not in answer.out
    gone = manifest.variants.pop()
    (bundle_copy / gone.file).unlink()
    bundle.write(bundle_copy, manifest, (bundle_copy / bundle.CARD).read_text())
    fields = command("bundle", "diff", "wav2small", bundle_copy).out.partition("\nbundle.json\n")[2].splitlines()
    assert fields[0].split() == [f"variants[{gone.name}]", "removed"]
    assert fields[1] == "files"


def test_bundle_diff_of_what_is_no_bundle_ends_with_2(command, bundle_copy):
    flip(bundle_copy / "README.md", 0)
    for other in ("none", bundle_copy, SHIPPED / "model.onnx"):
        code, _, err = command("bundle", "diff", "wav2small", other)
        assert code == 2
        assert err.count("\n") == 1
    assert "no variant 'none'" in command("bundle", "diff", "wav2small", "wav2small", "--variant", "none").err


def test_bundle_help_shows_examples_and_exit_codes(command):
    out = command("bundle", "--help").out
    assert "sertool bundle install mine.zip --sha256 HEX" in out
    assert "Exit codes: 0 done, 1 the bundle or zip is not sound, 2 wrong usage" in out
    for name in ("check", "diff", "pack", "unpack", "install", "uninstall"):
        assert "Exit codes: 0" in command("bundle", name, "--help").out
