"""What a run has finished, so that one that was cut off can go on.

OUTPUT.journal holds JSON lines: first what the run was (model, settings, paths), then a line a finished recording
with its rows. It is complete whenever a line is, so it survives even SIGKILL; the table is written anew from it.
"""

import json
import os
from pathlib import Path

from ..errors import UsageError
from ..locks import hold
from .scan import Recording


class Journal:
    """The journal of one output file.

    ``run`` is what must be the same for rows to be taken over. Modes: "new" refuses if the output exists, "resume"
    goes on where it can, "restart" begins anew. Raises UsageError.
    """

    def __init__(self, output: Path, run: dict, mode: str):
        self.path = output.with_name(output.name + ".journal")
        self._done: dict[str, dict] = {}
        self._lock_out_others()
        if mode == "new" and output.exists():
            raise UsageError(f"{output} exists: --resume goes on with it, --restart writes it anew")
        if mode == "resume":
            self._read(output, run)
        # Written beside and renamed when what was done before is in it: a run cut off right here loses nothing.
        beside = self.path.with_name(self.path.name + ".part")
        try:
            self._stream = open(beside, "w", encoding="utf-8")  # noqa: SIM115 (closed by close)
            hold(self._stream)
            for entry in (run, *self._done.values()):
                self._write(entry)
            os.replace(beside, self.path)
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from None

    def others(self, recordings: list[Recording]) -> list[Recording]:
        """Recordings labelled before that are still there but not among these: their rows stay in the table."""
        listed = {recording.name for recording in recordings}
        before = [Recording(Path(entry["path"]), name) for name, entry in self._done.items() if name not in listed]
        return [recording for recording in before if recording.path.exists()]

    def finished(self, recording: Recording) -> list[dict] | None:
        """The rows of a recording that was labelled before and has not changed since, else None."""
        entry = self._done.get(recording.name)
        return entry["rows"] if entry and entry["stamp"] == stamp(recording.path) else None

    def add(self, recording: Recording, file_stamp, rows: list[dict], failed: bool) -> None:
        """Note a recording as finished. One that failed is tried again by the next --resume."""
        path = os.path.abspath(recording.path)
        self._write({"name": recording.name, "path": path, "stamp": file_stamp, "failed": failed, "rows": rows})

    def close(self) -> None:
        self._stream.close()

    def _lock_out_others(self) -> None:
        """UsageError while another process writes this output: the two would take each other's rows."""
        try:
            with open(self.path, encoding="utf-8") as stream:
                hold(stream)
        except FileNotFoundError:
            pass  # no journal, no other
        except BlockingIOError:
            raise UsageError(f"another sertool is writing {self.path.name.removesuffix('.journal')}") from None
        except OSError as error:
            raise UsageError(f"{self.path}: {error.strerror}") from None

    def _read(self, output: Path, run: dict) -> None:
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            if output.exists():
                raise UsageError(
                    f"{output} exists but not its journal ({self.path.name}): --restart writes it anew"
                ) from None
            return
        except OSError as error:
            raise UsageError(f"{self.path}: {error.strerror}") from None
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
        self._done = {entry["name"]: entry for entry in finished if entry and not entry["failed"]}

    def _write(self, entry: dict) -> None:
        self._stream.write(json.dumps(entry) + "\n")
        self._stream.flush()


def stamp(path: Path) -> list[int] | None:
    """[size, modification time in ns], which changes when the file does; None if there is no file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def _parsed(line: bytes) -> dict | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _short(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)
