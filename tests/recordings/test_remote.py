"""Audio elsewhere: a web server that fails, stalls and lies, an S3 store, and what of a URL is shown."""

import io
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from sertool._machine import cores
from sertool.cli import elsewhere
from sertool.cli.recordings import workers_for
from sertool.errors import AudioError, UsageError
from sertool.recordings import remote
from sertool.recordings.fetch import on_disk
from sertool.recordings.recording import Recording
from sertool.recordings.scan import scan
from sertool.recordings.shards import Shard
from sertool.recordings.urls import base_of, hidden, is_url, member_url, split_member, without_secrets

from .web import serving

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")
DATA = np.random.default_rng(0).integers(0, 256, 6_000_000, np.uint8).tobytes()


@pytest.fixture(scope="module")
def web():
    with serving(DATA) as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    monkeypatch.setenv("SERTOOL_TIMEOUT", "0.5")


def fetched(url, tmp_path):
    remote.fetch(url, tmp_path / "copy")
    return (tmp_path / "copy").read_bytes()


@pytest.mark.parametrize(
    "name", ["good", "norange", "chunked", "moved", "unavailable", "cut", "cutwhole", "ignores", "stall", "changing"]
)
def test_what_goes_wrong_once_or_twice_is_tried_again(name, web, tmp_path):
    assert fetched(f"{web.address}/{name}.wav", tmp_path) == DATA


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("404", "not found"),
        ("403", "the server says 403 Forbidden"),
        ("500", r"the server says 500 Internal Server Error \(4 times\)"),
        ("longer", r"6000000 bytes came, its size is 6001000 \(4 times\)"),
        ("shorter", r"6000000 bytes came, its size is 5999000 \(4 times\)"),
        ("always", r"\(4 times\)"),
        ("stuck", r"no data for 0 s \(4 times\)"),
    ],
)
def test_what_always_goes_wrong_is_named(name, reason, web, tmp_path):
    started = time.monotonic()
    with pytest.raises(AudioError, match=f"cannot be reached: .*{reason}"):
        remote.fetch(f"{web.address}/{name}.wav?signature=SECRET", tmp_path / "copy")
    assert time.monotonic() - started < 15


def test_only_what_is_missing_is_fetched_again(web, tmp_path):
    assert fetched(f"{web.address}/cut.wav?again", tmp_path) == DATA
    ranges = [wanted for command, path, wanted in web.requests if path == "/cut.wav?again" and command == "GET"]
    assert ranges[0] is None
    starts = [int(wanted.removeprefix("bytes=").partition("-")[0]) for wanted in ranges[1:]]
    assert starts == sorted(starts)
    assert starts[0] > 500_000  # most of what came at first


def test_one_look_and_one_request_are_enough(web, tmp_path):
    fetched(f"{web.address}/good.wav?count", tmp_path)
    assert [command for command, path, _ in web.requests if path == "/good.wav?count"] == ["HEAD", "GET"]


def test_a_version_that_changes_half_way_is_not_mixed(web, tmp_path):
    assert fetched(f"{web.address}/changing.wav?new", tmp_path) == DATA


def test_what_has_no_room_is_not_begun(web, tmp_path, monkeypatch):
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 200_100_000}))
    with pytest.raises(AudioError, match="no room for its 6 MB"):
        remote.fetch(f"{web.address}/good.wav", tmp_path / "copy")


def test_a_server_that_is_not_there(tmp_path):
    with pytest.raises(AudioError, match=r"cannot be reached: cannot connect to 127.0.0.1:9 \(4 times\)"):
        remote.fetch("http://127.0.0.1:9/a.wav", tmp_path / "copy")


