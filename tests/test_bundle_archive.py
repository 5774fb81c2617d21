"""Bundles packed, unpacked and installed: the same bytes everywhere, all or nothing."""

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace

import pytest

from sertool import bundle
from sertool.bundle import store
from sertool.errors import BundleError, UsageError
from sertool.packaging import archive

SHIPPED = bundle.bundled_folder() / "wav2small"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SERTOOL_BUNDLES", str(tmp_path / "home"))
    return tmp_path / "home"


def sound(found):
    """A check that finds nothing."""


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_bundle_packs_to_the_same_bytes_whatever_is_around_it(tmp_path):
    """Another folder name, clock, time zone, umask, order of files on the disk, rights, locale."""
    digest = archive.pack(bundle.read(SHIPPED), tmp_path / "one.zip")
    other = tmp_path / "other"
    for name in sorted(contents(SHIPPED), reverse=True):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_bytes((SHIPPED / name).read_bytes())
        os.utime(other / name, (1e9, 1e9))
        (other / name).chmod(0o700)
    script = "import os, pathlib; os.umask(0o77); from sertool import bundle; from sertool.packaging import archive\n"
    script += f"archive.pack(bundle.read(pathlib.Path({str(other)!r})), pathlib.Path({str(tmp_path / 'two.zip')!r}))"
    settings = os.environ | {"TZ": "Pacific/Auckland", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", script], env=settings, check=True, timeout=60)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    assert digest == bundle.sha256(tmp_path / "two.zip")


def test_any_unzip_reads_what_is_packed(tmp_path):
    archive.pack(bundle.read(SHIPPED), tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "x.zip") as packed:
        assert packed.testzip() is None
        assert {i.compress_type for i in packed.infolist()} == {zipfile.ZIP_STORED}
        assert packed.namelist() == sorted(packed.namelist())
        packed.extractall(tmp_path)
    assert contents(tmp_path / "wav2small") == contents(SHIPPED)


@pytest.mark.parametrize("how", ["packed", "zip", "compressed"])
def test_what_was_packed_here_or_elsewhere_unpacks_to_the_same_files(bundle_copy, tmp_path, how):
    if how == "packed":
        archive.pack(bundle.read(bundle_copy), tmp_path / "x.zip")
    else:  # with entries for folders, as others write them
        made = shutil.make_archive(tmp_path / "x", "zip", bundle_copy.parent, "wav2small")
        assert any(name.endswith("/") for name in zipfile.ZipFile(made).namelist())
        if how == "zip":
            with zipfile.ZipFile(made, "w") as stored:
                for name in contents(bundle_copy):
                    stored.write(bundle_copy / name, f"wav2small/{name}")
    found = archive.unpack(tmp_path / "x.zip", tmp_path / "new")
    assert found.path == tmp_path / "new"
    assert contents(found.path) == contents(SHIPPED)
    assert (found.path / "bundle.json").stat().st_mode & 0o777 == 0o666 & ~umask()
    assert found.path.stat().st_mode & 0o777 == 0o777 & ~umask()


def umask():
    now = os.umask(0)
    os.umask(now)
    return now


def test_a_bundle_that_is_not_sound_is_not_packed(bundle_copy, tmp_path):
    (bundle_copy / "README.md").write_text("changed")
    with pytest.raises(BundleError, match="README"):
        archive.pack(bundle.read(bundle_copy), tmp_path / "x.zip")
    assert os.listdir(tmp_path) == ["copied"]


def test_a_bundle_is_not_packed_into_itself(bundle_copy):
    with pytest.raises(UsageError, match="inside the bundle"):
        archive.pack(bundle.read(bundle_copy), bundle_copy / "x.zip")


class Broken(BaseException):
    """Ctrl-C, a full disk."""


def breaking(module, name, after, monkeypatch):
    """Let a function fail when it has been called so many times."""
    real, calls = getattr(module, name), []

    def call(*arguments, **options):
        calls.append(arguments)
        if len(calls) > after:
            raise Broken
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, call)


