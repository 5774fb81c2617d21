"""Record of finished recordings, so that an interrupted run can be resumed.

OUTPUT.journal is the log of sertool.labelling.log. Every complete line is valid on its own, so the journal survives
even SIGKILL; the table is rewritten from it. A recording is identified by its absolute path or URL, however it was
named. In memory is only an index of 20 bytes for each recording that was finished before.
"""

import json
import os
import threading
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sertool._files import hold, move_into_place, sync
from sertool._types import Array
from sertool.errors import UsageError
from sertool.labelling import log
from sertool.labelling.log import Context, Entry, Row
from sertool.recordings.recording import Recording, key_of, printable


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
        own: Iterable[Recording] | None = None,
    ) -> None:
        self.path = output.with_name(output.name + ".journal")
        self._done = _Index()
        self._context: Context | None = None
        self._lock = threading.Lock()
        self._synced = time.monotonic()
        before = self._lock_out_others()
        try:
            if mode == "new" and _has_content(output):
                raise UsageError(f"{output} exists: --resume continues it, --restart overwrites it")
            if mode == "resume":
                self._read(output, run)
        except BaseException:  # Ctrl-C too: leave no empty journal and no lock behind
            if os.fstat(before.fileno()).st_size == 0:
                self.path.unlink(missing_ok=True)  # created by this process
            before.close()
            raise
        # Write a new file with the previous entries and rename it, so that a run that is interrupted here loses
        # nothing. Only the process that holds the journal's lock writes it; lock the new file before renaming it.
        beside = self.path.with_name(self.path.name + ".part")
        try:
            with before, open(self.path, "rb") as old:
                self._stream = open(beside, "w+b")  # noqa: SIM115 (closed by close)
                hold(self._stream)
                self._stream.write(log.line(run | ({"about": about} if about else {})))
                self._keep(old, own)
                self._stream.flush()
                move_into_place(beside, self.path)
        except OSError as error:
            raise UsageError(f"cannot write {self.path}: {error.strerror}") from None

    @property
    def before(self) -> int:
        """How many recordings were finished before."""
        return len(self._done)

    def others(self, recordings: Iterable[Recording]) -> list[Recording]:
        """Return recordings labelled before that still exist but are not in ``recordings``; their rows are kept."""
        if not len(self._done):
            return []
        listed = np.fromiter((key_of(recording.key) for recording in recordings), np.uint64)
        left = self._done.without(listed)
        entries = (self._entry(at) for at in left)
        before = [Recording.of_key(entry.key, entry.name, entry.stamp) for entry in entries]
        return [recording for recording in before if recording.url or os.path.exists(recording.path)]

    def finished(self, recording: Recording, now: list[int] | None) -> Entry | None:
        """Return the entry of a recording that was labelled when it had the same stamp, else None."""
        at = self._done.find(key_of(recording.key))
        if at is None:
            return None
        entry = self._entry(at)
        if entry.key != recording.key or entry.stamp != now:
            return None
        name = printable(recording.name)
        return Entry(
            recording.name, entry.key, entry.stamp, False, entry.seconds, [{"file": name, **row} for row in entry.rows]
        )

    def add(
        self, recording: Recording, file_stamp: list[int] | None, rows: list[Row], seconds: float, failed: bool
    ) -> None:
        """Add a finished recording. If it failed, the next --resume tries it again."""
        plain = [{name: value for name, value in row.items() if name != "file"} for row in rows]
        entry = Entry(recording.name, recording.key, file_stamp, failed, seconds, plain, recording.place)
        with self._lock:
            self._write(entry)
            self._stream.flush()
            if time.monotonic() - self._synced > 1:
                sync(self._stream)
                self._synced = time.monotonic()

    def complete(self, recordings: int) -> None:
        """Note that the run has come to its end."""
        with self._lock:
            self._stream.seek(0, os.SEEK_END)
            self._stream.write(log.line({"complete": recordings}))

    def close(self) -> None:
        sync(self._stream)
        self._stream.close()

    def _entry(self, at: int) -> Entry:
        with self._lock:
            offset, size, context = self._done[at]
            return log.read_at(self._stream, offset, size, context)

    def _keep(self, old: BinaryIO, own: Iterable[Recording] | None) -> None:
        """Copy the entries of the old file to the new one, those of ``own`` recordings with their present places."""
        places = None if own is None else {key_of(recording.key): recording.place for recording in own}
        kept = _Index()
        for at in self._done.in_order():
            offset, size, context = self._done[at]
            key = self._done.key(at)
            if places is None:
                old.seek(offset)
                kept.add(key, *self._append(old.read(size), context))
            elif key in places:
                entry = log.read_at(old, offset, size, context)
                kept.add(key, *self._write(replace(entry, place=places[key])))
        kept.sort()
        self._done = kept

    def _write(self, entry: Entry) -> tuple[int, int, Context]:
        """Write an entry at the end; return where it is."""
        context = entry.context(self._context)
        return self._append(entry.line(context), context)

    def _append(self, line: bytes, context: Context) -> tuple[int, int, Context]:
        self._stream.seek(0, os.SEEK_END)
        if context is not self._context:
            self._stream.write(context.lines)
            self._context = context
        offset = self._stream.tell()
        return offset, self._stream.write(line), context

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
        if not os.path.getsize(self.path) and _has_content(output):
            raise UsageError(f"{output} exists but not its journal ({self.path.name}): --restart overwrites it")
        lines = log.read(self.path)
        head = next(lines, _NOTHING)
        if head is _NOTHING:
            return
        if head is None or not isinstance(head, log.Found) or not isinstance(head.thing, dict):
            raise UsageError(f"{self.path} is damaged: --restart starts over")
        changed = [key for key in run if head.thing.get(key) != run[key]]
        if changed:
            key = changed[0]
            raise UsageError(
                f"{output} was made with {key} = {_short(head.thing.get(key))}, this run has {_short(run[key])}: "
                "choose another -o, or --restart"
            )
        # If a line is damaged, only its recording is labelled again.
        for found in lines:
            if found and isinstance(found.thing, Entry) and found.context and not found.thing.failed:
                self._done.add(key_of(found.thing.key), found.offset, found.size, found.context)
        self._done.sort()


