"""What `pip wheel` and the source distribution contain."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IN_PLACE = all(importlib.util.find_spec(name) for name in ("hatchling", "cffi", "setuptools"))
PLUGINS = sorted(path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").is_file())

pytestmark = [
    pytest.mark.slow("builds wheels"),
    pytest.mark.skipif(
        not shutil.which("git") or not (ROOT / ".git").exists(),
        reason="a clean copy of the tree needs git and a checkout",
    ),
]


def run(*command: str, cwd: Path) -> None:
    # SOURCE_DATE_EPOCH: the same file dates in both wheels.
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def build_wheel(source: Path, into: Path) -> Path:
    """The one wheel that `pip wheel` makes; in this environment where it has what the build needs."""
    isolation = ["--no-build-isolation"] if IN_PLACE else []
    run(sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "-q", *isolation, "-w", str(into), cwd=source)
    (wheel,) = into.iterdir()
    return wheel


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The files that git would commit, nothing that was built."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    target = tmp_path_factory.mktemp("copy")
    for name in {name for name in listed.stdout.decode().split("\0") if name}:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target


@pytest.fixture(scope="module")
def wheel(copy, tmp_path_factory) -> Path:
    return build_wheel(copy, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(copy, tmp_path_factory) -> Path:
    into = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-c", f"import hatchling.build; hatchling.build.build_sdist({str(into)!r})", cwd=copy)
    (archive,) = into.iterdir()
    return archive


def assert_stable_abi(wheel: Path) -> None:
    assert wheel.name.startswith("sertool-")
    assert wheel.name.split("-")[2:4] == ["cp310", "abi3"]
    assert wheel.name.split("-")[4] != "any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (described,) = (name for name in names if name.endswith(".dist-info/WHEEL"))
        assert "Root-Is-Purelib: false" in archive.read(described).decode()
    assert [name for name in names if name.endswith((".so", ".pyd"))] == ["sertool/kernel/_kernel.abi3.so"]


def test_wheel_is_one_for_all_pythons_from_310(wheel):
    assert_stable_abi(wheel)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_wheel_holds_every_plugin_and_its_entry_point(wheel, plugin):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert f"{plugin}/__init__.py" in names
        (points,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
        assert f"= {plugin}\n" in archive.read(points).decode() + "\n"


@pytest.mark.parametrize(
    "name",
    [
        "sertool_wav2small/wav2small-labels.toml",
        "sertool/models/wav2small/model.onnx",
        "sertool/models/wav2small/bundle.json",
        "sertool/models/wav2small/SHA256SUMS",
        "sertool/models/wav2small/samples/expected.csv",
        "sertool/models/wav2small/weights.safetensors",
        "sertool/models/mobile/model.int8.onnx",
        "sertool/models/shared/encoder-ed75a006baf5a87b.bin",
        "sertool_whisper/whisper-emotion.toml",
        "sertool/templates/model/PACKAGE/NAME.toml.tmpl",
    ],
)
def test_wheel_holds_recipe_and_bundle_unchanged(wheel, name):
    source = ROOT / name if name.startswith("sertool/") else ROOT / "plugins" / name
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(name) == source.read_bytes()


def test_wheel_holds_the_c_that_an_exporter_writes_and_no_other_and_no_tests(wheel):
    sources = {path.name: path.read_bytes() for path in (ROOT / "csrc").glob("*.[ch]")}
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if name.endswith((".c", ".h"))}
    templates = {f"sertool_native/pair/{name}" for name in ("main.c", "model.c", "model.h")}
    assert held.keys() == templates | {f"sertool_native/csrc/{name}" for name in sources}
    assert {name: held[f"sertool_native/csrc/{name}"] for name in sources} == sources
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"sertool", *PLUGINS}


def test_sdist_holds_what_a_build_needs_and_nothing_built(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    wanted = {path.relative_to(ROOT).as_posix() for path in (ROOT / "csrc").iterdir() if path.suffix in (".c", ".h")}
    assert wanted | {"build.py", "pyproject.toml", "README.md", "LICENSE", "docs/light-sernet.md"} <= names
    assert not [name for name in names if name.endswith((".so", ".pyd", ".pyc", ".o"))]


def test_wheel_from_the_sdist_is_the_same_kind(wheel, sdist, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    again = build_wheel(source, tmp_path / "wheel")
    assert_stable_abi(again)
    assert again.name == wheel.name
    with zipfile.ZipFile(again) as one, zipfile.ZipFile(wheel) as other:
        assert set(one.namelist()) == set(other.namelist())
