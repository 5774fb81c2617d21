"""What the pictures show, read back from matplotlib."""

import sys

import numpy as np
import pytest

from sertool.errors import UsageError
from sertool.evaluation import metrics, plots
from sertool.look.figures import require


@pytest.fixture
def drawn(monkeypatch):
    """The figures as they are made."""
    figures, make = [], plots.figure_of
    monkeypatch.setattr(plots, "figure_of", lambda *size: figures.append(make(*size)) or figures[-1])
    return figures


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def is_png(path):
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_scatter_has_a_panel_a_model_and_a_mean_a_class(tmp_path, drawn):
    rng = np.random.default_rng(0)
    outputs = {"student": rng.uniform(0, 1, (20, 2)), "teacher": rng.uniform(-0.3, 1.4, (20, 2))}
    classes = ["sad"] * 12 + ["happy"] * 5 + [""] * 3
    plots.scatter(tmp_path / "a.png", outputs, classes, "corpus")
    (figure,) = drawn
    assert is_png(tmp_path / "a.png")
    assert legend(figure) == ["no class", "sad (12)", "happy (5)"]
    assert [axes.get_title() for axes in figure.axes] == ["student", "teacher"]
    for axes, points in zip(figure.axes, outputs.values(), strict=True):
        places = [np.asarray(mark.get_offsets()) for mark in axes.collections]
        assert [len(place) for place in places] == [3, 12, 5, 1, 1]
        assert np.allclose(places[3], points[:12].mean(axis=0))
        assert axes.get_xlim() == axes.get_ylim()
        assert axes.get_xlim()[0] < min(0, outputs["teacher"].min())
        assert axes.get_xlim()[1] > max(1, outputs["teacher"].max())
        assert axes.get_xlabel().startswith("arousal")
    assert figure.axes[0].get_ylabel().startswith("valence")


@pytest.mark.slow("trains or exports a network")
def test_thirty_classes_look_different_and_no_class_is_fine(tmp_path, drawn):
    points = np.random.default_rng(0).uniform(0, 1, (60, 2))
    plots.scatter(tmp_path / "a.png", {"m": points}, [f"c{i % 30}" for i in range(60)], "")
    plots.scatter(tmp_path / "b.png", {"m": points}, [""] * 60, "")
    means = drawn[0].axes[0].collections[-30:]
    looks = {(tuple(mark.get_facecolor()[0]), mark.get_paths()[0].vertices.tobytes()) for mark in means}
    assert len(looks) == 30
    assert legend(drawn[1]) == ["no class"]


def test_course_stands_at_the_windows_middle_with_gaps(tmp_path, drawn):
    student = {"window": 8.0, "hop": 2.0, "start": [0, 2, 4], "end": [8, 10, 12], "arousal": [0.2, None, 1.2]}
    teacher = {**student, "arousal": [0.3, 0.4, 0.5], "valence": [0.1, 0.1, 0.1]}
    plots.course(tmp_path / "a.png", {"student": student, "teacher": teacher}, ["arousal", "valence"], "talk.wav")
    (figure,) = drawn
    assert is_png(tmp_path / "a.png")
    assert legend(figure) == ["student", "teacher"]
    above, below = figure.axes
    _, one, two = above.lines  # the first is the neutral line
    assert one.get_xdata().tolist() == [4, 6, 8]
    assert one.get_ydata().tolist() == pytest.approx([0.2, np.nan, 1.2], nan_ok=True)
    assert two.get_ydata().tolist() == [0.3, 0.4, 0.5]
    assert np.isnan(below.lines[1].get_ydata()).all()
    assert above.get_ylim()[1] > 1.2
    assert below.get_xlabel() == "time (s)"
    assert "8 s, 2 s apart" in figure.get_suptitle()
    long = {**student, "end": [8, 10, 600]}
    plots.course(tmp_path / "b.png", {"m": long}, ["arousal"], "")
    assert drawn[1].axes[0].get_xlabel() == "time (min)"
    assert drawn[1].axes[0].get_xlim() == (0, 10)


def figures(**values):
    return {
        "measures": {
            k.replace("_", "-" if "macro" in k else " "): {"value": v, "low": v - 0.1, "high": v + 0.05}
            for k, v in values.items()
        }
    }


