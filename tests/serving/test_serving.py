"""The server over real sockets: the same rows as `label`, and clients that mean ill or are slow."""

import asyncio
import contextlib
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import soundfile

from sertool import bundle
from sertool.labelling import Labeller

pytest.importorskip("starlette")
websockets = pytest.importorskip("websockets")

RATE = 16_000
SAMPLES = bundle.bundled_folder() / "wav2small" / "samples"
PLAIN = (SAMPLES / "plain.wav").read_bytes()


class Running:
    """A server in a process of its own."""

    def __init__(self, *options, **environment):
        command = [sys.executable, "-u", "-m", "sertool", "serve", "-m", "wav2small", "--port", "0", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
        )
        line = self.process.stdout.readline()
        self.port = int(re.search(r":(\d+)/;", line)[1])

    def ask(self, method, path, body=None, **headers):
        """Return (status, decoded JSON or text, headers)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            text = answer.read().decode()
            form = answer.headers.get("content-type", "")
            return answer.status, json.loads(text) if form.startswith("application/json") else text, answer.headers
        finally:
            connection.close()

    def label(self, body, query="", **headers):
        return self.ask("POST", f"/label{query}", body, **headers)

    def metric(self, name):
        text = self.ask("GET", "/metrics")[1]
        return float(re.search(rf"^sertool_{re.escape(name)} (\S+)$", text, re.MULTILINE)[1])

    def resident(self):
        with open(f"/proc/{self.process.pid}/status") as lines:
            return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@contextlib.contextmanager
def running(*options, **environment):
    server = Running(*options, **environment)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.communicate()


@pytest.fixture(scope="module")
def server():
    with running("--patience", "2", "--max-mb", "5", "--max-seconds", "60", "--jobs", "2", "--queue", "4") as made:
        yield made


def long(seconds):
    whole = io.BytesIO()
    samples = np.resize(soundfile.read(SAMPLES / "plain.wav", dtype="float32")[0], int(seconds * RATE))
    soundfile.write(whole, samples, RATE, format="OGG", subtype="OPUS")
    return whole.getvalue()


@pytest.mark.parametrize("by", ["file", "window", "speech-window"])
def test_the_rows_of_label(server, by):
    status, answer, _ = server.label(PLAIN, f"?by={by}&window=2&hop=1")
    assert status == 200
    labeller = Labeller("wav2small", window=2, hop=1)
    how = {
        "file": lambda path: [labeller.label(path)],
        "window": labeller.windows,
        "speech-window": labeller.speech_windows,
    }
    own = [dict(row) for row in how[by](SAMPLES / "plain.wav")]
    assert answer["model"] == labeller.bundle.id
    assert answer["seconds"] == pytest.approx(4.238625)
    assert len(answer["rows"]) == len(own)
    for one, other in zip(answer["rows"], own, strict=True):
        assert list(one) == list(other)
        for name, value in other.items():
            assert one[name] == (pytest.approx(value, abs=1e-6) if isinstance(value, float) else value)


def test_without_the_detector(server):
    noise = io.BytesIO()
    soundfile.write(noise, 0.01 * np.random.default_rng(0).standard_normal(3 * RATE), RATE, format="WAV")
    status, answer, _ = server.label(noise.getvalue())
    assert status == 422
    assert "no speech found" in answer["error"]
    assert server.label(noise.getvalue(), "?vad=false")[0] == 200


@pytest.mark.parametrize(
    ("body", "query", "status", "reason"),
    [
        (b"", "", 422, "empty"),
        (b"RIFF", "", 422, "cannot be read"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "", 422, "not recognised"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "", 422, "not recognised"),
        (PLAIN, "?by=segment", 400, "by must be one of"),
        (PLAIN, "?window=nan", 400, "window must be a number"),
        (PLAIN, "?window=1&hop=2", 400, "hop"),
        (PLAIN, "?vad=maybe", 400, "vad must be"),
        (PLAIN, "?model=/etc", 400, "unknown query 'model'"),
        (long(70), "", 422, "longer than 60 s"),
    ],
)
def test_what_has_no_labels_says_why(server, body, query, status, reason):
    found, answer, _ = server.label(body, query)
    assert found == status
    assert reason in answer["error"]
    assert "/tmp" not in answer["error"]


def test_forms_are_refused_and_other_types_taken(server):
    assert server.label(PLAIN, content_type="multipart/form-data; boundary=x")[0] == 415
    for kind in ("audio/wav", "application/x-www-form-urlencoded", "text/html"):
        assert server.label(PLAIN, content_type=kind)[0] == 200


def test_large_requests_are_refused_before_and_while_they_come(server):
    with server.connect() as client:
        client.sendall(b"POST /label HTTP/1.1\r\nHost: x\r\nContent-Length: 6000000\r\n\r\n")
        answer = b""
        while data := client.recv(1000):  # it closes the connection
            answer += data
        assert b" 413 " in answer
        assert b"larger than 5 MB" in answer
    with server.connect() as client:  # without a stated length
        client.sendall(b"POST /label HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                client.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        with contextlib.suppress(ConnectionError):
            assert b" 413 " in client.recv(100)


def test_slow_bodies_and_slow_headers_are_ended(server):
    with server.connect() as client:
        client.sendall(b"POST /label HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        assert b" 408 " in client.recv(1000)
    starts = [server.connect() for _ in range(20)]
    before = time.monotonic()
    try:
        with contextlib.suppress(ConnectionError):
            for number in range(60):  # a header byte every tenth of a second
                for client in starts:
                    client.sendall(b"G" if number == 0 else b"x")
                time.sleep(0.1)
            raise AssertionError("slow clients were not ended")
    finally:
        for client in starts:
            client.close()
    assert time.monotonic() - before < 5
    assert server.label(PLAIN)[0] == 200


def test_clients_that_close_half_way(server):
    for part in (
        b"POST /label HT",
        b"POST /label HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc",
        b"\x16\x03\x01\0\0",
    ):
        with server.connect() as client:
            client.sendall(part)
            client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                client.recv(1000)
    head = f"POST /label HTTP/1.1\r\nHost: x\r\nContent-Length: {len(PLAIN)}\r\n\r\n".encode()
    for _ in range(5):  # and away before the answer
        with server.connect() as client:
            client.sendall(head + PLAIN)
    time.sleep(0.5)
    assert server.label(PLAIN)[0] == 200
    assert server.metric("working") == 0
    assert server.metric("waiting") == 0


def test_a_crowd_is_told_to_come_back(server):
    body, found = long(55), []
    threads = [threading.Thread(target=lambda: found.append(server.label(body))) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [status for status, _, _ in found]
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) >= 6  # two at once and four that wait
    assert statuses.count(429) > 0
    assert all(headers["Retry-After"] == "1" for status, _, headers in found if status == 429)
    assert server.metric('requests_total{status="429"}') == statuses.count(429)


def test_nothing_of_the_machine_can_be_read(server):
    for path in ("/../../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd", "/label/../openapi.json/x", "/static/x"):
        status, answer, _ = server.ask("GET", path)
        assert status in (404, 405)
        assert "root:" not in str(answer)
    status, answer, _ = server.ask("GET", "/label")
    assert (status, list(answer)) == (405, ["error"])


def test_the_page_the_document_and_health(server):
    status, page, headers = server.ask("GET", "/")
    assert status == 200
    assert "default-src &#x27;none&#x27;" in page
    assert "POST /label" in page
    assert server.ask("GET", "/health")[1]["status"] == "ok"
    about = server.ask("GET", "/openapi.json")[1]
    rows = about["components"]["schemas"]["Labels"]["properties"]["rows"]["items"]["properties"]
    assert list(rows) == list(server.label(PLAIN)[1]["rows"][0])
    assert "server" not in headers


def test_it_does_what_its_document_says(server, tmp_path):
    """schemathesis: requests that its OpenAPI allows and forbids; no 5xx, no answer that it does not describe.

    It cannot know that random bytes are no audio, and so which requests are to be taken.
    """
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{server.port}/openapi.json"]
    if not (os.path.exists(os.path.join(os.path.dirname(sys.executable), "schemathesis"))):
        pytest.skip("schemathesis is not installed")
    command = [os.path.join(os.path.dirname(sys.executable), "schemathesis"), *command[3:]]
    done = subprocess.run(
        [*command, "--max-examples", "40", "--seed", "1", "--exclude-checks", "positive_data_acceptance"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def frames(path=SAMPLES / "plain.wav"):
    samples = soundfile.read(path, dtype="float32")[0]
    return (32767 * np.tile(samples, 2)).astype("<i2").tobytes()


def streamed(port, data, query="", size=4001, end=True, headers=None):
    async def talk():
        async with websockets.connect(f"ws://127.0.0.1:{port}/stream{query}", additional_headers=headers) as client:
            rows = []

            async def send():
                for start in range(0, len(data), size):
                    await client.send(data[start : start + size])
                if end:
                    await client.send("end")

            sending = asyncio.create_task(send())
            with contextlib.suppress(websockets.ConnectionClosed):
                async for message in client:
                    rows.append(json.loads(message))
            with contextlib.suppress(websockets.ConnectionClosed):
                await sending
            return rows, client.close_code, client.close_reason

    return asyncio.run(talk())


@pytest.mark.parametrize("by", ["window", "segment"])
def test_a_stream_has_the_rows_of_listen(server, by):
    data = frames()
    rows, code, _ = streamed(server.port, data, f"?by={by}&window=2&hop=0.5")
    assert code == 1000
    options = ["--window", "2", "--hop", "0.5", "--by", by, "-m", "wav2small", "-q"]
    command = [sys.executable, "-m", "sertool", "listen", "-", "--rate", "16000", *options]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    own = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(own) > 1
    assert rows == [{name: value for name, value in row.items() if name != "delay"} for row in own]
    assert server.metric("streams") == 0


@pytest.mark.parametrize(
    ("query", "data", "reason"),
    [
        ("?rate=1", b"", "rate"),
        ("?rate=abc", b"", "rate"),
        ("?by=file", b"", "by must be"),
        ("?path=/etc/passwd", b"", "unknown query"),
        ("?kind=f32", np.full(8, np.nan, "<f4").tobytes(), "NaN or infinity"),
    ],
)
def test_wrong_streams_are_closed_with_the_reason(server, query, data, reason):
    rows, code, text = streamed(server.port, data, query, end=False)
    assert rows == []
    assert code == 1007
    assert reason in text


def test_a_silent_stream_is_ended(server):
    _, code, reason = streamed(server.port, b"\0\0", end=False)
    assert (code, reason) == (1008, "no samples came for too long")


def test_more_streams_than_there_may_be():
    async def crowd(port):
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(websockets.connect(f"ws://127.0.0.1:{port}/stream"))
            await asyncio.sleep(0.2)
            third = await stack.enter_async_context(websockets.connect(f"ws://127.0.0.1:{port}/stream"))
            await third.wait_closed()
            return third.close_code

    with running("--streams", "2") as server:
        assert asyncio.run(crowd(server.port)) == 1013


def test_a_token():
    with running(SERTOOL_TOKEN="geheim ü") as server:
        assert server.label(PLAIN)[0] == 401
        assert server.label(PLAIN, authorization="Bearer wrong")[0] == 401
        status, _, headers = server.ask("GET", "/metrics")
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        right = "Bearer geheim ü".encode().decode("latin-1")
        assert server.label(PLAIN, authorization=right)[0] in (200, 401)
        assert server.ask("GET", "/health")[0] == 200
        assert streamed(server.port, b"\0\0", end=False)[1] == 1008
    with running("--token", "abc") as server:
        assert server.label(PLAIN, authorization="Bearer abc")[0] == 200
        assert streamed(server.port, frames(), headers={"Authorization": "Bearer abc"})[1] == 1000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_after_requests_under_way(number):
    body, found = long(900), []
    with running("--jobs", "1") as server:
        thread = threading.Thread(target=lambda: found.append(server.label(body, "?by=window&window=2&hop=0.1")))
        thread.start()
        while not server.metric("working"):
            time.sleep(0.02)
        code, err = server.end(number)
        thread.join()
        assert (code, err) == (0, "ended\n")
        (answer,) = found
        assert answer[0] == 200
        assert len(answer[1]["rows"]) > 8000


def test_memory_does_not_grow_with_requests(server):
    for _ in range(30):
        server.label(PLAIN)
    before = server.resident()
    for _ in range(300):
        assert server.label(PLAIN)[0] == 200
    assert server.resident() - before < 15


def test_temporary_files_are_gone(tmp_path):
    with running(TMPDIR=str(tmp_path)) as server:
        for body in (PLAIN, b"RIFF", b""):
            server.label(body)
        with server.connect() as client:
            client.sendall(b"POST /label HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        time.sleep(0.5)
        assert os.listdir(tmp_path) == []


def test_wrong_usage(command):
    for arguments, reason in (
        (("--host", "0.0.0.0"), "set a token"),
        (("--host", "::"), "set a token"),
        (("-m", "nothing"), "nothing"),
    ):
        answer = command("serve", *arguments)
        assert answer.code == 2
        assert reason in answer.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = command("serve", "-m", "wav2small", "--port", str(taken.getsockname()[1]))
    assert answer.code == 2
    assert "choose another one" in answer.err
