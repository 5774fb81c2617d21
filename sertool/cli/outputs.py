"""Outputs of `label` and `vad`: the format, where it is written, and how it is completed."""

import contextlib
import io
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from sertool._files import beside, move_into_place, sync
from sertool.cli.recordings import check_writable
from sertool.errors import UsageError
from sertool.options import named_options
from sertool.recordings.recording import Recording, printable
from sertool.recordings.stems import stems
from sertool.registry import Format
from sertool.segments import Annotated, Table, Writer


class Choice:
    """The format of an output: by --format, NAME[:key=value,...], or by the extension of ``output``; ``text`` of csv.

    Raises UsageError if there is none, if it can only be read, or for options that it does not have.
    """

    def __init__(self, text: str | None, output: Path | None, dialect: str | None = None) -> None:
        from sertool.plugins import load_plugins  # its import alone takes 50 ms

        plugins, options = load_plugins(), dict[str, Any]()
        if text is not None:
            name, options = named_options(text)
            self.form: Format = plugins.get("formats", name.lower())
        elif output is None:
            self.form = plugins.get("formats", "csv")
        else:
            self.form = _by_extension(output)
        if self.form.open is None:
            raise UsageError(f"--format {self.form.name}: this format can only be read")
        if dialect is not None:
            if self.form.name != "csv":
                raise UsageError(f"--dialect is for --format csv, not {self.form.name}")
            options = {"dialect": dialect, **options}
        self.options = options

    @property
    def named(self) -> bool:
        """Whether the format needs a unique name for each recording, and so the whole list in memory."""
        return self.form.per_recording or self.form.templated

    def open(self, target: TextIO | Path, table: Table) -> Writer:
        """Open a writer; ``target`` is a path if the format is binary. Raise UsageError for unknown options."""
        assert self.form.open is not None
        try:
            writer: Writer = self.form.open(target, table, **self.options)
        except TypeError as error:
            raise UsageError(f"--format {self.form.name}: {str(error).rpartition('() ')[2]}") from None
        return writer


def _by_extension(output: Path) -> Format:
    if output.is_dir():
        raise UsageError(f"{output} is a folder: choose a format of one file per recording, such as --format textgrid")
    from sertool.plugins import load_plugins

    forms = [load_plugins().get("formats", name) for name in load_plugins().names("formats")]
    forms = [form for form in forms if form.open is not None]
    matching = [form for form in forms if form.matches(output)]
    if not matching:
        known = ", ".join(sorted({form.extensions[0] for form in forms}, key=str.lower))
        raise UsageError(f"{output}: no format has this extension ({known}): choose one with --format")
    return matching[0]


