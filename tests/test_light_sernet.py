"""docs/light-sernet.md as a reader follows it: a new model plugin, the page's files over it, installed, tested, used.

What its own tests do, they do here; then it is trained on generated clips, quantised, and labels.
"""

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sertool.bundle import sha256
from sertool.testing import write_clips

PAGE = Path(__file__).parents[1] / "docs" / "light-sernet.md"
FILES = dict(
    re.findall(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
)

pytestmark = [
    pytest.mark.skipif(not importlib.util.find_spec("hatchling"), reason="packages are built by hatchling"),
    pytest.mark.slow("trains and exports the example plugin"),
]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """(run, folder): run(*command) in a process that has the page's package installed, to its output; the package."""
    root = tmp_path_factory.mktemp("light-sernet")
    folder, site = root / "sertool-light-sernet", root / "site"
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}

    def run(*command):
        done = subprocess.run(
            [sys.executable, "-m", *map(str, command)], cwd=root, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (written,) = re.findall(r"^sertool (plugins new .*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    run("sertool", *written.split())
    for name, text in FILES.items():
        assert (folder / name).is_file(), f"{name} is no file of the skeleton"
        (folder / name).write_text(text, encoding="utf-8")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    run("pip", "install", "-q", *offline, "--target", site, folder)
    return run, folder


def test_the_page_replaces_the_code_of_the_skeleton_and_nothing_else(plugin):
    assert list(FILES) == [
        "sertool_light_sernet/network.py",
        "sertool_light_sernet/__init__.py",
        "sertool_light_sernet/light-sernet.toml",
        "tests/test_light_sernet.py",
    ]
    lines = {name: text.count("\n") for name, text in FILES.items()}
    counted = f"four files of {sum(lines.values())} lines, {lines['sertool_light_sernet/network.py']} of them"
    assert counted in PAGE.read_text(encoding="utf-8")
    for how in (["check"], ["format", "--check"]):
        plugin[0]("ruff", *how, "--isolated", plugin[1])


def test_its_own_tests_pass(plugin):
    run, folder = plugin
    # What trains is below, with the commands of the page.
    said = run("pytest", "-q", "-p", "no:cacheprovider", folder, "-k", "not trains")
    assert "4 passed, 1 deselected" in said


def test_the_pages_commands_train_quantise_and_label(plugin, tmp_path):
    run, _ = plugin
    clips = write_clips(tmp_path / "clips")
    settings = {
        "data.root": clips,
        "data.ood": "test-ood",
        "train.epochs": 0,
        "train.steps": 40,
        "train.batch": 8,
        "train.shortest_s": 0.5,
        "train.longest_s": 0.5,
        "train.lr": 1e-3,
        "train.threads": 1,
        "train.workers": 0,
        "bundle.runs": 0,
    }
    run("sertool", "train", "light-sernet", "-o", tmp_path / "run", *(f"--set={k}={v}" for k, v in settings.items()))
    found = tmp_path / "run" / "light-sernet"
    assert "sound" in run("sertool", "bundle", "check", found)
    about = json.loads((found / "bundle.json").read_text())
    fp32, int8 = about["variants"]
    assert (fp32["name"], int8["name"]) == ("fp32", "int8")
    assert fp32["difference"]["max"] <= 1e-4
    assert 1e-6 < int8["difference"]["max"] <= 0.05
    assert int8["bytes"] < 0.45 * fp32["bytes"]
    assert int8["sha256"] == sha256(found / int8["file"])
    for variant in ("fp32", "int8"):
        run("sertool", "label", clips, "--model", found, "--variant", variant, "-o", tmp_path / f"{variant}.csv")
        with open(tmp_path / f"{variant}.csv", newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        assert len(rows) == 32
        assert not any(row["error"] for row in rows)
        for row in rows:
            shares = {name: float(row[name]) for name in ("angry", "happy", "neutral", "sad")}
            assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
            assert row["emotion"] == max(shares, key=shares.get)
