"""When somebody speaks: the segments of the probabilities, however the blocks are cut; of silence none."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from sertool import audio, bundle
from sertool.speech.detection import detect, peak
from sertool.speech.detector import probabilities
from sertool.speech.segmenter import Parameters, segments

RATE = audio.SAMPLE_RATE


@pytest.fixture(scope="module")
def talk():
    """A voice, 2 s of faint noise, a voice: float32."""
    clips = sorted(Path(bundle.bundled_folder() / "wav2small" / "samples").glob("*.wav"))[:2]
    samples = np.concatenate([audio.read(clips[0]), np.zeros(2 * RATE, np.float32), audio.read(clips[1])])
    return samples + 1e-4 * np.random.default_rng(0).standard_normal(len(samples), np.float32)


@pytest.mark.parametrize("parameters", [None, Parameters(0.7, 0.6, 0.1, 0.02, 0.2)])
@pytest.mark.parametrize("size", [160, 4097, 1_000_000])
def test_segments_are_those_of_the_probabilities_however_the_blocks_are_cut(talk, size, parameters):
    blocks = [talk[start : start + size] for start in range(0, len(talk), size)]
    found = detect(blocks, parameters, probabilities=True)
    assert found.segments == segments(probabilities(talk), parameters or Parameters(), len(talk))
    assert found.probabilities.tobytes() == probabilities(talk).tobytes()
    assert len(found.segments) > 1
    assert (found.samples, found.seconds, found.silent) == (len(talk), len(talk) / RATE, False)
    assert found.speech == pytest.approx(sum(end - start for start, end in found.segments) / RATE)
    assert detect(blocks, parameters).probabilities is None


@pytest.mark.parametrize("level", [0.0, 0.99e-4, -0.99e-4])
def test_of_what_is_silent_there_are_no_segments_whatever_its_shape(talk, level):
    samples = talk * np.float32(level / peak(talk))
    found = detect([samples[:9000], samples[9000:]])
    assert found.silent
    assert found.segments == []
    assert not detect([talk * np.float32(1.01e-4 / peak(talk))]).silent


def test_one_sample_makes_it_loud():
    samples = np.zeros(30_000, np.float32)
    samples[99] = -0.5
    assert not detect([samples[:100], samples[100:]]).silent
    assert not detect([samples[::-1]]).silent
    assert peak(samples) == 0.5
    assert peak(samples[:0]) == 0.0


def test_a_recording_is_never_held_whole():
    block = 1e-3 * np.random.default_rng(0).standard_normal(10 * RATE, np.float32)
    detect([block])
    peaks = []
    for count in (2, 20):
        tracemalloc.start()
        detect(block for _ in range(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 500_000  # 180 s of samples more are 11.5 MB
