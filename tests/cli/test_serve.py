"""`sertool serve --web`."""

import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from sertool import bundle


@pytest.fixture
def server():
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "sertool", "serve", "--web", "--no-open", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    yield process, re.search(r"http://localhost:\d+/", line)[0]
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_it_serves_its_files_and_nothing_else(server):
    process, address = server
    with urllib.request.urlopen(address) as answer:
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert b"Content-Security-Policy" in answer.read()
    with urllib.request.urlopen(address + "model.wasm?x") as answer:
        assert answer.headers["Content-Type"] == "application/wasm"
        weights = (bundle.bundled_folder() / "wav2small" / "model.int8.native").read_bytes()
        assert answer.read().endswith(weights)
    for path in ("nothing", "../pyproject.toml", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd"):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(address + path)
        assert error.value.code == 404
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert err == "ended\n"


def test_what_does_not_run_in_the_browser(command):
    answer = command("serve", "--web", "-m", "mobile", "--no-open")
    assert answer.code == 2
    assert "only models of the C engine run in the browser" in answer.err
