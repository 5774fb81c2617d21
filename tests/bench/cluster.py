"""Files per second by executor and workers, and what a file costs beside its labels.

    python tests/bench/cluster.py [FILES]

Recordings of 5 s, `wav2small`, each run from the start of the command to its end, and the run alone.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from sertool import bundle

SAMPLES = bundle.bundled_folder() / "wav2small" / "samples"


def main(files=4000):
    clips = [soundfile.read(path, dtype="float32")[0] for path in sorted(SAMPLES.glob("*.wav"))]
    with tempfile.TemporaryDirectory() as folder:
        for number in range(int(files)):
            clip = np.resize(np.roll(clips[number % 4], number * 100), 5 * 16_000)
            soundfile.write(Path(folder) / f"{number:06d}.wav", clip, 16_000)
        for options in (["--jobs", "1"], ["--jobs", "2"], *(["--executor", "dask", "--jobs", n] for n in ("1", "2"))):
            with tempfile.TemporaryDirectory() as place:
                command = [sys.executable, "-m", "sertool", "label", folder, "-m", "wav2small", "-o", f"{place}/l.csv"]
                start = time.monotonic()
                done = subprocess.run([*command, *options], capture_output=True, text=True)
                wall = time.monotonic() - start
                size = Path(f"{place}/l.csv.journal").stat().st_size
            run = float(re.search(r"h in ([\d.]+) s", done.stderr)[1])
            print(
                f"{' '.join(options):28s} {wall:6.1f} s in all, {run:6.1f} s of it labelling: "
                f"{int(files) / run:6.0f} files/s; the journal has {size / int(files):.0f} bytes a file",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