def test_bars_are_ccc_with_intervals_overall_and_by_corpus(tmp_path, drawn):
    student = {
        "overall": figures(arousal_CCC=0.5, valence_CCC=-0.1, arousal_AUC=0.9),
        "groups": {"corpus": {"a": figures(arousal_CCC=0.3), "b": figures(valence_CCC=0.2), "c": figures()}},
    }
    teacher = {
        "overall": figures(arousal_CCC=0.6),
        "groups": {"corpus": {"a": figures(), "b": figures(arousal_CCC=0.7), "c": figures()}},
    }
    teacher["overall"]["measures"]["arousal CCC"]["low"] = None
    plots.bars(tmp_path / "a.png", {"student": student, "teacher": teacher}, "x")
    (figure,) = drawn
    assert is_png(tmp_path / "a.png")
    assert legend(figure) == ["student", "teacher"]
    above, below = figure.axes
    assert [above.get_ylabel(), below.get_ylabel()] == ["arousal CCC", "valence CCC"]
    assert [label.get_text() for label in below.get_xticklabels()] == ["all", "a", "b"]
    assert [bar.get_height() for bar in above.patches] == pytest.approx([0.5, 0.3, 0.6, 0.7])
    centres = [bar.get_x() + bar.get_width() / 2 for bar in above.patches]
    assert centres == pytest.approx([-0.2, 0.8, 0.2, 2.2])
    intervals = [mark.get_segments()[0][:, 1].tolist() for mark in above.collections]
    assert intervals == [pytest.approx(i) for i in ([0.4, 0.55], [0.2, 0.35], [0.6, 0.75])]
    assert below.get_ylim()[0] < -0.1


def test_bars_of_auc_where_there_is_no_ccc_start_at_chance(tmp_path, drawn):
    report = {
        "overall": figures(arousal_AUC=0.9, valence_AUC=0.4),
        "groups": {"corpus": {"a": figures(arousal_AUC=0.9)}},
    }
    plots.bars(tmp_path / "a.png", {"m": report}, "x")
    above, below = drawn[0].axes
    assert [label.get_text() for label in below.get_xticklabels()] == ["all"]  # one corpus is all
    (one,), (other,) = above.patches, below.patches
    assert (one.get_y(), one.get_height()) == pytest.approx((0.5, 0.4))
    assert other.get_height() == pytest.approx(-0.1)


def test_bars_of_classes_are_accuracies_with_a_line_at_chance(tmp_path, drawn):
    report = {"overall": figures(WA=0.6, UA=0.5, macro_F1=0.4), "groups": {"corpus": {"a": figures(), "b": figures()}}}
    report["overall"]["confusion"] = [[1] * 4] * 4
    plots.bars(tmp_path / "a.png", {"m": report}, "x")
    above, below = drawn[0].axes
    assert [above.get_ylabel(), below.get_ylabel()] == ["WA", "UA"]
    assert [bar.get_height() for axes in (above, below) for bar in axes.patches] == pytest.approx([0.6, 0.5])
    assert above.get_ylim() == below.get_ylim() == (0, 1)
    assert [line.get_ydata()[0] for line in below.lines] == [0, 0.25]
    assert len(above.lines) == 1


def test_confusion_writes_shares_and_clips_into_each_cell(tmp_path, drawn):
    three = (["angry", "happy", "sad"], [[6, 2, 0], [0, 0, 0], [1, 0, 3]])
    plots.confusion(tmp_path / "a.png", {"one": three, "two": (["sad", "happy"], [[1, 0], [2, 2]])}, "corpus")
    (figure,) = drawn
    assert is_png(tmp_path / "a.png")
    first, second, bar = figure.axes
    assert [first.get_title(), second.get_title()] == ["one", "two"]
    assert [label.get_text() for label in first.get_yticklabels()] == three[0]
    assert [label.get_text() for label in second.get_xticklabels()] == ["sad", "happy"]
    assert (first.get_xlabel(), first.get_ylabel()) == ("predicted class", "true class")
    written = {}
    for text in first.texts:
        place = (round(text.get_position()[1]), round(text.get_position()[0]))
        written.setdefault(place, []).append(text.get_text())
    assert written[0, 0] == ["0.75", "6"]
    assert written[0, 1] == ["0.25", "2"]
    assert written[1, 2] == ["-", "0"]
    assert written[2, 0] == ["0.25", "1"]
    (image,) = first.images
    assert np.ma.filled(image.get_array(), np.nan)[2] == pytest.approx([0.25, 0, 0.75])
    assert image.get_clim() == (0, 1)
    inks = {text.get_text(): text.get_color() for text in first.texts}
    assert (inks["0.75"], inks["0.25"]) == ("white", "black")
    assert bar.get_ylabel().startswith("share")