_NOTHING = object()


class _Index:
    """Where entries are, by the hash of their key: sorted once, after which a later entry of a key has replaced it."""

    def __init__(self) -> None:
        self._keys, self._offsets, self._sizes, self._numbers = array("Q"), array("Q"), array("I"), array("H")
        self._contexts: list[Context] = []
        self._sorted: Array = np.empty(0, np.uint64)

    def __len__(self) -> int:
        return len(self._sorted)

    def __getitem__(self, at: int) -> tuple[int, int, Context]:
        return int(self._offsets[at]), int(self._sizes[at]), self._contexts[self._numbers[at]]

    def add(self, key: int, offset: int, size: int, context: Context) -> None:
        """Add an entry. It is found after `sort`."""
        if not self._contexts or self._contexts[-1] is not context:
            self._contexts.append(context)
        self._keys.append(key)
        self._offsets.append(offset)
        self._sizes.append(size)
        self._numbers.append(len(self._contexts) - 1)

    def sort(self) -> None:
        keys = np.frombuffer(self._keys, np.uint64) if self._keys else np.empty(0, np.uint64)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        last = np.ones(len(keys), bool)
        np.not_equal(ordered[1:], ordered[:-1], out=last[:-1])
        order, self._sorted = (order, ordered) if last.all() else (order[last], ordered[last])
        for name in ("_offsets", "_sizes", "_numbers"):
            values = getattr(self, name)
            setattr(self, name, np.frombuffer(values, values.typecode)[order] if values else np.empty(0, np.int64))
        self._keys = array("Q")

    def key(self, at: int) -> int:
        """Return the hash of the key of an entry."""
        return int(self._sorted[at])

    def find(self, key: int) -> int | None:
        """Return the place of an entry, None if there is none."""
        at = int(np.searchsorted(self._sorted, np.uint64(key)))
        return at if at < len(self._sorted) and int(self._sorted[at]) == key else None

    def without(self, keys: Array) -> list[int]:
        """Return the places of entries whose keys are not among ``keys``, in the order of the file."""
        keys.sort()
        at = np.minimum(np.searchsorted(keys, self._sorted), max(len(keys) - 1, 0))
        left = np.flatnonzero(keys[at] != self._sorted) if len(keys) else np.arange(len(self))
        found: list[int] = left[np.argsort(np.asarray(self._offsets)[left])].tolist()
        return found

    def in_order(self) -> Iterator[int]:
        """Yield the places of all entries in the order of the file."""
        yield from map(int, np.argsort(np.asarray(self._offsets)) if len(self) else ())


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


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
