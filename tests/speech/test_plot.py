"""The picture of a recording: what is drawn where. The artists are asked."""

from pathlib import Path

import numpy as np
import pytest

from sertool.errors import UsageError
from sertool.look.figures import require
from sertool.speech import plot as module
from sertool.speech.detection import Detected
from sertool.speech.plot import plot
from sertool.speech.segmenter import Parameters

figure = pytest.importorskip("matplotlib.figure")


@pytest.fixture
def drawn(monkeypatch):
    """drawn(...) as plot without a path: the figure; nothing is written."""
    kept = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, path, **how: kept.append(self))

    def draw(*arguments):
        plot(Path("x.png"), *arguments)
        return kept[-1]

    return draw


@pytest.mark.parametrize(("samples", "unit", "scale"), [(16_007, "s", 1), (500, "s", 1), (16_000 * 400, "min", 60)])
def test_waveform_probabilities_thresholds_and_segments_are_where_they_belong(drawn, samples, unit, scale):
    rng = np.random.default_rng(0)
    wave = np.cumsum(rng.standard_normal(samples)).astype(np.float32)
    wave[samples // 3] = 5 * np.abs(wave).max()
    p = rng.random(-(-samples // 160)).astype(np.float32)
    found = Detected([(0, 100), (samples // 2, samples)], samples, False, p)
    shown = drawn("a $x", np.array_split(wave, 7), found, Parameters(0.6, 0.2))
    above, below = shown.axes
    seconds, speech = samples / 16_000, (100 + samples - samples // 2) / 16_000
    title = f"a $x: {speech:.1f} of {seconds:.1f} s are speech ({speech / seconds:.0%})"
    assert shown.get_suptitle() == title
    assert below.get_xlabel() == f"time ({unit})"
    assert above.get_xlim() == pytest.approx((0, samples / 16_000 / scale))
    for axes in (above, below):
        spans = axes.collections[0].get_paths()
        ends = [(path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in spans]
        assert np.array(ends) * 16_000 * scale == pytest.approx(np.array(found.segments))
    outline = above.collections[1].get_paths()[0].vertices
    assert outline[:, 1].max() == pytest.approx(wave.max())
    assert outline[outline[:, 1].argmax(), 0] * scale == pytest.approx(samples / 3 / 16_000, abs=samples / 16_000 / 500)
    line, threshold, lower = below.lines
    assert [set(level.get_ydata()) for level in (threshold, lower)] == [{0.6}, {0.2}]
    assert [level.get_label() for level in (threshold, lower)] == ["threshold 0.6", "lower 0.2"]
    assert line.get_ydata().max() == p.max()
    if len(p) <= 2000:
        assert np.array_equal(line.get_ydata(), p)
        assert line.get_xdata() * scale == pytest.approx(np.arange(len(p)) * 0.01 + 0.005)


def test_an_ending_that_cannot_be_drawn_is_refused():
    require(Path("a.SVG"))
    with pytest.raises(UsageError, match=r"cannot draw a\.wav: name it \.png"):
        require(Path("a.wav"))


@pytest.mark.parametrize("sizes", [[1], [7, 0, 13, 1, 979], [5000, 5000]])
def test_the_envelope_is_the_least_and_most_of_each_column(sizes):
    wave = np.random.default_rng(1).standard_normal(sum(sizes)).astype(np.float32)
    columns = min(37, len(wave))
    low, high = module._envelope(np.split(wave, np.cumsum(sizes)[:-1]), len(wave), columns)
    column = np.arange(len(wave)) * columns // len(wave)
    assert low.tolist() == [min(0, wave[column == i].min()) for i in range(columns)]
    assert high.tolist() == [max(0, wave[column == i].max()) for i in range(columns)]
