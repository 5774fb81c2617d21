"""Memory and time of very long lists: the list of names, the journal, --resume, and merge, by number of recordings.

    python tests/bench/lists.py 100000 1000000

The recordings do not exist: what is measured is all that grows with their number, and not the model. Each figure is of
a process of its own; memory is what its peak is above that of one with no recordings.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

_COMMON = """
import resource, sys, time
from pathlib import Path
from sertool.labelling.journal import Journal
from sertool.labelling.merge import open_shards
from sertool.recordings.listing import Listing
from sertool.recordings.recording import Recording
folder, count, step = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
names = (f"speaker {n % 5000:04d}/session {n % 50}/recording {n:08d}.wav" for n in range(count))
recordings = (Recording(Path("/data/calls", name), name) for name in names)
run, about = {"model": "m", "shard": "1/1"}, {"table": {"columns": []}, "folder": None, "list": "x"}
row = {"file": "x", "start": 0.0, "end": 4.987625}
for k, name in enumerate(("arousal", "dominance", "valence")):
    row |= {name: 0.512345 + k / 7, f"{name}.low": 0.312346 + k / 7, f"{name}.high": 0.712347 + k / 7}
row |= {"typical": 0.993455, "speech": 3.61, "error": None}
started = time.monotonic()
"""
_STEPS = {
    "list": "for place in (len(found := Listing(recordings)) // 2,): found[place] if count else None",
    "journal": """
journal = Journal(folder / "l.1-of-1.csv", run, "restart", about)
from dataclasses import replace
for n, recording in enumerate(recordings):
    journal.add(replace(recording, place=n), [160_044, 1_764_590_400_000_000_000 + n], [row], 4.987625, False)
journal.complete(count)
journal.close()
""",
    "resume": """
found = Listing(recordings)
journal = Journal(folder / "l.1-of-1.csv", run, "resume", about)
assert not journal.others(found)
for n, recording in enumerate(found):
    assert journal.finished(recording, [160_044, 1_764_590_400_000_000_000 + n])
journal.complete(count)
journal.close()
""",
    "merge": """
from sertool.labelling.merge import open_shards
shards = open_shards([folder / "l.1-of-1.csv"], 1)
assert sum(1 for _ in shards.entries()) == count
""",
}
_AFTER = """
print(time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def measured(folder: Path, count: int, step: str) -> tuple[float, float]:
    """Return (seconds, peak bytes) of a step in a new process."""
    command = [sys.executable, "-c", _COMMON + _STEPS[step] + _AFTER, str(folder), str(count), step]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, memory = map(float, done.stdout.split())
    return seconds, memory


def main() -> None:
    for count in map(int, sys.argv[1:] or ["100000"]):
        with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as folder:
            for step in _STEPS:
                _, without = measured(Path(empty), 0, step)
                seconds, memory = measured(Path(folder), count, step)
                size = sum(path.stat().st_size for path in Path(folder).iterdir()) / count
                print(
                    f"{count:9,} {step:8} {seconds:7.1f} s  {(memory - without) / 1e6:7.1f} MB more"
                    + (f"  {size:.0f} bytes a recording" if step == "journal" else ""),
                    flush=True,
                )


if __name__ == "__main__":
    main()
