"""What every benchmark states: commit, versions, processor, threads."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def header(*packages: str) -> None:
    """Print where and with what the figures below were measured."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    cpu = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    versions = []
    for package in ("sertool", *packages):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} missing")
    print(
        f"commit {commit.stdout.strip() or 'unknown'}; {cpu}, {os.cpu_count()} cores; "
        f"Python {platform.python_version()}"
    )
    print(", ".join(versions))


def spread(seconds) -> str:
    """Median, fastest and slowest of repeated runs, in ms."""
    ms = np.asarray(seconds) * 1e3
    return f"{np.median(ms):8.3f} ms  (fastest {ms.min():.3f}, slowest {ms.max():.3f}, {len(ms)} runs)"
