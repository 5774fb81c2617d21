"""Segments of speech: the C against their definition, whole, and against plain Python, push by push."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from sertool import audio, bundle
from sertool.kernel import ffi, lib
from sertool.speech.detection import detect
from sertool.speech.segmenter import Parameters, Segmenter, segments, split

RATE, FRAME = 16_000, 160


class Reference:
    """The streaming rules in plain Python: what Segmenter gives at each push, and what it says is uncertain."""

    def __init__(self, parameters: Parameters):
        self.threshold, self.lower = np.float32(parameters.threshold), np.float32(parameters.lower)
        times = (parameters.shortest_speech_s, parameters.shortest_silence_s, parameters.padding_s)
        self.speech, self.silence, self.padding = (round(time * RATE) for time in times)
        self.position = 0
        self.start = self.end = None  # of the segment that runs; its end is set while it is not certain
        self.held = None  # the last segment, as long as the next may begin too near for all of its padding

    @property
    def uncertain(self) -> int:
        if self.held:
            return self.held[0]
        return max(0, (self.position if self.start is None else self.start) - self.padding)

    def push(self, probabilities) -> list[tuple[int, int]]:
        done = []
        for probability in probabilities:
            if probability >= self.threshold:
                self.end = None
                if self.start is None:
                    self.start = self.position
            elif probability < self.lower and self.start is not None:
                if self.end is None:
                    self.end = self.position
                if self.position - self.end >= self.silence:
                    done += self.close(self.end)
            self.position += FRAME
        if self.held:
            start, end = self.held
            room = (self.position if self.start is None else self.start) - end >= 2 * self.padding
            if room and end + self.padding <= self.position - FRAME + 1:  # the last frame may be of one sample
                done.append((start, end + self.padding))
                self.held = None
        return done

    def finish(self, length: int) -> list[tuple[int, int]]:
        done = self.close(length) if self.start is not None else []
        if self.held:
            start, end = self.held
            done.append((start, min(length, end + self.padding)))
        return done

    def close(self, end: int) -> list[tuple[int, int]]:
        start, self.start, self.end = self.start, None, None
        if end - start < self.speech:
            return []
        if self.held is None:
            self.held = max(0, start - self.padding), end
            return []
        held_start, held_end = self.held
        margin = min(self.padding, (start - held_end) // 2)
        self.held = start - margin, end
        return [(held_start, held_end + margin)]


def by_definition(p, parameters: Parameters, n: int) -> list[tuple[int, int]]:
    """The segments as the rules say it, looking over the whole recording, in samples."""
    speech, silence, padding = (
        round(RATE * t) for t in (parameters.shortest_speech_s, parameters.shortest_silence_s, parameters.padding_s)
    )
    high, low = np.flatnonzero(p >= parameters.threshold), np.flatnonzero(p < parameters.lower)
    raw, after = [], -1
    while len(later := high[high > after]):
        start = later[0]
        for last, following in zip(later, [*later[1:], len(p)], strict=True):  # the pause after each high frame
            pause = low[(low > last) & (low < following)]
            long_enough = pause[FRAME * (pause - pause[:1]) >= silence] if len(pause) else pause
            if len(long_enough):
                raw.append((start * FRAME, pause[0] * FRAME))
                after = long_enough[0]
                break
        else:
            raw.append((start * FRAME, n))
            after = len(p)
    kept = [(start, end) for start, end in raw if end - start >= speech]
    gaps = [start - end for (_, end), (start, _) in itertools.pairwise(kept)]
    margins = [padding, *(min(padding, gap // 2) for gap in gaps), padding]
    return [(max(0, start - margins[i]), min(n, end + margins[i + 1])) for i, (start, end) in enumerate(kept)]


def drawn(seed: int):
    """(rng, parameters, probabilities float32 [frames], samples): steady or restless, some on a threshold."""
    rng = np.random.default_rng(seed)
    if seed % 4 == 0:
        parameters = Parameters()
    else:
        lower, threshold = np.sort(rng.choice([0, 0.1, 0.35, 0.5, 0.65, 1, rng.random()], 2))
        times = (rng.choice([0, 0.005, 0.01, 0.03, 0.1, 0.25, 0.5, rng.random() / 4], 3) * RATE).round() / RATE
        parameters = Parameters(float(threshold), float(lower), *times.tolist())
    frames = int(rng.integers(1, 2000))
    walk = np.convolve(rng.standard_normal(frames + 60), np.ones(1 + int(rng.integers(60))), mode="same")[:frames]
    p = (1 / (1 + np.exp(-2 * walk / max(walk.std(), 0.1)))).astype(np.float32)
    exact = rng.random(frames) < 0.1
    p[exact] = rng.choice([0, 1, parameters.threshold, parameters.lower], exact.sum())
    return rng, parameters, p, frames * FRAME - int(rng.integers(FRAME))


@pytest.mark.parametrize("block", range(8))
def test_segments_are_those_of_the_definition_however_they_are_pushed(block):
    found = 0
    for seed in range(15 * block, 15 * block + 15):
        rng, parameters, p, n = drawn(seed)
        expected = by_definition(p, parameters, n)
        assert segments(p, parameters, n) == expected, seed
        found += len(expected)
        for pieces in (1, 50, len(p)):
            segmenter, reference, got = Segmenter(parameters), Reference(parameters), []
            for piece in np.split(p, np.sort(rng.integers(0, len(p) + 1, pieces))):
                now = segmenter.push(piece)
                assert (now, segmenter.uncertain) == (reference.push(piece), reference.uncertain), seed
                assert all(start < end for start, end in now)
                got += now
            last = segmenter.finish(n)
            assert last == reference.finish(n), seed
            assert got + last == expected, seed
    assert found > 50


def test_no_segment_of_a_last_frame_cut_short_reaches_over_the_end():
    parameters = Parameters(shortest_speech_s=0, shortest_silence_s=0, padding_s=0.005)
    segmenter = Segmenter(parameters)
    assert segmenter.push([1, 1, 0]) == []  # of the last frame there may be a single sample
    assert segmenter.finish(2 * FRAME + 1) == [(0, 2 * FRAME + 1)]


def runs(*pairs) -> np.ndarray:
    """Probabilities from (how many frames, which) pairs."""
    return np.concatenate([np.full(count, value) for count, value in pairs])


# In frames of 10 ms, at the defaults: padding is 3 frames.
CASES = {
    "nothing": ([], []),
    "no_speech": ([(100, 0.49)], []),
    "all_speech": ([(100, 0.5)], [(0, 100)]),
    "padded_on_both_sides": ([(50, 0), (40, 1), (50, 0)], [(47, 93)]),
    "padding_stays_within_the_recording": ([(2, 0), (40, 1), (11, 0)], [(0, 45)]),
    "between_the_thresholds_goes_on_but_does_not_begin": ([(20, 0.4), (30, 0.9), (70, 0.35), (30, 0)], [(17, 123)]),
    "shortest_speech": ([(20, 0), (25, 1), (20, 0)], [(17, 48)]),
    "too_short_speech": ([(20, 0), (24, 1), (20, 0)], []),
    "ten_frames_of_silence_do_not_end_it": ([(30, 1), (10, 0), (30, 1), (20, 0)], [(0, 73)]),
    "eleven_do": ([(30, 1), (11, 0), (30, 1), (20, 0)], [(0, 33), (38, 74)]),
    "silence_counts_from_its_first_low_frame": ([(30, 1), (2, 0), (8, 0.4), (1, 0), (30, 1)], [(0, 33), (38, 71)]),
    "only_the_threshold_interrupts_silence": ([(30, 1), (6, 0), (1, 0.5), (6, 0), (30, 1)], [(0, 73)]),
    "what_runs_at_the_end_ends_there": ([(30, 0), (30, 1), (5, 0)], [(27, 65)]),
}


@pytest.mark.parametrize("name", CASES)
def test_hysteresis(name):
    given, expected = CASES[name]
    p = runs((0, 0), *given)
    assert segments(p) == [(FRAME * start, FRAME * end) for start, end in expected]


def test_padding_meets_in_the_middle_of_a_short_pause():
    p = runs((50, 1), (12, 0), (50, 1), (30, 0))
    assert segments(p, Parameters(padding_s=0.1)) == [(0, 56 * FRAME), (56 * FRAME, 122 * FRAME)]


def test_a_dropped_segment_does_not_shorten_the_padding_of_its_neighbours():
    p = runs((50, 1), (12, 0), (5, 1), (12, 0), (50, 1), (30, 0))
    assert segments(p, Parameters(padding_s=0.1)) == [(0, 60 * FRAME), (69 * FRAME, 139 * FRAME)]


def test_a_last_frame_cut_short_ends_the_segment():
    assert segments(np.ones(100), samples=99 * FRAME + 7) == [(0, 99 * FRAME + 7)]


def test_a_segment_is_given_as_soon_as_its_end_is_certain():
    segmenter = Segmenter()
    assert segmenter.push(runs((30, 1), (10, 0))) == []
    assert segmenter.push([0.0]) == [(0, 33 * FRAME)]
    segmenter = Segmenter(Parameters(padding_s=0.1))
    assert segmenter.push(runs((30, 1), (19, 0))) == []
    assert segmenter.push([0.0]) == [(0, 40 * FRAME)]


@pytest.mark.parametrize("samples", [0, 99 * FRAME, 100 * FRAME + 1])
def test_a_length_that_does_not_fit_the_frames_is_an_error(samples):
    with pytest.raises(ValueError, match=f"{samples} samples do not match the 100 frames"):
        segments(np.ones(100), samples=samples)


def test_a_segmenter_may_be_used_again():
    segmenter = Segmenter()
    for _ in range(2):
        assert segmenter.push(runs((10, 0), (50, 1), (3, 0))) + segmenter.finish() == [(7 * FRAME, 63 * FRAME)]


def test_defaults():
    """Of issue 6: those of silero-vad's get_speech_timestamps."""
    defaults = {
        "threshold": 0.5,
        "lower": 0.35,
        "shortest_speech_s": 0.25,
        "shortest_silence_s": 0.1,
        "padding_s": 0.03,
    }
    assert dataclasses.asdict(Parameters()) == {**defaults, "longest_speech_s": math.inf}
    kernel = lib.ser_vad_parameters_default()
    assert {name: getattr(kernel, name) for name in dir(kernel)} == defaults


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 1.1},
        {"lower": 0.6},
        {"lower": -0.1},
        {"threshold": float("nan")},
        {"shortest_speech_s": -1},
        {"shortest_silence_s": -0.1},
        {"padding_s": -0.01},
        {"padding_s": float("inf")},
        {"shortest_silence_s": float("nan")},
    ],
)
def test_parameters_without_sense_are_an_error(wrong):
    with pytest.raises(ValueError, match=r"thresholds|times"):
        Parameters(**wrong)


