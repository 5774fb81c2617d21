"""The README's help texts are the commands' own, and its documentation covers every hook and command.

`python tests/test_readme.py` writes the help texts into the README anew.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import click

from sertool import hookspecs
from sertool.cli import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
MARK = "## Commands\n"


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
        yield f"### {' '.join(path)}\n\n```\n{command.get_help(context)}\n```\n"
        for name, child in sorted(getattr(command, "commands", {}).items()):
            yield from one([*path, name], child)

    context = click.Context(cli)
    return "\n".join(text for name in COMMANDS for text in one([name], cli.get_command(context, name)))


def test_help_texts_in_the_readme_are_the_commands_own():
    # In a process of its own: click keeps the options of a command that another test asked for help.
    shown = subprocess.run([sys.executable, __file__, "--show"], capture_output=True, text=True, check=True).stdout
    readme = README.read_text(encoding="utf-8")
    assert readme.partition(MARK)[2].strip() == shown.strip(), "run python tests/test_readme.py"


def test_every_hook_is_documented_with_its_arguments():
    text = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    hooks = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("register_")}
    assert len(hooks) == 5
    for name, hook in hooks.items():
        arguments = ", ".join(hook.__code__.co_varnames[: hook.__code__.co_argcount])
        assert f"### {name}({arguments})" in text


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


def test_shell_examples_in_the_readme_parse():
    readme = README.read_text(encoding="utf-8").partition(MARK)[0]
    for line in re.findall(r"^(?:.*\| )?sertool (.*?)(?:\s+#.*)?$", readme, re.MULTILINE):
        name, *arguments = line.split()
        command = cli.get_command(click.Context(cli), name)
        if isinstance(command, click.Group):
            command = command.get_command(click.Context(command), arguments.pop(0))
        command.make_parser(click.Context(command)).parse_args(arguments)


if __name__ == "__main__":
    if sys.argv[1:] == ["--show"]:
        print(help_texts())
    else:
        head = README.read_text(encoding="utf-8").partition(MARK)[0]
        README.write_text(f"{head}{MARK}\n{help_texts()}", encoding="utf-8")
