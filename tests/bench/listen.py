"""Hours of audio through `sertool listen -`, as fast as it goes: memory and times by hour.

python tests/bench/listen.py [HOURS] [RATE] [MODEL] [more options of listen]
"""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import soundfile

from sertool import bundle

SAMPLES = bundle.bundled_folder() / "wav2small" / "samples"


def minute(rate):
    """A minute of speech with pauses, s16 at ``rate``."""
    import soxr

    clips = [soundfile.read(path, dtype="float32")[0] for path in sorted(SAMPLES.glob("*.wav"))]
    samples = np.concatenate([part for clip in clips for part in (clip, np.zeros(20_000, np.float32))])
    return (32767 * soxr.resample(np.resize(samples, 60 * 16_000), 16_000, rate)).astype("<i2").tobytes()


def resident(process):
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def main(hours=24.0, rate=16_000, model="wav2small", *more):
    command = [sys.executable, "-m", "sertool", "listen", "-", "--rate", str(rate), "-m", model, *more]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False)
    data, minutes = minute(int(rate)), round(float(hours) * 60)

    def feed():
        for _ in range(minutes):
            process.stdin.write(data)
        process.stdin.close()

    threading.Thread(target=feed, daemon=True).start()
    start, hour, rows, last = time.monotonic(), 0, 0, 0.0
    for line in process.stdout:
        last, rows = json.loads(line)["end"], rows + 1
        if last // 3600 > hour:
            hour = int(last // 3600)
            print(
                f"{hour:3d} h: {resident(process):6.1f} MB, {rows} rows, {time.monotonic() - start:6.1f} s", flush=True
            )
    process.wait()
    wall = time.monotonic() - start
    speed = float(hours) * 3600 / wall
    print(f"{hours} h in {wall:.0f} s ({speed:.0f}x real time), {rows} rows, the last ends at {last} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