BREAKS = [
    ("zip", shutil, "copyfileobj", 3),
    ("folder", shutil, "copyfile", 3),
    ("zip", archive, "check_sums", 0),
    ("folder", archive, "check_sums", 0),
    ("zip", os, "replace", 0),
    ("folder", os, "replace", 0),
]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("given", "module", "name", "after"), BREAKS)
def test_an_installation_that_breaks_off_changes_nothing(
    bundle_copy, tmp_path, home, monkeypatch, given, module, name, after, force
):
    archive.pack(bundle.read(bundle_copy), tmp_path / "x.zip")
    if force:
        archive.install(bundle_copy, "mine", False, None, sound)
        bundle.write(home / "mine", replace(bundle.read(home / "mine").manifest, version="0.old"), "an old card")
    before = contents(home)
    with monkeypatch.context() as patched:
        breaking(module, name, after, patched)
        with pytest.raises(Broken):
            archive.install(tmp_path / "x.zip" if given == "zip" else bundle_copy, "mine", force, None, sound)
    assert contents(home) == before
    assert os.listdir(home) == (["mine"] if force else [])


def test_the_installed_one_survives_one_that_fails_its_check(bundle_copy, home):
    archive.install(bundle_copy, "mine", False, None, sound)

    def fails(found):
        raise BundleError(f"{found.path}/model.onnx: not what it was")

    with pytest.raises(BundleError) as error:
        archive.install(bundle_copy, "mine", True, None, fails)
    assert str(error.value) == f"{bundle_copy}/model.onnx: not what it was"  # not the copy's path, which is gone
    assert contents(home / "mine") == contents(SHIPPED)
    assert os.listdir(home) == ["mine"]


def test_force_replaces_all_of_the_installed_one(bundle_copy, home):
    archive.install(SHIPPED, "mine", False, None, sound)
    (home / "mine" / "left-over").write_text("x")
    found = bundle.read(bundle_copy)
    bundle.write(bundle_copy, replace(found.manifest, version="7.7"), "a card")
    assert archive.install(bundle_copy, "mine", True, None, sound).manifest.version == "7.7"
    assert contents(home / "mine") == contents(bundle_copy)


def test_an_installed_link_is_replaced_or_removed_not_followed(bundle_copy, home):
    home.mkdir()
    (home / "mine").symlink_to(bundle_copy)
    archive.install(SHIPPED, "mine", True, None, sound)
    assert not (home / "mine").is_symlink()
    (home / "linked").symlink_to(bundle_copy)
    archive.uninstall("linked")
    assert sorted(os.listdir(home)) == ["mine"]
    assert contents(bundle_copy) == contents(SHIPPED)


def test_what_is_being_installed_is_no_model_yet(bundle_copy, home):
    seen = []
    archive.install(bundle_copy, "mine", False, None, lambda found: seen.extend([found.path, *store.installed()]))
    assert seen[0].is_relative_to(home)
    assert "mine" not in seen[1:]
    assert set(seen[1:]) == {path.parent.name for path in SHIPPED.parent.glob("*/bundle.json")}


def test_only_what_is_listed_is_installed(bundle_copy, home):
    (bundle_copy / "evil.py").write_text("x")
    found = archive.install(bundle_copy, "mine", False, None, sound)
    assert contents(found.path) == contents(SHIPPED)


def test_uninstall_removes_a_damaged_one_too(home):
    (home / "mine").mkdir(parents=True)
    (home / "mine" / "bundle.json").write_text("{")
    assert archive.uninstall("mine") == home / "mine"
    assert os.listdir(home) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(process, tmp_path):
    """A file system of the size that the bundle does not have, played by a limit on the size of files."""
    archive.pack(bundle.read(SHIPPED), tmp_path / "x.zip")

    resource = pytest.importorskip("resource")

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    settings = os.environ | {"SERTOOL_BUNDLES": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    code, _, err = process(
        "bundle", "install", str(tmp_path / "x.zip"), "--name", "mine", env=settings, preexec_fn=small
    )
    assert code == 3
    assert len(err.splitlines()) == 1
    assert os.listdir(tmp_path / "home") == []
