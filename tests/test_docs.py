"""README and docs/ agree with the code: help texts, examples, links, hooks.

`python tests/test_docs.py` writes docs/cli.md from the commands' own help.
"""

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
from sertool import hookspecs
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
    assert len(hooks) == 7
    for name, hook in hooks.items():
        arguments = ", ".join(hook.__code__.co_varnames[: hook.__code__.co_argcount])
        assert f"### {name}({arguments})" in text


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


if __name__ == "__main__":
    if sys.argv[1:] == ["--show"]:
        print(HEAD + help_texts(), end="")
    else:
        CLI.write_text(HEAD + help_texts(), encoding="utf-8")
