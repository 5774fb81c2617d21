"""README and docs/ agree with the code: help texts, examples, links, hooks.

`python tests/test_docs.py` writes docs/cli.md from the commands' own help.
"""

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

import sertool
from sertool import bundle, hookspecs
from sertool.cli import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
CLI = ROOT / "docs" / "cli.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
HEAD = """\
# Command line

Every command and its options, as `--help` shows them. Written by `python tests/test_docs.py`.

"""


def help_texts() -> str:
    """A heading and the help of every command and sub-command, 100 columns wide."""

    def one(path, command):
        context = click.Context(
            command,
            info_name=" ".join(["sertool", *path]),
            terminal_width=100,
            max_content_width=100,
            **cli.context_settings,  # -h, as the command itself has it; click keeps what it is asked for first
        )
        yield f"## {' '.join(path)}\n\n```\n{command.get_help(context)}\n```\n"
        for name, child in sorted(getattr(command, "commands", {}).items()):
            yield from one([*path, name], child)

    context = click.Context(cli)
    return "\n".join(text for name in COMMANDS for text in one([name], cli.get_command(context, name)))


def test_the_command_reference_is_the_commands_own_help():
    # In a process of its own: click keeps the options of a command that another test asked for help.
    shown = subprocess.run([sys.executable, __file__, "--show"], capture_output=True, text=True, check=True).stdout
    assert CLI.read_text(encoding="utf-8") == shown, "run python tests/test_docs.py"


def test_the_readme_is_short_and_names_every_page():
    readme = README.read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 150
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in readme, page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_drawing_of_the_architecture_is_what_is_checked():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    drawing = re.search(r"```\n(.*?)```", text, re.DOTALL)[1]
    drawn = [re.split(r"\s{2,}", line)[0] for line in drawing.splitlines()]
    assert drawn == settings["contracts"][0]["layers"]
    packages = {
        path.stem for path in (ROOT / "sertool").iterdir() if (path / "__init__.py").exists() or path.suffix == ".py"
    }
    ignored = {"__init__", *settings["contracts"][0]["exhaustive_ignores"]}
    assert packages - ignored == {name for line in drawn for name in line.split(" | ")}