class Output:
    """The output of a run: standard output, one file, or a file for each recording in a folder.

    Text files grow while the command runs; binary files appear when they are complete. ``folder`` is the folder that
    was searched, to which names in an output folder are relative. With ``overwrite``, existing files are replaced.
    ``inputs`` are files that must not be overwritten, besides the recordings, which may be ``gone``. Raises UsageError
    if the output does not suit the format, exists, is one of the inputs, or cannot be written.
    """

    def __init__(
        self,
        choice: Choice,
        path: Path | None,
        recordings: Sequence[Recording],
        folder: str | None,
        overwrite: bool = False,
        inputs: Iterable[Path] = (),
        gone: bool = False,
    ) -> None:
        self._choice, self.path = choice, path
        self.stems = stems(recordings, folder) if choice.named and len(recordings) else {}
        self.targets = self._targets(
            recordings if not gone else [], overwrite, {os.path.realpath(path) for path in inputs}
        )
        self.stream: TextIO | None = None  # the file, if there is one file of text
        self._stack = contextlib.ExitStack()
        self._writer: Writer | None = None
        self._beside: Path | None = None

    def open(self, table: Table) -> None:
        """Begin to write. Raise UsageError for wrong options of the format, or a library that is missing."""
        form, self._table = self._choice.form, table
        if form.per_recording:
            self._choice.open(io.StringIO(), table)  # raises now what it would raise for every recording
        if self.targets is not None:
            return
        if self.path is None:
            sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]  # a text stream
            self._writer = self._choice.open(sys.stdout, table)
            return
        try:
            if form.binary:
                self._beside = self.path.with_name(self.path.name + ".part")
                self._stack.callback(self._beside.unlink, missing_ok=True)
                self._writer = self._choice.open(self._beside, table)
            else:
                self.stream = self._stack.enter_context(self.path.open("w", encoding="utf-8", newline=""))
                self._writer = self._choice.open(self.stream, table)
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from None

    def write(
        self, recording: Recording, seconds: float, rows: Any, failed: bool = False, taken_over: bool = False
    ) -> None:
        """Write a recording; one that failed has no file of its own. Raise OSError.

        The file of a recording that is ``taken_over`` from an earlier run is left alone, with the user's corrections.
        """
        stem = self.stems[recording.name] if self._choice.named else os.path.splitext(recording.name)[0]
        annotated = Annotated(printable(recording.name), printable(stem), seconds, rows)
        if failed and self._choice.form.per_recording:
            return
        if self.targets is not None:
            path = self.targets[recording.name]
            if not (taken_over and path.exists()):
                self._write_file(path, annotated)
            return
        assert self._writer is not None
        self._writer.write(annotated)
        stream = self.stream if self.path else sys.stdout
        if stream:
            stream.flush()

    def __enter__(self) -> "Output":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        """Complete the output, or after an exception, Ctrl-C too, remove what cannot be used incomplete."""
        with self._stack:
            if kind is not None:
                return
            if self._writer is not None:
                self._writer.close()
            if self.stream:
                sync(self.stream)
            if self._beside and self.path:
                move_into_place(self._beside, self.path)

    @property
    def drops_failures(self) -> bool:
        """Whether the format has no place for recordings that failed."""
        return self._choice.form.templated

    @property
    def reasons(self) -> Path | None:
        """The file with the column "error"."""
        return self.path.with_suffix(".csv") if self.path and self._choice.form.name == "npy" else self.path

    def is_there(self) -> bool:
        """Return whether the file that is being written still has its name."""
        if not (self.stream and self.path):
            return True
        try:
            return os.path.samestat(os.fstat(self.stream.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _write_file(self, path: Path, annotated: Annotated) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = beside(path)
        try:
            with open(part, "w", encoding="utf-8", newline="") as stream:
                writer = self._choice.open(stream, self._table)
                writer.write(annotated)
                writer.close()
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    def _targets(self, recordings: Sequence[Recording], overwrite: bool, others: set[str]) -> dict[str, Path] | None:
        """Return a file for each recording, by its name; None if all are written to one file or standard output."""
        form, output, many = self._choice.form, self.path, len(recordings) > 1
        if output:
            check_writable(output, recordings)
        suffix = "" if output is None or output.is_dir() else output.suffix
        named = bool(suffix) and (not many or (output is not None and form.matches(output)))
        if form.binary and output is None:
            raise UsageError(f"--format {form.name} needs a file: -o labels{form.extensions[0]}")
        if form.per_recording and many and (output is None or named):
            raise UsageError(f"--format {form.name} writes one file per recording: name a folder with -o")
        if output is None:
            return None
        into = form.per_recording and not named
        if output.exists() and output.is_dir() != into:
            raise UsageError(f"{output} is a {'file, but must be a folder' if into else 'folder, but must be a file'}")
        own = {r.name: output / (self.stems[r.name] + form.extensions[0]) for r in recordings} if into else None
        inputs = {os.path.realpath(r.path) for r in recordings if not r.url} if own is not None else set()
        for path in own.values() if own is not None else [output]:
            if os.path.realpath(path) in inputs:  # one file for all was checked above
                raise UsageError(f"{path} is one of the recordings: choose another -o")
            if os.path.realpath(path) in others:
                raise UsageError(f"{path} is one of the files that are read: choose another -o")
            if os.path.lexists(path) and not overwrite:
                raise UsageError(f"{path} exists: --overwrite replaces it")
        return own


def template(text: str | None, form: Format) -> str | None:
    """Return the template. Raise UsageError if the format has columns instead of one text per segment."""
    if text is not None and not form.templated:
        raise UsageError(f"--template is for formats with one text per segment, not for {form.name}")
    return text
