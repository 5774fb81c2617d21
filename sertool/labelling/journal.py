"""Record of finished recordings, so that an interrupted run can be resumed.

OUTPUT.journal has JSON lines: first the run (model, settings, paths), then one line per finished recording with its
rows, and {"complete": number of recordings} at the end of a run that was not interrupted. Every complete line is valid
on its own, so the journal survives even SIGKILL; the table is rewritten from it. Each line ends with its checksum. A
recording is identified by its absolute path, however it was named.
"""

import json
import os
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from sertool._files import hold, move_into_place, sync
from sertool.errors import UsageError
from sertool.recordings.scan import Recording, printable

#: A row of the label table, column -> value.
_Row: TypeAlias = dict[str, Any]


class Journal:
    """The journal of one output file.

    Rows are reused only if ``run`` is the same; ``about`` says more about the table and may differ. Modes: "new" fails
    if the output exists, "resume" continues if possible, "restart" starts over. Of a shard, only ``own`` recordings
    are kept, with their present places: others have moved to another shard. Raises UsageError.
    """

    def __init__(
        self,
        output: Path,
        run: dict[str, Any],
        mode: str,
        about: dict[str, Any] | None = None,
        own: Sequence[Recording] | None = None,
    ) -> None:
        self.path = output.with_name(output.name + ".journal")
        self._done: dict[str, dict[str, Any]] = {}
        self._synced = time.monotonic()
        before = self._lock_out_others()
        try:
            if mode == "new" and _has_content(output):
                raise UsageError(f"{output} exists: --resume continues it, --restart overwrites it")
            if mode == "resume":
                self._read(output, run)
            if own is not None:
                places = {os.path.abspath(recording.path): recording.place for recording in own}
                self._done = {
                    path: entry | {"place": places[path]} for path, entry in self._done.items() if path in places
                }
        except BaseException:  # Ctrl-C too: leave no empty journal and no lock behind
            if os.fstat(before.fileno()).st_size == 0:
                self.path.unlink(missing_ok=True)  # created by this process
            before.close()
            raise
        # Write a new file with the previous entries and rename it, so that a run that is interrupted here loses
        # nothing. Only the process that holds the journal's lock writes it; lock the new file before renaming it.
        beside = self.path.with_name(self.path.name + ".part")
        try:
            with before:
                self._stream = open(beside, "w", encoding="utf-8")  # noqa: SIM115 (closed by close)
                hold(self._stream)
                for entry in (run | ({"about": about} if about else {}), *self._done.values()):
                    self._write(entry)
                move_into_place(beside, self.path)
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from None

    def others(self, recordings: list[Recording]) -> list[Recording]:
        """Return recordings labelled before that still exist but are not in ``recordings``; their rows are kept."""
        listed = {os.path.abspath(recording.path) for recording in recordings}
        before = [Recording(Path(path), entry["name"]) for path, entry in self._done.items() if path not in listed]
        return [recording for recording in before if os.path.exists(recording.path)]

    def finished(self, recording: Recording, now: list[int] | None) -> dict[str, Any] | None:
        """Return ``rows`` and ``seconds`` of a recording that was labelled when it had the same stamp, else None."""
        entry = self._done.get(os.path.abspath(recording.path))
        if not entry or entry["stamp"] != now:
            return None
        rows = [row | {"file": printable(recording.name)} for row in entry["rows"]]
        return {"rows": rows, "seconds": entry["seconds"]}

    def add(
        self, recording: Recording, file_stamp: list[int] | None, rows: list[_Row], seconds: float, failed: bool
    ) -> None:
        """Add a finished recording. If it failed, the next --resume tries it again."""
        self._write(
            {
                "name": recording.name,
                "path": os.path.abspath(recording.path),
                "stamp": file_stamp,
                "failed": failed,
                "seconds": seconds,
                "rows": rows,
                **({} if recording.place is None else {"place": recording.place}),
            }
        )
        if time.monotonic() - self._synced > 1:
            sync(self._stream)
            self._synced = time.monotonic()

    def complete(self, recordings: int) -> None:
        """Note that the run has come to its end."""
        self._write({"complete": recordings})

    def close(self) -> None:
        sync(self._stream)
        self._stream.close()

    def _lock_out_others(self) -> BinaryIO:
        """Open and lock the journal; create it if it does not exist.

        Raises UsageError while another process writes this output: the two would mix their rows.
        """
        while True:
            try:
                stream = open(self.path, "ab")  # noqa: SIM115 (closed by the caller)
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
                pass  # removed before it was locked
            stream.close()  # removed or replaced before it was locked: try again

    def _read(self, output: Path, run: dict[str, Any]) -> None:
        try:
            lines = self.path.read_bytes().split(b"\n")
        except OSError as error:
            raise UsageError(f"{self.path}: {error.strerror}") from None
        if lines == [b""] and _has_content(output):
            raise UsageError(f"{output} exists but not its journal ({self.path.name}): --restart overwrites it")
        lines.pop()  # incomplete: the text after the last line feed
        if not lines:
            return
        before, *finished = map(parsed, lines)
        if before is None:
            raise UsageError(f"{self.path} is damaged: --restart starts over")
        changed = [key for key in run if before.get(key) != run[key]]
        if changed:
            key = changed[0]
            raise UsageError(
                f"{output} was made with {key} = {_short(before.get(key))}, this run has {_short(run[key])}: "
                "choose another -o, or --restart"
            )
        # If a line is damaged, only its recording is labelled again.
        done = [entry for entry in finished if entry and "complete" not in entry]
        self._done = {entry["path"]: entry for entry in done if not entry["failed"]}

    def _write(self, entry: dict[str, Any]) -> None:
        text = json.dumps(entry)
        self._stream.write(f'{text[:-1]}, "crc": {zlib.crc32(text.encode())}}}\n')
        self._stream.flush()


def _has_content(output: Path) -> bool:
    """Return whether there is such a file, or a folder with something in it."""
    return any(output.iterdir()) if output.is_dir() else output.exists()


def stamp(path: Path) -> list[int] | None:
    """Return [size, modification time in ns], which changes when the file does; None if there is no file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def parsed(line: bytes) -> dict[str, Any] | None:
    """Return the entry of a line without its end; None if it is damaged."""
    text, mark, crc = line.rpartition(b', "crc": ')
    if not mark or crc != b"%d}" % zlib.crc32(text + b"}"):
        return None
    entry: dict[str, Any] = json.loads(text + b"}")
    return entry


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
