"""Labels of audio in an S3 store, on the web, and in archives: the rows of the same files in a folder."""

import csv
import http.server
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile

import pytest

from sertool import bundle

SAMPLES = bundle.bundled_folder() / "wav2small" / "samples"
MODEL = ("-m", "wav2small", "-q")


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """A folder of recordings, one of which cannot be read."""
    folder = tmp_path_factory.mktemp("calls") / "Anrufe ü"
    (folder / "day 1").mkdir(parents=True)
    for number, path in enumerate(sorted(SAMPLES.glob("*.wav"))):
        shutil.copy(path, folder / ("day 1" if number % 2 else ".") / path.name)
    (folder / "broken.wav").write_bytes(b"RIFF")
    (folder / "notes.txt").write_text("no audio")
    (folder / ".hidden.wav").write_bytes(b"RIFF")
    return folder


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return {row["file"]: {**row, "file": ""} for row in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def whole(calls, tmp_path_factory):
    """The rows of the folder, by name."""
    output = tmp_path_factory.mktemp("whole") / "labels.csv"
    assert label(calls, output)[0] == 1
    return rows_of(output)


def label(source, output, *more, model=MODEL, **environment):
    """Label in a process of its own; return (exit code, standard error)."""
    command = [sys.executable, "-m", "sertool", "label", str(source), *model, "-o", str(output), *more]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=170, env=os.environ | {"SERTOOL_TIMEOUT": "5"} | environment
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def without(rows, prefix):
    return {name.removeprefix(prefix): row for name, row in rows.items()}


# ---- archives ---------------------------------------------------------------------------------------------------


def tar_of(folder, path, mode="w"):
    with tarfile.open(path, mode) as tar:
        for inner in sorted(folder.rglob("*")):
            tar.add(inner, str(inner.relative_to(folder)), recursive=False)
    return path


def zip_of(folder, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for inner in sorted(folder.rglob("*")):
            archive.write(inner, inner.relative_to(folder))
    return path


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz", "ü b.zip"])
def test_an_archive_has_the_rows_of_its_folder(name, calls, whole, tmp_path, command):
    path = tmp_path / name
    if name.endswith("zip"):
        zip_of(calls, path)
    else:
        tar_of(calls, path, {"gz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}.get(name[-2:].replace("gz", "gz"), "w"))
    answer = command("label", path, *MODEL, "-o", tmp_path / "labels.csv")
    assert answer.code == 1
    assert without(rows_of(tmp_path / "labels.csv"), f"{path}/") == whole


def test_an_archive_is_resumed_and_sharded(calls, whole, tmp_path, command):
    path, output = tar_of(calls, tmp_path / "a.tar"), tmp_path / "labels.csv"
    command("label", path, *MODEL, "-o", output)
    before = output.read_bytes()
    answer = command("label", path, "-m", "wav2small", "-o", output, "--resume")
    assert f"({len(whole) - 1} of them before), 1 failed" in answer.err
    assert rows_of(output) == rows_of(io.BytesIO and output)
    assert sorted(output.read_bytes().splitlines()) == sorted(before.splitlines())
    for number in (1, 2):
        command("label", path, *MODEL, "-o", tmp_path / "s.csv", "--shard", f"{number}/2")
    assert command("merge", tmp_path / "s.csv").code == 0
    assert without(rows_of(tmp_path / "s.csv"), f"{path}/") == whole


def test_archives_that_are_damaged_locked_or_none(calls, whole, tmp_path, command):
    whole_tar = tar_of(calls, tmp_path / "a.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole_tar[: len(whole_tar) * 2 // 3])
    (tmp_path / "none.zip").write_bytes(b"PK none")
    (tmp_path / "none.tar").write_bytes(b"x" * 2000)
    (tmp_path / "bad.tar.gz").write_bytes(b"\x1f\x8b" + b"x" * 100)
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    output = tmp_path / "labels.csv"
    for name, reason in (
        ("none.zip", "not a zip archive"),
        ("none.tar", "not a tar archive"),
        ("bad.tar.gz", "the archive cannot be unpacked"),
    ):
        answer = command("label", tmp_path / name, *MODEL, "-o", output, "--restart")
        assert answer.code == 1
        (row,) = rows_of(output).values()
        assert reason in row["error"]
    answer = command("label", tmp_path / "cut.tar", *MODEL, "-o", output, "--restart")
    found = without(rows_of(output), f"{tmp_path / 'cut.tar'}/")
    good = {name: row for name, row in found.items() if not row["error"]}
    assert good
    assert good.items() <= whole.items()
    assert any("damaged after" in row["error"] or "ends" in row["error"] for row in found.values())
    assert "no audio files" in command("label", tmp_path / "empty.zip", *MODEL).err


def test_members_with_odd_names(tmp_path, command):
    """Names that lead out of the archive are only names; links and devices are no recordings."""
    data, path = next(iter(sorted(SAMPLES.glob("*.wav")))).read_bytes(), tmp_path / "odd.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("../../up.wav", "/etc/passwd.wav", "a::b?c#d %41.wav", "ü\n.wav"):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        for name, kind in (("link.wav", tarfile.SYMTYPE), ("pipe.wav", tarfile.FIFOTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            tar.addfile(entry)
    assert command("label", path, *MODEL, "-o", tmp_path / "labels.csv").code == 0
    rows = rows_of(tmp_path / "labels.csv")
    assert len(rows) == 4
    assert len({tuple(row.values()) for row in rows.values()}) == 1
    assert not (tmp_path.parent / "up.wav").exists()


def test_a_locked_zip_says_so(calls, tmp_path, command):
    path = zip_of(calls, tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag "encrypted" of each member
        place = data.find(mark)
        while place >= 0:
            data[place + at] |= 1
            place = data.find(mark, place + 1)
    path.write_bytes(data)
    command("label", path, *MODEL, "-o", tmp_path / "labels.csv")
    assert {row["error"] for row in rows_of(tmp_path / "labels.csv").values()} == {"is encrypted in its archive"}


# ---- stores -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(calls):
    """An S3 store on this machine with the recordings in a bucket; the environment that leads there."""
    pytest.importorskip("s3fs")
    pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    import boto3

    client = boto3.client(
        "s3", endpoint_url=address, aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1"
    )
    client.create_bucket(Bucket="calls")
    for path in calls.rglob("*"):
        if path.is_file():
            client.put_object(Bucket="calls", Key=f"data/{path.relative_to(calls)}", Body=path.read_bytes())
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for path in sorted(calls.rglob("*")):
            archive.add(path, str(path.relative_to(calls)), recursive=False)
    client.put_object(Bucket="calls", Key="shards/one.tar", Body=tar.getvalue())
    yield client, keys | {"FSSPEC_S3_ENDPOINT_URL": address}
    server.stop()


@pytest.mark.slow("starts processes and a store")
def test_a_bucket_has_the_rows_of_its_folder(store, whole, tmp_path):
    _, environment = store
    code, err = label("s3://calls/data", tmp_path / "labels.csv", **environment)
    assert code == 1, err
    assert rows_of(tmp_path / "labels.csv") == whole
    code, err = label("s3://calls/data", tmp_path / "labels.csv", "--resume", model=("-m", "wav2small"), **environment)
    assert f"({len(whole) - 1} of them before)" in err
    code, _ = label("s3://calls/shards/one.tar", tmp_path / "tar.csv", **environment)
    assert without(rows_of(tmp_path / "tar.csv"), "s3://calls/shards/one.tar/") == whole


@pytest.mark.slow("starts processes and a store")
def test_what_is_not_in_a_bucket_or_not_allowed_is_a_row(store, tmp_path):
    _, environment = store
    for source in ("s3://calls/data/none.wav", "s3://no-such-bucket/a.wav"):
        code, err = label(source, tmp_path / "labels.csv", "--restart", **environment)
        assert code == 1, err
        (row,) = rows_of(tmp_path / "labels.csv").values()
        assert "not found" in row["error"]
    code, err = label("nonsense://x/a.wav", tmp_path / "labels.csv", "--restart")
    assert (code, "Protocol not known" in err) == (2, True)


@pytest.mark.slow("starts processes")
def test_a_web_folder_has_the_rows_of_its_folder(calls, whole, tmp_path):
    pytest.importorskip("aiohttp")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *more: Quiet(*more, directory=str(calls))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        code, err = label(f"{address}/", tmp_path / "labels.csv")
        one = f"{address}/broken.wav?token=SECRET"
        _, err_of_one = label(one, tmp_path / "one.csv", model=("-m", "wav2small"))
        server.shutdown()
    assert code == 1, err
    assert {name.replace("%20", " "): row for name, row in rows_of(tmp_path / "labels.csv").items()} == whole
    assert "SECRET" not in err_of_one + (tmp_path / "one.csv").read_text()
    assert "SECRET" not in (tmp_path / "one.csv.journal").read_text()


@pytest.mark.slow("starts processes and a store")
def test_labels_are_written_to_a_bucket_resumed_there_and_merged(store, calls, whole, tmp_path):
    client, environment = store

    def stored(key):
        return client.get_object(Bucket="calls", Key=key)["Body"].read()

    def rows(key):
        (tmp_path / "x.csv").write_bytes(stored(key))
        return rows_of(tmp_path / "x.csv")

    code, err = label(calls, "s3://calls/out/labels.csv", model=MODEL[:2], **environment)
    assert code == 1
    assert "the reasons are in s3://calls/out/labels.csv" in err
    assert rows("out/labels.csv") == whole
    code, err = label(calls, "s3://calls/out/labels.csv", **environment)
    assert (code, err) == (
        2,
        "sertool: s3://calls/out/labels.csv exists: --resume continues it, --restart overwrites it\n",
    )
    code, err = label(calls, "s3://calls/out/labels.csv", "--resume", model=MODEL[:2], **environment)
    assert f"({len(whole) - 1} of them before)" in err
    code, err = label(calls, "s3://calls/out/labels.csv", "--resume", "--no-vad", **environment)
    assert code == 2
    assert "s3://calls/out/labels.csv was made with vad" in err
    for number in (1, 2):
        label(calls, "s3://calls/out/s.csv", "--shard", f"{number}/2", **environment)
    command = [sys.executable, "-m", "sertool", "merge", "s3://calls/out/s.csv"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert "merged 2 shards into s3://calls/out/s.csv" in done.stderr
    assert rows("out/s.csv") == whole
    code, err = label(calls, "s3://calls/out/grids/", "--format", "textgrid", **environment)
    assert stored("out/grids/day 1/fast-high.TextGrid")


@pytest.mark.slow("starts processes and a store")
def test_what_cannot_be_stored_is_kept_here(calls, whole, tmp_path):
    pytest.importorskip("aiohttp")
    (tmp_path / "work").mkdir()
    command = [sys.executable, "-m", "sertool", "label", str(calls), *MODEL, "-o", "http://127.0.0.1:9/labels.csv"]
    done = subprocess.run([*command, "--restart"], capture_output=True, text=True, cwd=tmp_path / "work", timeout=100)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (kept,) = (tmp_path / "work").glob("sertool-unsent-*/labels.csv")
    assert rows_of(kept) == whole
    assert f"what was written is in {kept.parent.name}" in done.stderr
