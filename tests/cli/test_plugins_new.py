"""`sertool plugins new`: what it writes installs, passes its own tests and suits ruff; what it refuses."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sertool import templates
from sertool.plugins import Plugin, load_plugins

pytestmark = pytest.mark.slow("installs and tests generated plugins")

KINDS = ("model", "augmentation", "exporter", "corpus", "format", "segmenter", "loss", "decoder")
needs_hatchling = pytest.mark.skipif(
    not importlib.util.find_spec("hatchling"), reason="packages are built by hatchling"
)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """(folder with a new plugin of each kind, site that they are installed in, as pip does it)."""
    from click.testing import CliRunner

    from sertool.cli.plugins import plugins

    root = tmp_path_factory.mktemp("new")
    for kind in KINDS:
        done = CliRunner().invoke(plugins, ["new", f"My.{kind}", "--kind", kind, "-o", str(root / kind)])
        assert done.exit_code == 0, done.output
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "-q", *offline, "--target", str(root / "site")]
    done = subprocess.run([*command, *(str(root / kind) for kind in KINDS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return root, root / "site"


def run(installed, *arguments, **how):
    """Python in a process of its own that has them installed."""
    environment = os.environ | {"PYTHONPATH": str(installed[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True, **how
    )


@needs_hatchling
def test_new_plugins_of_all_kinds_are_found(installed):
    listed = {
        plugin["name"]: plugin for plugin in json.loads(run(installed, "-m", "sertool", "plugins", "--json").stdout)
    }
    assert set(KINDS) == set(templates.KINDS)
    for kind, about in templates.KINDS.items():
        plugin = listed[f"my-{kind}"]
        assert (plugin["version"], plugin["error"]) == ("0.1.0", None)
        assert plugin["registers"] == {about.several: [f"my-{kind}"]}


@needs_hatchling
def test_a_new_plugins_own_tests_pass(installed):
    done = run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(installed[0] / kind for kind in KINDS))
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 30


@needs_hatchling
def test_a_new_plugins_tests_notice_what_is_broken(installed, tmp_path):
    """That they run against sertool.testing, and not past it."""
    site = tmp_path / "site"
    package = Path(installed[1], "sertool_my_augmentation")
    (site / package.name).mkdir(parents=True)
    for path in package.glob("*.py"):
        text = path.read_text().replace(".astype(np.float32)", "")
        (site / package.name / path.name).write_text(text)
    environment = os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{installed[1]}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(installed[0] / "augmentation")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "gives float64, not float32" in done.stdout


@pytest.mark.parametrize("name", ["a", "2.x", "a-23456789.123456789_123456789Z123456789"])
def test_a_new_plugin_suits_ruff_whatever_its_name(command, tmp_path, name):
    for kind in KINDS:
        assert command("plugins", "new", name, "--kind", kind, "-o", tmp_path / kind).code == 0
    for how in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *how, "--isolated", "."], cwd=tmp_path, capture_output=True
        )
        assert done.returncode == 0, done.stdout.decode()


def test_what_was_written_and_what_to_do_next_is_said(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = command("plugins", "new", "Sertool_Sing-Song", "--kind", "corpus")
    assert (code, err) == (0, "")
    head, *lines = out.splitlines()
    assert head == "wrote sertool-sing-song:"
    assert sorted(line.strip() for line in lines[: lines.index("next:")]) == files(tmp_path / "sertool-sing-song")
    assert [line.strip() for line in lines[lines.index("next:") + 1 :]] == [
        "cd sertool-sing-song",
        "pip install -e '.[test]'",
        "pytest",
        "sertool evaluate MODEL FOLDER --layout sing-song",
    ]
    readme = (tmp_path / "sertool-sing-song" / "README.md").read_text()
    assert all(line.strip() in readme for line in lines[lines.index("next:") + 2 :])
    project = tomllib.loads((tmp_path / "sertool-sing-song" / "pyproject.toml").read_text())["project"]
    assert project["name"] == "sertool-sing-song"
    assert project["entry-points"]["sertool"] == {"sing-song": "sertool_sing_song"}


def test_what_needs_torch_depends_on_it_and_only_models_bring_a_recipe(command, tmp_path):
    for kind in KINDS:
        command("plugins", "new", "x", "--kind", kind, "-o", tmp_path / kind)
        project = tomllib.loads((tmp_path / kind / "pyproject.toml").read_text())["project"]
        wanted = "sertool[train]" if kind in ("model", "exporter", "loss") else "sertool"
        assert project["dependencies"][0].partition(">=")[0] == wanted
        assert any(path.endswith(".toml") and "sertool_x/" in path for path in files(tmp_path / kind)) == (
            kind == "model"
        )


def test_a_folder_with_blanks_is_quoted_and_an_empty_one_taken(command, tmp_path):
    folder = tmp_path / "a b"
    folder.mkdir()
    answer = command("plugins", "new", "x", "--kind", "corpus", "-o", folder)
    assert answer.code == 0
    assert f"  cd '{folder}'" in answer.out.splitlines()


@pytest.mark.parametrize("name", ["", "a b", "-x", "x-", ".x", "ä", "a:b", "a/b", "../x", "x" * 41, "a\nb"])
def test_a_name_that_no_package_can_have_is_refused(command, tmp_path, name):
    code, out, err = command("plugins", "new", "--kind", "model", "-o", tmp_path / "it", "--", name)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "is not a package name: write 1 to 40 letters" in err
    assert not (tmp_path / "it").exists()


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("wav2small", "model", "models: 'wav2small' is registered by plugin 'wav2small'; choose another name"),
        ("WavLM", "model", "models: 'wavlm' is registered by plugin 'teacher'"),
        ("sertool-gain", "augmentation", "augmentations: 'gain' is registered by plugin 'augment'"),
        ("onnx", "model", "a plugin 'onnx' is already installed (sertool_onnx)"),
        ("voice_augment", "corpus", "a plugin 'voice_augment' is already installed"),
    ],
)
def test_a_name_that_is_taken_is_refused(command, tmp_path, name, kind, said):
    code, out, err = command("plugins", "new", name, "--kind", kind, "-o", tmp_path / "it")
    assert (code, out) == (2, "")
    assert err.startswith(f"sertool: {said}")
    assert len(err.splitlines()) == 1


def test_a_name_that_is_taken_for_another_kind_is_free(command, tmp_path):
    assert command("plugins", "new", "gain", "--kind", "model", "-o", tmp_path / "it").code == 0


def test_a_package_that_can_be_imported_is_not_written_again(command, tmp_path, monkeypatch):
    (tmp_path / "sertool_fancy.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    answer = command("plugins", "new", "fancy", "--kind", "model", "-o", tmp_path / "it")
    assert answer == (2, "", "sertool: a package 'sertool_fancy' is already installed; choose another name\n")


def test_a_name_that_two_plugins_claim_is_taken(command, tmp_path, monkeypatch):
    claims = [Plugin(name, None, "here", {"models": ["twice"]}) for name in ("one", "two")]
    monkeypatch.setattr(load_plugins(), "found", [*load_plugins().found, *claims])
    answer = command("plugins", "new", "twice", "--kind", "model", "-o", tmp_path / "it")
    assert answer.err == "sertool: models: 'twice' is registered by plugin 'one'; choose another name\n"


def test_what_is_there_is_left_as_it_is(command, tmp_path):
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "notes.txt").write_text("mine")
    for target in (tmp_path / "it", tmp_path / "it" / "notes.txt"):
        code, out, err = command("plugins", "new", "x", "--kind", "corpus", "-o", target)
        assert (code, out) == (2, "")
        assert err == f"sertool: {target} exists and is not an empty folder: choose another with -o\n"
    assert files(tmp_path) == ["it/notes.txt"]
    assert (tmp_path / "it" / "notes.txt").read_text() == "mine"


def test_a_kind_must_be_named(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments in ([], ["--kind", "command"]):
        code, out, err = command("plugins", "new", "x", *arguments)
        assert (code, out) == (2, "")
        assert all(kind in err for kind in KINDS)
    assert files(tmp_path) == []


def test_plugins_alone_lists_them(command):
    assert "models: wav2small" in command("plugins").out
    assert json.loads(command("plugins", "--json").out)
    assert command("plugins", "old").code == 2
