"""The command line: one module per command, imported when the command runs."""

import difflib
import errno
import importlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Any, TextIO

import click

from sertool._about import __version__
from sertool.cli.terminal import with_urls
from sertool.errors import AudioWarning, ExportWarning, SertoolError

#: Command -> its line in `sertool --help`. The command's module, of the same name, is imported only to run it.
COMMANDS = {
    "label": "Label recordings with emotion.",
    "listen": "Label what a microphone or a pipe gives, while it comes.",
    "merge": "Merge the tables of shards, made by label --shard.",
    "report": "Write a page to look at labels and hear the recordings.",
    "serve": "Serve labels over HTTP, or a page that labels in the browser.",
    "vad": "Find when somebody speaks.",
    "logmel": "Show or save the LogMel of a recording.",
    "models": "List the available models and networks.",
    "bundle": "Check, compare, pack and install bundles.",
    "plugins": "List plugins, what they register, and failures.",
    "augment": "Apply training augmentations to recordings.",
    "train": "Train a model from a recipe and write it as a bundle.",
    "crossval": "Train and test a recipe on speakers, sessions or corpora left out.",
    "evaluate": "Measure a model on labelled recordings.",
    "distil": "Distil a teacher into a small student, on audio without labels.",
    "export": "Export a trained model as a bundle of measured, quantised files.",
    "embed": "Write the embeddings of recordings, for other programs.",
    "adapt": "Shift a model to own voices, without labels.",
    "tune": "Learn own classes or numbers from a few labelled recordings.",
    "calibrate": "Measure how right a bundle is, so that its labels say how sure they are.",
    "bench": "Measure what models cost: parameters, operations, memory, time.",
    "papers": "Show both papers item by item, with a command for each.",
}


class ReaderGone(Exception):
    """The reader of standard output has closed it."""


class LazyGroup(click.Group):
    """Look up built-in commands by name without importing them; load plugins only if a name is not built in."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGone from error  # click would exit with 1, as if a file had failed

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1, cutoff=0.5) if args else []
            if near and "No such command" in error.message:
                raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", error.ctx) from None
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._add_plugins()
        return [*COMMANDS, *(name for name in self.commands if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            command: click.Command = getattr(importlib.import_module(f".{cmd_name}", __name__), cmd_name)
            return command
        if cmd_name not in self.commands:
            self._add_plugins()
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self._add_plugins()
        rows = list(COMMANDS.items())
        rows += [(name, command.get_short_help_str(100)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        if (name or cmd.name) in COMMANDS:
            raise ValueError(f"command {name or cmd.name!r} is taken")
        super().add_command(cmd, name)

    def _add_plugins(self) -> None:
        from sertool.plugins import load_plugins

        load_plugins().add_commands(self)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sertool")
def cli() -> None:
    """Emotion labels on audio: arousal, dominance and valence, or emotion classes, for every recording in a folder.

    sertool label FOLDER -o labels.csv
    """


#: Exit code if the disk is full, and the errors that mean it.
FULL, NO_ROOM = 3, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Errors are printed in one line. Exit codes: 130 after Ctrl-C, 143 after SIGTERM, FULL for a full disk, 141, without
    a message, if the reader of standard output is gone.
    """
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    _keep_standard_output()
    _clean_up_on_sigterm()
    warnings.showwarning = _print_warning
    try:
        status = cli.main(args, prog_name="sertool", standalone_mode=False)
        sys.stdout.flush()
    except SertoolError as error:
        status = _complain(str(error), 2)
    except click.exceptions.Exit as error:
        status = error.exit_code
    except click.ClickException as error:
        _with_file_hint(error, sys.argv[1:] if args is None else args).show()
        status = error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        by_signal = isinstance(error.__cause__ or error, Terminated)  # click raises an Abort from it
        status = _complain("terminated", 143) if by_signal else _complain("interrupted", 130)
    except (ReaderGone, BrokenPipeError):
        # Redirect standard output, or the interpreter reports the closed pipe again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except OSError as error:
        status = FULL if error.errno in NO_ROOM else 1
        _complain(f"{error.filename or 'cannot write the output'}: {error.strerror}", status)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except RuntimeError as error:
        if "can't start new thread" not in str(error):
            raise
        status = _complain("the system allows no more threads: process fewer files at once with --jobs", 1)
    sys.exit(status if isinstance(status, int) else 0)


def _with_file_hint(error: click.ClickException, args: Sequence[str]) -> click.ClickException:
    """Return the error, with a hint added if an unknown option is the name of an existing file."""
    file = next((text for text in args if text.startswith("-") and os.path.lexists(text)), None)
    if file is None or not isinstance(error, click.NoSuchOption):
        return error
    return click.UsageError(f"{error.format_message()} (to name the file: ./{file})", error.ctx)


def _keep_standard_output() -> None:
    """Reserve standard output for results: output of libraries goes to standard error instead of into a table."""
    try:
        if sys.stdout.fileno() != 1:
            return
        copy = os.dup(1)
        os.dup2(2, 1)
    except (OSError, AttributeError, ValueError):  # closed, or replaced, for example by a test
        return
    before = sys.stdout
    buffering = 1 if before.line_buffering else -1
    sys.stdout = open(copy, "w", buffering, before.encoding, before.errors)  # noqa: SIM115


class Terminated(KeyboardInterrupt):
    """SIGTERM was received: clean up as after Ctrl-C."""


def _clean_up_on_sigterm() -> None:
    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    in_main = threading.current_thread() is threading.main_thread()
    if in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)


_show_warning = warnings.showwarning


def _print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print warnings about recordings and exported files without the location in the code, others as usual."""
    if issubclass(category, (AudioWarning, ExportWarning)):
        print(f"sertool: {message}", file=sys.stderr)
    else:
        _show_warning(message, category, filename, lineno, file, line)


def _complain(message: str, status: int) -> int:
    """Print an error and return the exit code."""
    print(f"sertool: {with_urls(message)}", file=sys.stderr)
    return status