def test_stores_that_nobody_knows():
    with pytest.raises(UsageError, match="Protocol not known: nonsense"):
        remote.system("nonsense://x/a.wav")
    with pytest.raises(UsageError, match="Protocol not known: nonsense"):
        scan(["nonsense://x/a.wav"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "fsspec", None)
        with pytest.raises(UsageError, match=r"pip install 'sertool\[remote\]'"):
            scan(["https://host/a.wav"])
    bad, good = scan(["nonsense://x/a.wav", "/nowhere/b.wav"])  # of several, it is a row
    assert "Protocol not known" in bad.error
    assert good.error is None


def test_a_folder_of_the_web_is_listed(web):
    found = scan([f"{web.address}/calls/"])
    assert [recording.name for recording in found] == ["good.wav", "norange.wav"]
    assert found[0].url == f"{web.address}/calls/good.wav"
    assert found[0].stamp is None  # its page has no sizes: the server is asked for them
    assert remote.stamp_of(found[0].url)[0] == len(DATA)
    assert remote.stamp_of(f"{web.address}/404.wav") is None


def test_a_pattern_and_a_folder_in_memory():
    import fsspec

    files = fsspec.filesystem("memory")
    for name in ("a.wav", "b.mp3", "notes.txt", ".hidden.wav", "deep/c d.flac"):
        files.pipe(f"/calls/{name}", b"x" * len(name))
    try:
        found = scan(["memory://calls"])
        assert [recording.name for recording in found] == ["a.wav", "b.mp3", "deep/c d.flac"]
        assert [recording.stamp[0] for recording in found] == [5, 5, 13]
        assert next(recording.name for recording in scan(["memory://calls", "/nowhere"])) == "memory://calls/a.wav"
        assert [recording.name for recording in scan(["memory://calls/*.wav"])][-1].endswith("calls/a.wav")
        (none,) = scan(["memory://calls/*.ogg"])
        assert none.error == "no file matches this pattern"
    finally:
        files.rm("/calls", recursive=True)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@host/a/b.wav?X-Amz-Signature=abc#t", "https://host/a/b.wav"),
        ("https://host/a.wav", "https://host/a.wav"),
        ("https://host?token=abc", "https://host"),
        ("sftp://user:pass@host/a?b.wav", "sftp://host/a?b.wav"),
        ("s3://bucket/a?b#c.wav", "s3://bucket/a?b#c.wav"),
        ("zip://x y.wav::https://u:p@host/a.zip?t=1", "zip://x y.wav::https://host/a.zip"),
        (member_url("https://u:p@host/a.tar?t=1", "x::y.wav"), member_url("https://host/a.tar", "x::y.wav")),
    ],
)
def test_secrets_are_not_shown(url, shown):
    assert is_url(url)
    assert without_secrets(url) == shown
    assert "SECRET" not in hidden(f"403, url='{url.replace('abc', 'SECRET')}'") or url == shown


def test_urls_and_what_only_looks_like_one():
    for text in ("s3://b/a.wav", "GS://b/a.wav", "zip://a::s3://b/c.zip", "memory://a"):
        assert is_url(text)
    for text in ("C:\\a.wav", "a:b.wav", "a::b.wav", "./s3:/a.wav", "//server/a.wav", "1://a", "s3:/a.wav"):
        assert not is_url(text)
    assert split_member(member_url("/x/a::b.tar", "c::d\udcff ü.wav")) == ("/x/a::b.tar", "c::d\udcff ü.wav")
    assert base_of("https://host/a/b.wav?x=1/2") == "b.wav"
    assert base_of(member_url("/x/a.tar", "c/d.wav")) == "d.wav"


def test_a_recording_is_the_same_with_another_signature():
    one, other = (Recording.at(f"https://host/a.wav?signature={n}", "a") for n in "12")
    assert one.key == other.key
    again = Recording.of_key(one.key, "a", [1, 2])
    assert (again.key, again.url, again.stamp) == (one.key, "https://host/a.wav", [1, 2])


def test_an_attempt_that_was_given_up_writes_nothing_more(tmp_path):
    """One that stalls wakes up later, in its thread."""
    with open(tmp_path / "copy", "wb") as file:
        first = remote._State(file)
        assert first.write(b"abc")
        second = first.next()
        assert not first.write(b"old")
        first.restart()
        assert second.write(b"def")
    assert (tmp_path / "copy").read_bytes() == b"abcdef"


