"""`sertool COMMAND --help` is fast: it imports nothing but options and texts."""

import subprocess
import sys

from sertool.cli import COMMANDS

SCRIPT = """
import contextlib, io, sys
from sertool.cli import main
for command in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        main([*command.split(), "--help"])
    assert shown.getvalue().startswith(f"Usage: sertool {command} ["), shown.getvalue()
    print(command, *sys.modules, sep=",")
"""
HEAVY = {"numpy", "soundfile", "onnxruntime", "onnx", "torch", "matplotlib", "rich", "sertool.cli.run"}


def test_help_imports_no_heavy_library_and_no_implementation():
    commands = [*COMMANDS, "bundle check", "bundle pack"]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *commands], capture_output=True, text=True, check=True)
    lines = [line.split(",") for line in done.stdout.splitlines()]
    assert [command for command, *_ in lines] == commands
    assert {command: HEAVY.intersection(modules) for command, *modules in lines if HEAVY.intersection(modules)} == {}
