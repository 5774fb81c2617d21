"""The command line: one file a command, imported when that command is asked for."""

import difflib
import errno
import importlib
import os
import signal
import sys
import threading
import warnings

import click

from sertool._about import __version__
from sertool.errors import AudioWarning, ExportWarning, SertoolError

#: Command -> the line that `sertool --help` shows. Its module, of the same name, is imported only to run it.
COMMANDS = {
    "label": "Label recordings with emotion.",
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
    "bench": "Measure what models cost: parameters, operations, memory, time.",
    "papers": "Show both papers item by item, with a command for each.",
}


class ReaderGone(Exception):
    """Whoever read standard output has closed it."""


class LazyGroup(click.Group):
    """Own commands by name without importing them; plugins are loaded when one of theirs may be meant."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGone from error  # click would end with 1, as if a file had failed

    def resolve_command(self, ctx, args):
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1, cutoff=0.5) if args else []
            if near and "No such command" in error.message:
                error.message += f" Did you mean {near[0]!r}?"
            raise

    def list_commands(self, ctx):
        self._add_plugins()
        return [*COMMANDS, *(name for name in self.commands if name not in COMMANDS)]

    def get_command(self, ctx, name):
        if name in COMMANDS:
            return getattr(importlib.import_module(f".{name}", __name__), name)
        if name not in self.commands:
            self._add_plugins()
        return self.commands.get(name)

    def format_commands(self, ctx, formatter):
        self._add_plugins()
        rows = list(COMMANDS.items())
        rows += [(name, command.get_short_help_str(100)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def add_command(self, cmd, name=None):
        if (name or cmd.name) in COMMANDS:
            raise ValueError(f"command {name or cmd.name!r} is taken")
        super().add_command(cmd, name)

    def _add_plugins(self):
        from sertool.plugins import load_plugins

        load_plugins().add_commands(self)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sertool")
def cli():
    """Emotion labels on audio: arousal, dominance and valence, or emotion classes, for every recording in a folder.

    sertool label FOLDER -o labels.csv
    """


#: Exit code of a run that ended because its output could not be written, and what says so.
FULL, NO_ROOM = 3, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(args=None) -> None:
    """Entry point: errors become one line, Ctrl-C exit code 130, a full disk 3, a closed pipe a quiet end."""
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    _keep_standard_output()
    _clean_up_on_sigterm()
    warnings.showwarning = _say
    try:
        status = cli.main(args, prog_name="sertool", standalone_mode=False)
        sys.stdout.flush()
    except SertoolError as error:
        status = _complain(str(error), 2)
    except click.exceptions.Exit as error:
        status = error.exit_code
    except click.ClickException as error:
        if isinstance(error, click.NoSuchOption):
            given = sys.argv[1:] if args is None else args
            file = next((text for text in given if text.startswith("-") and os.path.lexists(text)), None)
            error.message += f" (to name the file: ./{file})" if file else ""
        error.show()
        status = error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        by_signal = isinstance(error.__cause__ or error, Terminated)  # click makes an Abort of it
        status = _complain("terminated", 143) if by_signal else _complain("interrupted", 130)
    except (ReaderGone, BrokenPipeError):
        # The reader has gone (`| head`): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except OSError as error:
        status = FULL if error.errno in NO_ROOM else 1
        _complain(f"{error.filename or 'cannot write the output'}: {error.strerror}", status)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except RuntimeError as error:
        if "can't start new thread" not in str(error):
            raise
        status = _complain("the system allows no more threads: ask for fewer files at once with --jobs", 1)
    sys.exit(status if isinstance(status, int) else 0)


def _keep_standard_output() -> None:
    """Keep the descriptor of results to ourselves: what libraries print goes to standard error, not into a table."""
    try:
        if sys.stdout.fileno() != 1:
            return
        copy = os.dup(1)
        os.dup2(2, 1)
    except (OSError, AttributeError, ValueError):  # closed, or replaced, as by a test
        return
    before = sys.stdout
    how = {"encoding": before.encoding, "errors": before.errors, "buffering": 1 if before.line_buffering else -1}
    sys.stdout = open(copy, "w", **how)  # noqa: SIM115


class Terminated(KeyboardInterrupt):
    """SIGTERM: what is half done is put away, as after Ctrl-C."""


def _clean_up_on_sigterm() -> None:
    def end(number, frame):
        raise Terminated

    own = threading.current_thread() is threading.main_thread()
    if own and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)


_show_warning = warnings.showwarning


def _say(message, category, *place) -> None:
    """What is to be known of a recording or a file without the place in the code; other warnings as ever."""
    if issubclass(category, (AudioWarning, ExportWarning)):
        print(f"sertool: {message}", file=sys.stderr)
    else:
        _show_warning(message, category, *place)


def _complain(message: str, status: int) -> int:
    print(f"sertool: {message}", file=sys.stderr)
    return status
