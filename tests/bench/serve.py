"""Requests a second, delays and memory of `sertool serve`, on loopback.

    python tests/bench/serve.py [MODEL] [SECONDS OF AUDIO]

Clients with a connection each that is kept, one request after the other, 8 s for each number of clients.
"""

import http.client
import io
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import soundfile

from sertool import bundle

SAMPLES = bundle.bundled_folder() / "wav2small" / "samples"
LASTS = 8


def body(seconds):
    whole = io.BytesIO()
    samples = soundfile.read(SAMPLES / "plain.wav", dtype="float32")[0]
    soundfile.write(whole, np.resize(samples, int(float(seconds) * 16_000)), 16_000, format="WAV", subtype="PCM_16")
    return whole.getvalue()


def status(process, name):
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def load(port, data, clients):
    """Return (seconds of each answer, statuses)."""
    times, statuses, until = [], [], time.monotonic() + LASTS

    def one():
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while time.monotonic() < until:
            start = time.monotonic()
            connection.request("POST", "/label", data)
            answer = connection.getresponse()
            answer.read()
            times.append(time.monotonic() - start)
            statuses.append(answer.status)

    threads = [threading.Thread(target=one) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return np.array(times), statuses


def main(model="wav2small", seconds=5):
    command = [sys.executable, "-u", "-m", "sertool", "serve", "-m", model, "--port", "0", "--queue", "64"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    port = int(re.search(r":(\d+)/;", process.stdout.readline())[1])
    data = body(seconds)
    load(port, data, 2)
    print(f"{model}, {seconds} s, {len(data)} bytes; after warming up {status(process, 'VmRSS'):.0f} MB")
    for clients in (1, 2, 8, 32):
        times, statuses = load(port, data, clients)
        refused = len(statuses) - statuses.count(200)
        p50, p99 = np.percentile(times, [50, 99]) * 1000
        print(
            f"{clients:3d} clients: {len(times) / LASTS:6.0f} requests/s, {p50:6.1f} ms, p99 {p99:6.1f} ms, "
            f"{refused} refused, {status(process, 'VmRSS'):.0f} MB",
            flush=True,
        )
    print(f"peak {status(process, 'VmHWM'):.0f} MB")
    process.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:])
