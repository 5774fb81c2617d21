"""The scripts of docs/many.md label everything, with the variables that a scheduler would set."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sertool import bundle

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "many.md").read_text(encoding="utf-8")
SAMPLES = bundle.bundled_folder() / "wav2small" / "samples"


@pytest.fixture
def place(tmp_path):
    """A folder with calls/ of twelve recordings, one of them broken, and sertool on the path."""
    for number in range(12):
        path = tmp_path / "calls" / f"{number} ä.wav"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(SAMPLES / "fast-german.wav", path)
    (tmp_path / "calls" / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "sertool"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m sertool "$@"\n')
    program.chmod(0o755)
    return tmp_path


def run(place, script, **variables):
    environment = os.environ | variables | {"PATH": f"{place / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def blocks(heading, language):
    section = PAGE.partition(f"## {heading}")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def merged(place, script="sertool merge labels.csv"):
    run(place, script)
    lines = (place / "labels.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 13
    assert sum(line.endswith(",") for line in lines) == 12  # no error


@pytest.mark.slow("starts eight processes")
def test_slurm(place):
    (script,) = blocks("SLURM", "bash")
    (last,) = re.findall(r"--array=1-(\d+)", script)
    for number in range(int(last), 0, -1):
        run(place, script, SLURM_ARRAY_TASK_ID=str(number), SLURM_CPUS_PER_TASK="2")
    merged(place)


@pytest.mark.slow("starts eight processes")
def test_parallel_and_xargs(place):
    with_parallel, with_xargs = blocks("GNU parallel, or xargs", "bash")
    if shutil.which("parallel"):
        run(place, with_parallel)
        for path in place.glob("labels*"):
            path.unlink()
    merged(place, with_xargs)


@pytest.mark.slow("starts eight processes")
def test_kubernetes(place):
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load(blocks("Kubernetes", "yaml")[0])
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["/bin/sh", "-c"]
    for index in range(job["spec"]["completions"]):
        run(place, container["args"][0], JOB_COMPLETION_INDEX=str(index))
    merged(place)