def test_reliability_has_a_bar_a_bin_its_gap_and_the_error(tmp_path, drawn):
    confidence, right = np.array([0.31, 0.32, 0.95, 0.97]), np.array([True, True, True, False])
    plots.reliability(tmp_path / "a.png", {"m": metrics.reliability(confidence, right)}, "x")
    (figure,) = drawn
    assert is_png(tmp_path / "a.png")
    above, below = figure.axes
    accuracies, gaps = above.patches[:2], above.patches[2:]
    assert [bar.get_height() for bar in accuracies] == pytest.approx([1, 0.5])
    assert [bar.get_x() * 15 for bar in accuracies] == pytest.approx([4, 14])
    assert [(bar.get_y(), bar.get_height()) for bar in gaps] == [pytest.approx(b) for b in ((1, -0.685), (0.5, 0.46))]
    assert all(bar.get_hatch() for bar in gaps)
    assert [bar.get_height() for bar in below.patches] == [0.5, 0.5]
    assert above.texts[0].get_text() == f"ECE {metrics.ece(confidence, right):.3f}\n4 clips"
    assert legend(figure) == ["no gap", "accuracy", "gap to confidence"]


def test_probabilities_are_stacked_around_the_windows_middle_with_gaps(tmp_path, drawn):
    times = {"window": 8.0, "hop": 2.0, "start": [0, 2, 4], "end": [8, 10, 11]}
    one = {**times, "angry": [0.7, None, 0.1], "sad": [0.3, None, 0.9]}
    plots.probabilities(tmp_path / "a.png", {"one": one, "two": one}, ["angry", "sad"], "talk.wav")
    (figure,) = drawn
    assert is_png(tmp_path / "a.png")
    assert legend(figure) == ["angry", "sad"]
    above, below = figure.axes
    assert [axes.get_ylabel() for axes in (above, below)] == ["one\nprobability", "two\nprobability"]
    angry, sad = (patch.get_data() for patch in above.patches)
    assert angry.edges.tolist() == sad.edges.tolist() == [0, 5, 6.75, 11]
    assert angry.values.tolist() == [0.7, 0, 0.1]
    assert sad.baseline.tolist() == [0.7, 0, 0.1]
    assert sad.values.tolist() == pytest.approx([1, 0, 1])
    assert below.get_xlabel() == "time (s)"
    assert "8 s, 2 s apart" in figure.get_suptitle()
    short = {"window": 8.0, "hop": 2.0, "start": [0], "end": [3.5], "angry": [0.4], "sad": [0.6]}
    plots.probabilities(tmp_path / "b.png", {"m": short}, ["angry", "sad"], "")
    assert drawn[1].axes[0].patches[0].get_data().edges.tolist() == [0, 3.5]


def test_without_matplotlib_is_one_line(monkeypatch):
    require(option="--plots")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"--plots needs matplotlib: pip install 'sertool\[eval\]'"):
        require(option="--plots")


def test_sweep_has_a_line_a_model_and_one_a_part(tmp_path, drawn):
    def row(model, audio, part=None, **instead):
        times = {"seconds": audio / 10, "low_s": audio / 20, "high_s": audio / 5, "added_bytes": 2e6 * audio}
        parts = {"parts": {name: {"seconds": part * audio} for name in ("ears", "mind")}} if part else {}
        return {"model": model, "format": "onnx", "audio_s": audio, **times, **parts, **instead}

    rows = [row("small", 1), row("small", 5), row("large", 1, 0.02), row("large", 5, 0.02)]
    rows.append({"model": "large", "format": "onnx", "audio_s": 60, "error": "memory ran out"})
    plots.sweep(tmp_path / "a.png", rows, "1 thread")
    plots.sweep(tmp_path / "b.png", rows[:2], "1 thread")
    figure, other = drawn
    assert is_png(tmp_path / "a.png")
    assert legend(figure) == ["small onnx", "large onnx"]
    times, memory, parts = (
        [[list(axis) for axis in line.get_data()] for line in axes.get_lines()] for axes in figure.axes
    )
    assert times == [[[1, 5], [0.1, 0.5]]] * 2
    assert memory == [[[1, 5], [2, 10]]] * 2
    assert parts == [[[1, 5], [0.02, 0.1]]] * 2
    assert [text.get_text() for text in figure.axes[2].get_legend().get_texts()] == [
        "large onnx: ears",
        "large onnx: mind",
    ]
    assert len(other.axes) == 2
