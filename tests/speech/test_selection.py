"""What is heard of a recording: short ones whole, of long ones the speech, in its place, however the blocks are cut."""

from pathlib import Path

import numpy as np
import pytest

from sertool import audio, bundle
from sertool.errors import AudioError
from sertool.labelling import Labeller
from sertool.speech import selection
from sertool.speech.detector import probabilities
from sertool.speech.segmenter import segments
from sertool.speech.selection import Speech

RATE = audio.SAMPLE_RATE


@pytest.fixture(scope="module")
def talk():
    """A voice, 3 s of faint noise, a voice, 6 s of it, a voice: float32, some 18 s."""
    rng = np.random.default_rng(0)
    clips = sorted(Path(bundle.bundled_folder() / "wav2small" / "samples").glob("*.wav"))[:3]
    parts = []
    for clip, pause in zip(clips, (3, 6, 0), strict=True):
        parts += [audio.read(clip), np.zeros(pause * RATE, np.float32)]
    samples = np.concatenate(parts)
    return samples + 1e-4 * rng.standard_normal(len(samples), np.float32)


def blocks(samples, size):
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def test_of_a_long_recording_what_is_heard_is_the_segments_of_speech(talk):
    found = segments(probabilities(talk), samples=len(talk))
    heard = Speech(blocks(talk, 5000), 8 * RATE)
    assert np.array_equal(np.concatenate(list(heard)), np.concatenate([talk[a:b] for a, b in found]))
    assert heard.cut
    assert heard.seconds == pytest.approx(sum(b - a for a, b in found) / RATE)
    assert heard.seconds < len(talk) / RATE - 7  # most of the pauses is gone


def test_it_does_not_matter_how_the_blocks_are_cut(talk):
    whole = np.concatenate(list(Speech([talk], 8 * RATE)))
    for size in (160, 4097, 100_000):
        assert np.array_equal(whole, np.concatenate(list(Speech(blocks(talk, size), 8 * RATE))))


def test_times_are_those_of_the_recording(talk):
    heard = Speech(blocks(talk, 3000), 8 * RATE)
    passed = np.concatenate(list(heard))
    places = np.arange(0, len(passed), 777)
    assert np.array_equal(passed[places], talk[[heard.time(int(place)) for place in places]])
    assert [heard.time(int(place)) for place in places] == sorted(heard.time(int(place)) for place in places)


def test_a_short_recording_is_heard_whole_and_its_speech_measured(talk):
    heard = Speech(blocks(talk, 5000), len(talk))
    assert np.array_equal(np.concatenate(list(heard)), talk)
    assert not heard.cut
    found = segments(probabilities(talk), samples=len(talk))
    assert heard.seconds == pytest.approx(sum(b - a for a, b in found) / RATE)


def test_speech_without_a_pause_is_passed_on_in_parts(talk, monkeypatch):
    """So that memory does not depend on the recording; nothing of it is lost or heard twice."""
    voice = audio.read(sorted((bundle.bundled_folder() / "wav2small" / "samples").glob("*.wav"))[0])
    monkeypatch.setattr(selection, "_LONGEST", RATE)
    samples = np.tile(voice, 6)
    heard = Speech(blocks(samples, 1600), RATE)
    stretches = list(heard)
    assert max(map(len, stretches)) < 4 * RATE
    places = np.cumsum([0, *map(len, stretches)])
    froms = [heard.time(int(place)) for place in places[:-1]]
    for start, following, stretch in zip(froms, froms[1:], stretches, strict=False):
        assert start + len(stretch) <= following
        assert np.array_equal(stretch, samples[start : start + len(stretch)])


def test_windows_are_cut_from_speech_and_averaged_by_it(talk):
    labeller = Labeller(window=4.0)
    rows = list(labeller.speech_windows(talk, RATE))
    assert all(row["end"] - row["start"] >= row["speech"] - 1e-9 for row in rows)
    assert all(row["speech"] == 4.0 for row in rows[:-1])
    assert any(row["end"] - row["start"] > row["speech"] + 2 for row in rows)  # one that spans a pause
    mean = labeller.label(talk, RATE)
    weights = [row["speech"] for row in rows]
    for name in labeller.outputs:
        assert mean[name] == pytest.approx(np.average([row[name] for row in rows], weights=weights))
    assert mean["speech"] == pytest.approx(sum(weights))
    assert (mean["start"], mean["end"]) == (0.0, len(talk) / RATE)
    overlapping = Labeller(window=4.0, hop=1.0)
    assert overlapping.label(talk, RATE)["speech"] == pytest.approx(mean["speech"])
    everything = Labeller(window=4.0, vad=False).label(talk, RATE)
    assert everything["speech"] is None
    assert everything["arousal"] != mean["arousal"]


def test_a_long_recording_without_speech_says_so_and_the_way_out():
    noise = 0.01 * np.random.default_rng(1).standard_normal(20 * RATE).astype(np.float32)
    with pytest.raises(AudioError, match="no speech found; --no-vad labels it"):
        Labeller().label(noise, RATE)
    assert Labeller(vad=False).label(noise, RATE)["arousal"] is not None
