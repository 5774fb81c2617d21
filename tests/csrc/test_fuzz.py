"""The inputs that fuzzing kept (fuzz/corpus/) go through the fuzz targets again, with sanitizers, without libFuzzer."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow("compiles C with sanitizers")

FUZZ = Path(__file__).resolve().parent / "fuzz"
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in FUZZ.glob("fuzz_*.c"))


def replay(compiler: str, runner: Path = FUZZ / "run.py") -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, runner, "--replay", compiler], capture_output=True, text=True)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_kept_inputs_pass(compiler):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    done = replay(compiler)
    assert done.returncode == 0, done.stdout + done.stderr
    for target in TARGETS:
        count = len(list((FUZZ / "corpus" / target).iterdir()))
        assert count > 0
        assert int(re.search(rf"^{target}: (\d+) inputs", done.stdout, re.MULTILINE).group(1)) > count  # and seeds


def test_kept_inputs_are_few_and_small():
    files = [path for path in (FUZZ / "corpus").rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} == set(TARGETS)
    assert len(files) <= 150
    assert sum(path.stat().st_size for path in files) < 100_000


# target: the file of csrc, what stands there, and a mistake that the kept inputs of the target must notice
MISTAKES = {
    "weights": ("weights.c", "bytes <= c->size - offset", "bytes <= 0x7fffffff"),
    "engine": ("wav2small_init.c", "2 * k->group + 1 > 3 ? 2 * k->group + 1 : 3", "2 * k->group"),
    "logmel": ("logmel.c", "if (ready > capacity)", "if (ready > capacity + 1)"),
    "segments": ("segments.c", "if (done == capacity)", "if (done == capacity + 1)"),
    "vad": ("vad.c", "if (left > capacity)", "if (left > capacity + 1)"),
}


def test_kept_inputs_notice_mistakes(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    shutil.copytree(FUZZ.parents[2] / "csrc", tmp_path / "csrc")
    shutil.copytree(FUZZ.parent, tmp_path / "tests" / "csrc", ignore=shutil.ignore_patterns("__pycache__"))
    for file, right, wrong in MISTAKES.values():
        source = tmp_path / "csrc" / file
        assert right in source.read_text()
        source.write_text(source.read_text().replace(right, wrong))
    done = replay("gcc", runner=tmp_path / "tests" / "csrc" / "fuzz" / "run.py")
    assert done.returncode == 1
    for target in MISTAKES:
        assert f"{target} fails" in done.stdout, done.stdout + done.stderr
