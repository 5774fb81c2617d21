"""Labels of audio that is still coming are those of the same windows and segments of a file."""

import tracemalloc

import numpy as np
import pytest
import soundfile

from sertool import bundle
from sertool.errors import UsageError
from sertool.labelling import Labeller
from sertool.labelling.labeller import NO_SPEECH
from sertool.labelling.live import LiveSegments, LiveWindows
from sertool.speech.detection import SILENT, detect

RATE = 16_000
SAMPLES = bundle.bundled_folder() / "wav2small" / "samples"


def spoken(seconds):
    clips = [soundfile.read(path, dtype="float32")[0] for path in sorted(SAMPLES.glob("*.wav"))]
    parts = [part for clip in clips for part in (clip, np.zeros(14_000, np.float32))]
    return np.resize(np.concatenate(parts), int(seconds * RATE))


@pytest.fixture(scope="module")
def labeller():
    return Labeller("wav2small", window=3, hop=0.5)


def pushed(live, samples, size):
    rows = []
    for start in range(0, len(samples), size):
        rows += live.push(samples[start : start + size])
    return rows + live.finish()


@pytest.mark.parametrize("size", [160, 1777, 48_000, 10**6])
def test_windows_do_not_depend_on_the_pieces_and_are_those_of_the_samples(labeller, size):
    samples = spoken(12)
    rows = pushed(LiveWindows(labeller), samples, size)
    assert [row.end for row in rows] == [1 + 0.5 * number for number in range(23)]
    assert [row.start for row in rows] == [max(0.0, row.end - 3) for row in rows]
    plain = Labeller("wav2small", vad=False)
    labelled = [row for row in rows if row.error is None]
    assert len(labelled) > 15
    for row in labelled:
        cut = samples[round(row.start * RATE) : round(row.end * RATE)]
        assert row.arousal == plain.label(cut, RATE).arousal
    assert all(0 <= row.speech <= 3 for row in rows)


def test_windows_without_speech_have_the_reason(labeller):
    noise = (0.01 * np.random.default_rng(0).standard_normal(3 * RATE)).astype(np.float32)
    samples = np.concatenate([np.zeros(5 * RATE, np.float32), noise, spoken(4)])
    rows = pushed(LiveWindows(labeller), samples, 1600)
    assert rows[0].error == SILENT
    assert rows[6].end == 4.0
    assert rows[6].error == SILENT
    assert rows[14].end == 8.0
    assert rows[14].error in (NO_SPEECH, SILENT)
    assert rows[-1].error is None
    loud = pushed(LiveWindows(Labeller("wav2small", window=3, hop=0.5, vad=False)), samples, 1600)
    assert loud[14].error is None


@pytest.mark.parametrize("size", [160, 1777, 48_000])
def test_segments_are_those_of_the_detector(labeller, size):
    samples = spoken(23)
    rows = pushed(LiveSegments(labeller), samples, size)
    found = detect([samples]).times
    assert [(row.start, row.end) for row in rows] == found
    own = labeller.segments(samples, found, RATE)
    assert [row.arousal for row in rows] == [row.arousal for row in own]


def test_segments_come_soon_after_they_end(labeller):
    live, samples, late = LiveSegments(labeller), spoken(23), []
    for start in range(0, len(samples), 160):
        late += [live.samples / RATE - row.end for row in live.push(samples[start : start + 160])]
    assert len(late) > 3
    assert max(late) < 0.7


@pytest.mark.parametrize("kind", [LiveWindows, LiveSegments])
def test_memory_does_not_grow(kind, labeller):
    pushed(kind(labeller), spoken(20), 800)
    live, samples = kind(labeller), spoken(20)
    tracemalloc.start()
    for start in range(0, len(samples), 800):
        live.push(samples[start : start + 800])
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(10):
        for start in range(0, len(samples), 800):
            live.push(samples[start : start + 800])
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < 200_000  # ten times the audio is 12.8 MB


def test_speech_that_does_not_end_is_passed_on_in_parts(labeller):
    clip = spoken(1.3)[8000:]
    live = LiveSegments(labeller)
    rows = pushed(live, np.resize(clip, 130 * RATE), 1600)
    assert len(rows) >= 2
    assert max(row.end - row.start for row in rows) < 62
    assert rows[-1].end == pytest.approx(130, abs=0.2)


def test_windows_that_are_not_live(labeller):
    with pytest.raises(UsageError, match="1 to 30 s"):
        LiveWindows(Labeller("wav2small", window=0.5))
    with pytest.raises(UsageError, match="at least"):
        LiveWindows(Labeller("wav2small", window=2, hop=0.01))
