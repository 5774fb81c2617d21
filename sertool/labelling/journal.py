"""What a run has finished, so that one that was cut off can go on.

OUTPUT.journal holds JSON lines: first what the run was (model, settings, paths), then a line a finished recording
with its rows. It is complete whenever a line is, so it survives even SIGKILL; the table is written anew from it. Each
line ends with a checksum of itself. A recording is known by where it lies, however it was named.
"""

import json
import os
import time
import zlib
from pathlib import Path

from sertool._files import hold, move_into_place, sync
from sertool.errors import UsageError
from sertool.recordings.scan import Recording, printable


class Journal:
    """The journal of one output file.

    ``run`` is what must be the same for rows to be taken over. Modes: "new" refuses if the output exists, "resume"
    goes on where it can, "restart" begins anew. Raises UsageError.
    """

    def __init__(self, output: Path, run: dict, mode: str):
        self.path = output.with_name(output.name + ".journal")
        self._done: dict[str, dict] = {}
        self._synced = time.monotonic()
        before = self._lock_out_others()
        try:
            if mode == "new" and output.exists():
                raise UsageError(f"{output} exists: --resume goes on with it, --restart writes it anew")
            if mode == "resume":
                self._read(output, run)
        except BaseException:
            if os.fstat(before.fileno()).st_size == 0:
                self.path.unlink(missing_ok=True)  # it is ours
            before.close()
            raise
        # Written beside and renamed when what was done before is in it: a run cut off right here loses nothing. Who
        # holds the journal is the only one to write there; the new one is held before it gets the name.
        beside = self.path.with_name(self.path.name + ".part")
        try:
            with before:
                self._stream = open(beside, "w", encoding="utf-8")  # noqa: SIM115 (closed by close)
                hold(self._stream)
                for entry in (run, *self._done.values()):
                    self._write(entry)
                move_into_place(beside, self.path)
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from None

    def others(self, recordings: list[Recording]) -> list[Recording]:
        """Recordings labelled before that are still there but not among these: their rows stay in the table."""
        listed = {os.path.abspath(recording.path) for recording in recordings}
        before = [Recording(Path(path), entry["name"]) for path, entry in self._done.items() if path not in listed]
        return [recording for recording in before if os.path.exists(recording.path)]

    def finished(self, recording: Recording) -> list[dict] | None:
        """The rows of a recording that was labelled before and has not changed since, else None."""
        entry = self._done.get(os.path.abspath(recording.path))
        if not entry or entry["stamp"] != stamp(recording.path):
            return None
        return [row | {"file": printable(recording.name)} for row in entry["rows"]]

    def add(self, recording: Recording, file_stamp, rows: list[dict], failed: bool) -> None:
        """Note a recording as finished. One that failed is tried again by the next --resume."""
        path = os.path.abspath(recording.path)
        self._write({"name": recording.name, "path": path, "stamp": file_stamp, "failed": failed, "rows": rows})
        if time.monotonic() - self._synced > 1:
            sync(self._stream)
            self._synced = time.monotonic()

    def close(self) -> None:
        sync(self._stream)
        self._stream.close()

    def _lock_out_others(self):
        """The journal, held, made if there is none; UsageError while another process writes this output.

        The two would take each other's rows.
        """
        while True:
            try:
                stream = open(self.path, "ab")  # noqa: SIM115 (its caller's)
            except OSError as error:
                raise UsageError(f"{self.path}: {error.strerror}") from None
            try:
                hold(stream)
                if os.path.samestat(os.fstat(stream.fileno()), os.stat(self.path)):
                    return stream
            except BlockingIOError:
                stream.close()
                raise UsageError(f"another sertool is writing {self.path.name.removesuffix('.journal')}") from None
            except FileNotFoundError:
                pass  # it was removed before we held it, as below
            stream.close()  # another one was put in its place before we held it

    def _read(self, output: Path, run: dict) -> None:
        try:
            lines = self.path.read_bytes().split(b"\n")
        except OSError as error:
            raise UsageError(f"{self.path}: {error.strerror}") from None
        if lines == [b""] and output.exists():
            raise UsageError(f"{output} exists but not its journal ({self.path.name}): --restart writes it anew")
        lines.pop()  # what stands after the last line feed was cut off in the writing
        if not lines:
            return
        before, *finished = map(_parsed, lines)
        if before is None:
            raise UsageError(f"{self.path} is damaged: --restart begins anew")
        changed = [key for key in run if before.get(key) != run[key]]
        if changed:
            key = changed[0]
            raise UsageError(
                f"{output} was made with {key} = {_short(before.get(key))}, this run has {_short(run[key])}: "
                "choose another -o, or --restart"
            )
        # A damaged line costs its recording a second labelling, nothing more.
        self._done = {entry["path"]: entry for entry in finished if entry and not entry["failed"]}

    def _write(self, entry: dict) -> None:
        text = json.dumps(entry)
        self._stream.write(f'{text[:-1]}, "crc": {zlib.crc32(text.encode())}}}\n')
        self._stream.flush()


def stamp(path: Path) -> list[int] | None:
    """[size, modification time in ns], which changes when the file does; None if there is no file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def _parsed(line: bytes) -> dict | None:
    """What a line says; None if it is damaged."""
    text, mark, crc = line.rpartition(b', "crc": ')
    if not mark or crc != b"%d}" % zlib.crc32(text + b"}"):
        return None
    return json.loads(text + b"}")


def _short(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)
