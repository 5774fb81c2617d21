"""One long recording on several cores: the same rows, in order, with few of them in memory."""

import itertools
import threading
import time

import numpy as np
import pytest
import soundfile

from sertool import bundle
from sertool.labelling import Labeller
from sertool.labelling.job import label_all
from sertool.labelling.plan import Plan
from sertool.recordings.pool import Spare
from sertool.recordings.recording import Recording

SAMPLES = sorted((bundle.bundled_folder() / "wav2small" / "samples").glob("*.wav"))
RATE = 16_000


@pytest.fixture(scope="module")
def labeller():
    return Labeller("wav2small", "native-int8", window=2, hop=1)


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """Two minutes of speech with pauses."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("long") / "long.wav"
    clips = [soundfile.read(sample)[0] for sample in SAMPLES]
    parts = [
        np.r_[clips[rng.integers(len(clips))] * rng.uniform(0.1, 1), np.zeros(rng.integers(40_000))] for _ in range(40)
    ]
    soundfile.write(path, np.concatenate(parts)[: 120 * RATE], RATE)
    return path


@pytest.mark.parametrize("by", ["file", "window", "speech-window", "segment"])
def test_rows_are_those_of_one_thread(labeller, long, by):
    def rows(jobs):
        (result,) = label_all(labeller, [Recording(long, "long.wav")], Plan(by), jobs=jobs)
        return result.rows

    assert len(rows(1)) >= 1
    assert rows(4) == rows(1)


def test_the_threads_of_finished_recordings_help(labeller, long, monkeypatch):
    short, threads, original = Recording(SAMPLES[0], "short.wav"), set(), Labeller.labelled

    def labelled(self, *arguments):
        threads.add(threading.current_thread().name.split("_")[0])
        time.sleep(0.005)
        return original(self, *arguments)

    monkeypatch.setattr(Labeller, "labelled", labelled)
    results = list(label_all(labeller, [short, Recording(long, "long.wav")], "window", jobs=2, ordered=True))
    assert [result.name for result in results] == ["short.wav", "long.wav"]
    assert threads == {"label", "piece"}


def test_recordings_enough_for_all_threads_stay_in_their_own(labeller, monkeypatch):
    spare = Spare(2)
    with spare.recording(), spare.recording():
        names = set(spare.starmap(lambda _: threading.current_thread().name, [(n,) for n in range(5)]))
    assert names == {threading.current_thread().name}


def test_pieces_are_made_as_they_are_needed():
    spare, made, done, most = Spare(3), itertools.count(), itertools.count(), 0

    def pieces():
        nonlocal most
        for number in range(200):
            next(made)
            most = max(most, number - int(repr(done)[6:-1]))
            yield (number,)

    for place, number in enumerate(spare.starmap(lambda number: time.sleep(0.0005) or number, pieces())):
        assert number == place
        next(done)
    assert most <= 2 * 3 + 1
    spare.close()


@pytest.mark.parametrize("fails", ["work", "pieces"])
def test_a_fault_is_that_of_the_recording(fails):
    spare = Spare(2)

    def pieces():
        yield from ((n,) for n in range(10))
        if fails == "pieces":
            raise ValueError("cut")

    def work(number):
        if fails == "work" and number == 7:
            raise ValueError("cut")
        return number

    with pytest.raises(ValueError, match="cut"):
        list(spare.starmap(work, pieces()))
    spare.close()


def test_a_truncated_recording_has_its_error_whatever_the_threads(labeller, long, tmp_path):
    path = tmp_path / "cut.wav"
    path.write_bytes(long.read_bytes()[:1_000_000])
    errors = {
        jobs: [result.error for result in label_all(labeller, [Recording(path, "cut.wav")], jobs=jobs)]
        for jobs in (1, 3)
    }
    assert errors[1] == errors[3]
    assert "truncated" in errors[1][0]
