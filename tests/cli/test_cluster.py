"""`sertool label --executor dask`: the rows of one machine, whatever happens to the workers."""

import contextlib
import json
import logging
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from sertool import bundle
from sertool.labelling.cluster import Cluster

pytest.importorskip("distributed")
SAMPLES = bundle.bundled_folder() / "wav2small" / "samples"
MODEL = ("-m", "wav2small")
QUIET = ("--no-dashboard",)


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Two hundred recordings in folders, two of which fail."""
    folder = tmp_path_factory.mktemp("calls") / "Anrufe und so"
    names = sorted(SAMPLES.glob("*.wav"))
    for number in range(198):
        path = folder / f"Tag {number % 5}" / f"Anruf {number} ä.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(names[number % 4], path)
    (folder / "kaputt.wav").write_bytes(b"RIFF")
    (folder / "leer.wav").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def whole(calls, tmp_path_factory):
    """What one machine writes."""
    output = tmp_path_factory.mktemp("whole") / "whole.csv"
    done = label(calls, output, "--ordered")
    assert done.returncode == 1  # two fail
    return output.read_bytes()


def label(calls, output, *more):
    command = [sys.executable, "-m", "sertool", "label", str(calls), *MODEL, "-o", str(output), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170)
    assert "Traceback" not in done.stderr
    return done


class Machines:
    """A scheduler and workers in processes of their own, with an environment of more variables."""

    def __init__(self, folder, **environment):
        import os

        self.folder, self.environment, self.workers = folder, os.environ | environment, []
        self.file = folder / "scheduler.json"
        self.scheduler = self.start("scheduler", "--port", "0", *QUIET)
        for _ in range(100):
            with contextlib.suppress(OSError, ValueError):
                self.address = json.loads(self.file.read_text())["address"]
                return
            time.sleep(0.1)
        raise AssertionError("the scheduler did not start")

    def start(self, what, *more):
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--scheduler-file", str(self.file), *more]
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def hire(self, count):
        for _ in range(count):
            self.workers.append(self.start("worker", "--nthreads", "1", "--no-nanny", *QUIET))

    def close(self):
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


@pytest.fixture
def machines(tmp_path):
    with contextlib.ExitStack() as stack:

        def make(**environment):
            made = Machines(tmp_path, **environment)
            stack.callback(made.close)
            return made

        yield make


def test_a_cluster_on_this_machine_writes_the_same_bytes(calls, whole, tmp_path):
    done = label(calls, tmp_path / "l.csv", "--executor", "dask", "--jobs", "2", "--ordered")
    assert done.returncode == 1
    assert "198 labelled, 2 failed" in done.stderr
    assert (tmp_path / "l.csv").read_bytes() == whole
    again = label(calls, tmp_path / "l.csv", "--executor", "dask", "--jobs", "2", "--ordered", "--resume")
    assert "198 labelled (198 of them before), 2 failed" in again.stderr
    assert (tmp_path / "l.csv").read_bytes() == whole


def complain():
    logging.getLogger("distributed.worker").error("the heartbeat failed")


def test_workers_on_this_machine_write_no_log(capfd):
    with Cluster(None, 1) as cluster:
        cluster._client.run(complain)
    assert "heartbeat" not in capfd.readouterr().err


@pytest.mark.slow("starts a scheduler and workers, and kills them")
def test_workers_that_are_killed_at_random_lose_no_row(calls, whole, machines, tmp_path):
    cluster, rng, stop, killed = machines(), random.Random(0), threading.Event(), []
    cluster.hire(2)

    def kill():
        while not stop.wait(rng.uniform(1.5, 3)):
            victim = rng.choice(cluster.workers)
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            cluster.workers.remove(victim)
            killed.append(victim)
            cluster.hire(1)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for attempt in range(4):
            output = tmp_path / f"{attempt}.csv"
            done = label(
                calls,
                output,
                "-m",
                "mobile" if attempt < 2 else "wav2small",
                "--ordered",
                "--scheduler",
                cluster.address,
            )
            assert done.returncode == 1, done.stderr
            if attempt >= 2:
                assert output.read_bytes() == whole
    finally:
        stop.set()
        killer.join()
    assert killed
    mine = label(calls, tmp_path / "mine.csv", "-m", "mobile", "--ordered")
    assert mine.returncode == 1
    for attempt in range(2):
        assert (tmp_path / f"{attempt}.csv").read_bytes() == (tmp_path / "mine.csv").read_bytes()


@pytest.mark.slow("starts a scheduler and workers, which kill themselves")
def test_a_file_that_kills_its_worker_is_named_and_costs_only_itself(calls, machines, tmp_path):
    plugins, folder = tmp_path / "plugins", tmp_path / "calls"
    plugins.mkdir()
    (plugins / "deadly.py").write_text(
        "import os, signal, sertool\n"
        "def blocks(path):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "@sertool.hookimpl\n"
        "def register_decoders(register):\n"
        "    register(sertool.Decoder('deadly', 'kills', ('.die',), lambda head, path: head[:3] == b'die', blocks))\n"
    )
    shutil.copytree(calls / "Tag 0", folder)
    (folder / "bad.wav").write_bytes(b"die" * 30)
    cluster = machines(SERTOOL_PLUGINS_DIR=str(plugins), DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1")
    stop = threading.Event()
    cluster.hire(3)

    def replace():
        while not stop.wait(0.2):
            for worker in [one for one in cluster.workers if one.poll() is not None]:
                cluster.workers.remove(worker)
                cluster.hire(1)

    keeper = threading.Thread(target=replace)
    keeper.start()
    try:
        done = label(folder, tmp_path / "l.csv", "--scheduler", cluster.address)
    finally:
        stop.set()
        keeper.join()
    assert done.returncode == 1
    assert "40 labelled, 1 failed" in done.stderr
    assert "bad.wav: its worker died again and again" in done.stderr


@pytest.mark.slow("starts a scheduler and workers")
def test_without_workers_or_a_scheduler_it_is_one_line(calls, machines, tmp_path):
    cluster = machines()
    address = cluster.address
    cluster.hire(1)
    process = subprocess.Popen(
        [sys.executable, "-m", "sertool", "label", str(calls), "-m", "mobile", "-o", str(tmp_path / "l.csv")]
        + ["--scheduler", address],
        stderr=subprocess.PIPE,
        text=True,
    )
    journal = tmp_path / "l.csv.journal"
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 1):
        time.sleep(0.05)
    cluster.scheduler.kill()
    _, err = process.communicate(timeout=120)
    if process.returncode != 1:  # it was not yet finished
        assert process.returncode == 2
        assert "lost the scheduler; --resume continues" in err
    assert "Traceback" not in err


def test_wrong_usage(command, calls, tmp_path):
    answer = command("label", calls, *MODEL, "--executor", "local", "--scheduler", "tcp://127.0.0.1:1")
    assert answer.code == 2
    assert "--scheduler is for --executor dask" in answer.err
