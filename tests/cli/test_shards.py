"""`sertool label --shard` and `sertool merge`: any number of shards gives the same table, whatever happens to them."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from sertool import bundle
from sertool.labelling.merge import _chosen

SAMPLES = bundle.bundled_folder() / "wav2small" / "samples"
MODEL = ("-m", "wav2small")


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    """Thirty recordings in folders, two of which fail."""
    folder = tmp_path_factory.mktemp("calls") / "Anrufe und so"
    names = sorted(path for path in SAMPLES.iterdir() if path.suffix == ".wav")
    for number in range(28):
        path = folder / f"Tag {number % 3}" / f"Anruf {number} ä.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(names[number % 4], path)
    (folder / "kaputt.wav").write_bytes(b"RIFF")
    (folder / "leer.wav").write_bytes(b"")
    return folder


def whole(command, calls, output, *more):
    assert command("label", calls, *MODEL, "-o", output, "--ordered", "-q", *more).code == 1  # two fail
    return output.read_bytes()


def shard(command, calls, output, number, of, *more):
    return command("label", calls, *MODEL, "-o", output, "--shard", f"{number}/{of}", "-q", *more)


@pytest.mark.parametrize("of", [1, 7, 40])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "rttm"])
def test_any_number_of_shards_gives_the_same_bytes(command, calls, tmp_path, suffix, of):
    more = ("--windows", "--window", "2") if suffix == "jsonl" else ()
    expected = whole(command, calls, tmp_path / f"whole.{suffix}", *more)
    for number in range(1, of + 1):
        assert shard(command, calls, tmp_path / f"l.{suffix}", number, of, *more).code in (0, 1)
    answer = command("merge", tmp_path / f"l.{suffix}")
    assert answer.code == 0
    assert answer.err == f"merged {of} shards into {tmp_path / f'l.{suffix}'}: 28 labelled, 2 failed\n"
    assert (tmp_path / f"l.{suffix}").read_bytes() == expected


def test_parquet_is_the_same_table(command, calls, tmp_path):
    import pyarrow.parquet

    whole(command, calls, tmp_path / "whole.parquet")
    for number in (1, 2, 3):
        shard(command, calls, tmp_path / "l.parquet", number, 3)
    assert command("merge", tmp_path / "l.parquet").code == 0
    assert pyarrow.parquet.read_table(tmp_path / "l.parquet") == pyarrow.parquet.read_table(tmp_path / "whole.parquet")


@pytest.mark.slow("processes are killed and run again")
def test_shards_that_are_killed_again_and_again_lose_nothing(command, calls, tmp_path):
    expected, output = whole(command, calls, tmp_path / "whole.csv"), tmp_path / "l.csv"
    rng = random.Random(0)
    for number in range(1, 4):
        for attempt in range(12):
            arguments = ["label", str(calls), *MODEL, "-o", str(output), "--shard", f"{number}/3", "-q", "-j", "1"]
            process = subprocess.Popen([sys.executable, "-m", "sertool", *arguments], stderr=subprocess.PIPE)
            if attempt == 11:
                process.communicate()
                break
            time.sleep(rng.uniform(0.1, 0.7))
            process.send_signal(signal.SIGKILL)
            process.communicate()
    assert command("merge", output).code == 0
    assert output.read_bytes() == expected


def test_a_shard_that_is_repeated_labels_nothing_twice(command, calls, tmp_path):
    expected, output = whole(command, calls, tmp_path / "whole.csv"), tmp_path / "l.csv"
    for number in (1, 2, 1, 2, 2):
        shard(command, calls, output, number, 2)
    again = command("label", calls, *MODEL, "-o", output, "--shard", "2/2")
    assert "of them before)" in again.err
    assert command("merge", output).code == 0
    assert output.read_bytes() == expected


def test_two_of_the_same_shard_at_once_exclude_each_other(calls, tmp_path):
    arguments = ["label", str(calls), *MODEL, "-o", str(tmp_path / "l.csv"), "--shard", "1/1", "-q"]
    start = [sys.executable, "-m", "sertool", *arguments]
    both = [subprocess.Popen(start, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([1, 1], [1, 2])  # one after the other, or at once
    if codes == [1, 2]:
        assert any("another sertool is writing l.1-of-1.csv" in error for error in errors)


def test_recordings_may_be_gone_when_shards_are_merged(command, calls, tmp_path):
    folder = tmp_path / "calls"
    shutil.copytree(calls, folder)
    for number in (1, 2):
        shard(command, folder, tmp_path / "l.csv", number, 2)
    expected = whole(command, folder, tmp_path / "whole.csv")
    shutil.rmtree(folder)
    assert command("merge", tmp_path / "l.csv").code == 0
    assert (tmp_path / "l.csv").read_bytes() == expected


def test_what_is_not_whole_is_said(command, calls, tmp_path):
    output = tmp_path / "l.csv"
    assert "no shards beside it, such as l.1-of-8.csv" in command("merge", output).err
    shard(command, calls, output, 1, 3)
    shard(command, calls, output, 3, 3)
    answer = command("merge", output)
    assert answer.code == 2
    assert answer.err == "sertool: shard 2/3 is missing (--partial merges what there is)\n"
    assert not output.exists()
    answer = command("merge", output, "--partial")
    assert answer.code == 1
    assert "shard 2/3 is missing" in answer.err
    assert 2 < len(output.read_text(encoding="utf-8").splitlines()) < 31
    shard(command, calls, output, 2, 3)
    assert "exists: --overwrite replaces it" in command("merge", output).err
    assert command("merge", output, "--overwrite").code == 0


def test_a_shard_that_was_interrupted_is_not_finished(command, calls, tmp_path):
    output = tmp_path / "l.csv"
    shard(command, calls, output, 1, 1)
    journal = tmp_path / "l.1-of-1.csv.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-3]) + lines[-3][:40])
    answer = command("merge", output)
    assert "shard 1/1 is not finished" in answer.err
    shard(command, calls, output, 1, 1)
    assert command("merge", output).code == 0


def test_files_that_come_later_are_found_by_running_again(command, calls, tmp_path):
    folder = tmp_path / "calls"
    shutil.copytree(calls, folder)
    output = tmp_path / "l.csv"
    shard(command, folder, output, 1, 2)
    for number in range(5):
        shutil.copy(SAMPLES / "plain.wav", folder / f"neu {number}.wav")
    shard(command, folder, output, 2, 2)
    answer = command("merge", output)
    assert "saw different lists of recordings: run each of them again" in answer.err
    for number in (1, 2):
        shard(command, folder, output, number, 2)
    assert command("merge", output).code == 0
    assert output.read_bytes() == whole(command, folder, tmp_path / "whole.csv")


def test_shards_of_other_settings_are_refused(command, calls, tmp_path):
    output = tmp_path / "l.csv"
    shard(command, calls, output, 1, 2)
    shard(command, calls, output, 2, 2, "--no-vad")
    answer = command("merge", output)
    assert answer.code == 2
    assert "was made with vad = false, others true" in answer.err


def test_wrong_usage(command, calls, tmp_path):
    for arguments, reason in (
        (("--shard", "1/2"), "--shard needs -o FILE"),
        (("--shard", "3/2", "-o", tmp_path / "l.csv"), "NUMBER/COUNT"),
        (("--shard", "1/2", "-o", tmp_path / "l.csv", "--report", tmp_path / "r.html"), "merge first"),
        (("--shard", "1/2", "-o", tmp_path, "--format", "textgrid"), "has a file for each recording"),
    ):
        answer = command("label", calls, *MODEL, *arguments)
        assert answer.code == 2
        assert reason in answer.err
    assert os.listdir(tmp_path) == []


def test_of_several_entries_the_last_good_one_counts():
    keys, places = np.array([7, 5, 7, 5, 9, 7], np.uint64), np.array([2, 1, 2, 1, 0, 2])
    good = np.array([1, 0, 1, 0, 1, 0], np.int8)
    assert _chosen(keys, places, good).tolist() == [4, 3, 2]
    assert _chosen(keys[:0], places[:0], good[:0]).tolist() == []