def test_paths_in_the_documents_exist():
    for page in PAGES:
        for path in re.findall(r"`((?:sertool|plugins|csrc|tests|docs)/[\w./-]+)`", page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_the_documents_build(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", tmp_path / "site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_version_is_stated_once_more():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["project"]["version"] == sertool.__version__


def test_every_hook_is_documented_with_its_arguments():
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    hooks = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("register_")}
    assert len(hooks) == 9
    for name, hook in hooks.items():
        arguments = ", ".join(hook.__code__.co_varnames[: hook.__code__.co_argcount])
        assert f"### {name}({arguments})" in text


#: Tables of bundle.json whose keys are names -> (what docs/bundles.md calls the name, keys that are none).
NAMED = {
    "preprocessing[]": ("OPTION", "step"),
    "variants[].beside": ("FILE", ""),
    "metrics": ("SPLIT", "robustness"),
    "calibration.intervals": ("OUTPUT", ""),
    "calibration.about.found": ("SOUND", ""),
    "calibration.about.measured": ("SPLIT", ""),
    "calibration.about.measured.SPLIT.coverage": ("OUTPUT", ""),
    "metrics.SPLIT.corpus": ("CORPUS", ""),
    "metrics.SPLIT.overall.measures": ("MEASURE", ""),
    **{f"metrics.robustness[].{key}": ("OUTPUT", "") for key in ("share", "shift", "passed")},
}
#: Tables that are described elsewhere, or as those of another key.
CLOSED = ("training.recipe", "metrics.SPLIT.corpus.CORPUS")


def documented_keys():
    section = (
        (ROOT / "docs" / "bundles.md").read_text(encoding="utf-8").split("\n## bundle.json\n")[1].split("\n## ")[0]
    )
    return re.findall(r"^\| `([^`]+)` \| \S", section, re.MULTILINE)


def keys_of_tables(value, path=""):
    """The keys of each table in a value, as docs/bundles.md writes them and in their order."""
    for entry in value if isinstance(value, list) else ():
        yield from keys_of_tables(entry, f"{path}[]")
    if isinstance(value, dict) and path not in CLOSED:
        called, other = NAMED.get(path, ("", ""))
        full = {key: f"{path}.{called if called and key != other else key}".lstrip(".") for key in value}
        yield list(dict.fromkeys(full.values()))
        for key, inner in value.items():
            yield from keys_of_tables(inner, full[key])


def test_every_key_of_the_manifest_is_documented_in_the_order_in_which_it_is_written():
    documented = documented_keys()
    variant = bundle.Variant("fp32", "model.onnx")
    for field in dataclasses.fields(variant):
        if not getattr(variant, field.name) and field.name != "more":
            setattr(variant, field.name, {"x": 1})
    manifest = bundle.Manifest(
        "m", "1", "M", "m", "dimensional", [bundle.Output("arousal")], {}, 33, longest_samples=9, variants=[variant]
    )
    manifest.made, manifest.calibration = {"sertool": "0.1.0"}, {"temperature": 1.0}
    table = manifest.to_dict()
    assert [key for key in documented if not re.search(r"[.\[]", key)] == list(table)
    for name in ("outputs", "variants"):
        written = [f"{name}[].{key}" for key in table[name][0]]
        assert [key for key in documented if key.startswith(f"{name}[].") and key.count(".") == 1] == written
    assert [key for key in documented if key.startswith("input.")] == [f"input.{key}" for key in table["input"]]


@pytest.mark.slow("exports and measures a network")
def test_every_key_that_a_bundle_holds_is_documented_and_no_other(corpus, tmp_path):
    from sertool.exporting import release
    from sertool.plugins import load_plugins
    from sertool.training.recipe import load_recipe

    labels = next(path for path in load_plugins().get("models", "wav2small").recipes if path.stem == "wav2small-labels")
    settings = ["model.name=wav2small-emotion", "data.corpora=[]", "bundle.runs=1", "bundle.robustness={clips = 2}"]
    recipe = load_recipe(labels, [f"data.root={corpus}", 'bundle.formats=["onnx"]', *settings])
    model = load_plugins().get("models", "wav2small-emotion")
    release.write(recipe, tmp_path, model, model.build().eval(), 1)
    documented, found = documented_keys(), set()
    # Those that ship have what this one lacks: a longest input, files beside the model's, pre-processing.
    for folder in (tmp_path, *bundle.bundled_folder().iterdir()):
        if (folder / bundle.MANIFEST).is_file():
            for keys in keys_of_tables(json.loads((folder / bundle.MANIFEST).read_text(encoding="utf-8"))):
                in_order = [key for key in documented if key in keys]
                assert keys == in_order or keys[0].startswith("preprocessing[]"), folder  # that is as the recipe has it
                found |= {*keys}
    assert found == {*documented}


@pytest.mark.slow("takes long")
def test_the_example_plugin_works(tmp_path):
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    (tmp_path / "example.py").write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1])
    environment = os.environ | {"SERTOOL_PLUGINS_DIR": str(tmp_path)}

    def run(*arguments):
        command = [sys.executable, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert run("-m", "sertool", "greet", "you") == "hello, you\n"
    listed = run("-m", "sertool", "plugins")
    assert "models: guess; augmentations: whisper; commands: greet" in listed
    script = """
import numpy, torch
from sertool.plugins import load_plugins
plugins = load_plugins()
clip = numpy.ones(10, numpy.float32)
change = plugins.get("augmentations", "whisper").build(strength=0.1)
assert (change(clip, numpy.random.default_rng(0)) == change(clip, numpy.random.default_rng(0))).all()
print(plugins.get("models", "guess").build()(torch.zeros(2, 10)).tolist())
"""
    assert run("-c", script).strip() == str([[0.5] * 3] * 2)


def test_ci_runs_the_readmes_commands():
    readme, ci = README.read_text(encoding="utf-8"), (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = re.findall(r"```sh\n(pip install .*)\n```", readme)
    assert len(commands) == 2
    for command in commands:
        assert f"\n{command}\n" in ci


@pytest.mark.parametrize("page", [page for page in PAGES if page != CLI], ids=lambda page: page.name)
def test_shell_examples_parse(page):
    """Those of blocks marked sh; what stands between backticks in docs/papers.md is run by test_papers.py."""
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)).replace("\\\n", " ")
    lines = re.findall(r"^(?:.*\| )?sertool (.*?)(?:\s+#.*)?$", blocks, re.MULTILINE)
    for line in lines:
        name, *arguments = shlex.split(line)
        if name.startswith("-"):
            continue
        command = cli.get_command(click.Context(cli), name)
        if isinstance(command, click.Group):
            command = command.get_command(click.Context(command), arguments.pop(0))
        command.make_parser(click.Context(command)).parse_args(arguments)


def test_the_containerfile_is_the_one_of_the_page():
    text = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    assert re.search(r"```dockerfile\n(.*?)```", text, re.DOTALL)[1] == (ROOT / "Containerfile").read_text(
        encoding="utf-8"
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["--show"]:
        print(HEAD + help_texts(), end="")
    else:
        CLI.write_text(HEAD + help_texts(), encoding="utf-8")