def test_the_copy_is_there_as_long_as_it_is_used():
    import fsspec

    files = fsspec.filesystem("memory")
    files.pipe("/one/ü b.wav", b"audio")
    try:
        with on_disk(Recording.at("memory://one/ü b.wav", "b")) as there:
            assert there.path.read_bytes() == b"audio"
            assert there.path.suffix == ".wav"
        assert not there.path.parent.exists()
        with pytest.raises(AudioError), on_disk(Recording.at("memory://one/none.wav", "none")):
            pass
    finally:
        files.rm("/one", recursive=True)


def test_shards_are_balanced_by_the_sizes_that_the_store_tells():
    recordings = [Recording.at(f"s3://b/{n}.wav", f"{n}.wav", [10**9 if n == 3 else 1000, 0]) for n in range(20)]
    parts = [Shard(number, 3).of_list(recordings) for number in (1, 2, 3)]
    assert [one.name for one in parts[1]] == ["3.wav"]  # its bytes are nearly all
    assert sorted(one.name for part in parts for one in part) == sorted(one.name for one in recordings)


def test_a_store_is_waited_for_by_more_threads():
    url, file = Recording.at("s3://b/a.wav", "a"), Recording(Path("a.wav"), "a")
    member = Recording.at(member_url("/x/a.tar", "a.wav"), "a")
    assert workers_for([url]) == min(8 * cores(), 32)
    assert workers_for([file]) == workers_for([member]) == workers_for([]) == cores()


def test_an_archive_that_shrinks_after_it_was_listed(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("a.wav", "b.wav"):
            entry = tarfile.TarInfo(name)
            entry.size = 100_000
            tar.addfile(entry, io.BytesIO(DATA))
    one, other = scan([str(path)])
    path.write_bytes(path.read_bytes()[:150_000])
    with on_disk(one) as there:
        assert there.path.read_bytes() == DATA[:100_000]
    with pytest.raises(AudioError, match="truncated: its archive ends"), on_disk(other):
        pass


def test_an_unfinished_journal_is_stored_now_and_then(monkeypatch):
    import fsspec

    files = fsspec.filesystem("memory")
    monkeypatch.setattr(elsewhere, "EVERY_S", 0.02)
    with elsewhere.here("memory://out/l.csv", restart=True) as path:
        path.with_name("l.csv.journal").write_bytes(b"half of it")
        deadline = time.monotonic() + 10
        while not files.exists("/out/l.csv.journal") and time.monotonic() < deadline:
            time.sleep(0.02)
        assert files.cat("/out/l.csv.journal") == b"half of it"
        path.write_bytes(b"rows")
        assert not files.exists("/out/l.csv")
    assert files.cat("/out/l.csv") == b"rows"
    files.rm("/out", recursive=True)


def test_more_archives_than_are_kept_open_by_many_threads(tmp_path):
    """An archive is closed while no thread reads it, and only then."""
    names, wrong = [tmp_path / f"{number}.tar" for number in range(12)], []
    for number, path in enumerate(names):
        with tarfile.open(path, "w") as tar:
            for member in range(5):
                entry = tarfile.TarInfo(f"{member}.wav")
                entry.size = 10_000
                tar.addfile(entry, io.BytesIO(DATA[100 * number + member :]))
    recordings = list(scan([str(path) for path in names]))
    assert len(recordings) == 60

    def read(own):
        for recording in own:
            with on_disk(recording) as there:
                number, member = int(Path(recording.name).parent.stem), int(Path(recording.name).stem)
                if there.path.read_bytes() != DATA[100 * number + member :][:10_000]:
                    wrong.append(recording.name)

    threads = [threading.Thread(target=read, args=(recordings[start::6] * 3,)) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not list(remote.temporary("x").parent.parent.glob("*/*"))