@pytest.mark.parametrize("wrong", [float("nan"), -0.001, 1.001, float("inf")])
def test_what_is_no_probability_is_refused_as_if_never_pushed(wrong):
    p = runs((10, 0), (50, 1), (3, 0), (60, 1), (20, 0))
    segmenter = Segmenter()
    got = segmenter.push(p[:70])
    with pytest.raises(ValueError, match="out of range"):
        segmenter.push([0.0] * 20 + [wrong])
    assert got + segmenter.push(p[70:]) + segmenter.finish() == segments(p)


def test_probabilities_of_two_dimensions_are_an_error():
    with pytest.raises(ValueError, match=r"probabilities must be \[frames\]"):
        segments(np.zeros((10, 2)))


def test_memory_does_not_grow_and_parameters_are_kept():
    assert ffi.sizeof("ser_segmenter") < 128
    segmenter = Segmenter(Parameters(padding_s=0))
    for _ in range(2):
        assert segmenter.push(runs((10, 0), (50, 1), (30, 0))) == [(10 * FRAME, 60 * FRAME)]
        assert segmenter.finish() == []


def test_one_probability_may_end_two_segments():
    """One that was held, for the next began too near, and that one, which ended long before: found by fuzzing."""
    parameters = Parameters(shortest_speech_s=0.2, shortest_silence_s=0.02, padding_s=0.4)
    told = [1] * 30 + [0] * 10 + [1] * 30 + [0] + [0.4] * 100
    segmenter = Segmenter(parameters)
    assert segmenter.push(told) == []
    assert segmenter.push([0]) == [(0, 35 * 160), (35 * 160, 110 * 160)]


