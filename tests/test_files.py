"""Files that are whole after a power cut: what reaches the disk, and in which order."""

import errno
import io
import os
import threading

import pytest

from sertool._files import beside, hold, move_into_place, sync

posix = pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX only")


@posix
def test_a_file_is_on_the_disk_before_it_takes_the_place_and_the_folder_after_it(tmp_path, monkeypatch):
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    done, fsync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    move_into_place(tmp_path / "new", tmp_path / "old")
    assert done == ["new", "replace", tmp_path.name]
    assert (tmp_path / "old").read_text() == "new"
    assert not (tmp_path / "new").exists()


def test_what_has_no_disk_is_not_synced(tmp_path):
    sync(io.StringIO())
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        sync(stream)
    os.close(reading)


def test_a_full_disk_that_only_shows_in_the_sync_is_an_error(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with open(tmp_path / "x", "w") as stream, pytest.raises(OSError, match="No space left"):
        sync(stream)


@posix
def test_a_file_is_held_by_one(tmp_path):
    with open(tmp_path / "x", "w") as one, open(tmp_path / "x") as other:
        hold(one)
        with pytest.raises(BlockingIOError):
            hold(other)
    with open(tmp_path / "x") as again:
        hold(again)


def test_temporary_names_are_of_one_thread(tmp_path):
    names = set()
    barrier = threading.Barrier(2)

    def run():
        names.add(beside(tmp_path / "a.wav"))
        barrier.wait()  # a thread that has ended may leave its number to the next one

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == 2
    assert {name.parent for name in names} == {tmp_path}
    assert all(name.name.startswith(".") and len(name.name) < 40 for name in names)