# ---- the longest speech -----------------------------------------------------------------------------------------


def test_long_segments_are_split_where_speech_is_least_probable():
    probabilities = np.full(1000, 0.9, np.float32)
    probabilities[[295, 296, 297, 298, 299, 300, 301, 302, 303, 304]] = 0.55
    parts = split((0, 1000 * FRAME), probabilities, 400 * FRAME)
    assert parts[0] == (0, parts[1][0])
    assert 297 * FRAME <= parts[0][1] <= 303 * FRAME
    assert [end for _, end in parts[:-1]] == [start for start, _ in parts[1:]]
    assert parts[-1][1] == 1000 * FRAME
    assert all(0 < end - start <= 400 * FRAME for start, end in parts)
    assert split((5, 400 * FRAME), probabilities, 400 * FRAME) == [(5, 400 * FRAME)]
    falling = np.linspace(1, 0.5, 1000, dtype=np.float32)  # least probable at the very end
    for length in (401, 410, 500, 599, 601, 999):
        assert min(end - start for start, end in split((0, length * FRAME), falling, 400 * FRAME)) >= 98 * FRAME


@pytest.mark.parametrize("longest", [0.1, 0.35, 1.0, 7.0])
def test_no_segment_is_longer_than_the_longest_speech(longest):
    rng = np.random.default_rng(0)
    voice = audio.read(sorted((bundle.bundled_folder() / "wav2small" / "samples").glob("*.wav"))[0])
    samples = np.concatenate([np.tile(voice, 5), 0.001 * rng.standard_normal(20_000).astype(np.float32)])
    whole = detect([samples]).segments
    parts = detect([samples], Parameters(longest_speech_s=longest)).segments
    assert max(end - start for start, end in parts) <= longest * 16_000
    joined = []
    for start, end in parts:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    assert joined == whole
    with pytest.raises(ValueError, match="longest speech"):
        Parameters(longest_speech_s=0.01)
