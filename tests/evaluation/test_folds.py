"""Tables over folds, against the statistics module."""

import statistics

import pytest

from sertool.corpora import Row
from sertool.evaluation import categorical
from sertool.evaluation.folds import markdown, summary


def fold(confusion=((1, 0), (0, 1)), **measures):
    overall = {"clips": 2, "measures": {name.replace("_", "-"): {"value": v} for name, v in measures.items()}}
    return {"overall": overall | {"confusion": confusion}}


BASE = [fold(WA=0.5, macro_F1=0.4), fold(WA=0.6, macro_F1=0.6), fold(WA=0.58, macro_F1=0.35)]
MORE = [fold(WA=0.61, macro_F1=0.3, ECE=0.1), fold(WA=0.62, macro_F1=0.5), fold([[2, 1], [0, 7]], WA=0.66)]


def test_summary_is_mean_and_sample_deviation_with_the_gain():
    found = summary({"base": BASE, "more": MORE})
    wa = found["recipes"]["more"]["measures"]["WA"]
    assert wa["values"] == [0.61, 0.62, 0.66]
    assert wa["mean"] == pytest.approx(0.63)
    assert wa["deviation"] == pytest.approx(statistics.stdev([0.61, 0.62, 0.66]))
    assert found["recipes"]["more"]["folds"] == 3
    assert found["recipes"]["more"]["confusion"] == [[4, 1], [0, 9]]
    partly = found["recipes"]["more"]["measures"]["macro-F1"]
    assert (partly["values"], partly["mean"]) == ([0.3, 0.5, None], pytest.approx(0.4))
    assert found["recipes"]["more"]["measures"]["ECE"]["deviation"] is None  # of one fold
    assert found["gain"] == {"WA": pytest.approx(0.63 - 0.56), "macro-F1": pytest.approx(0.4 - 0.45)}
    assert summary({"base": BASE})["gain"] == summary({"a": BASE, "b": BASE, "c": MORE})["gain"] == {}
    deviations = [statistics.stdev(values) for values in ([0.61, 0.62, 0.66], [0.5, 0.6, 0.58])]
    assert found["spread"]["WA"] == pytest.approx(deviations[0] / deviations[1])  # "a 32 % reduction" is 0.68
    assert "confusion" not in summary({"x": [{"overall": {"measures": {}}}]})["recipes"]["x"]


def test_markdown_has_recipes_side_by_side():
    found = summary({"base": BASE, "more": MORE})
    assert markdown(found) == [
        "| measure | base | more | gain, points | deviation |",
        "|---|---:|---:|---:|---:|",
        "| WA | 0.560 ± 0.053 | 0.630 ± 0.026 | +7.0 | -50 % |",
        "| macro-F1 | 0.450 ± 0.132 | 0.400 ± 0.141 | -5.0 | +7 % |",
    ]
    assert markdown(found, ["ECE"])[2:] == ["| ECE |  | 0.100 |  |  |"]
    assert markdown(summary({"base": BASE}), ["WA"])[::2] == ["| measure | base |", "| WA | 0.560 ± 0.053 |"]


def test_a_table_of_reports_has_every_class():
    rows = [Row(f"{i}", "c", "s", emotion) for i, emotion in enumerate(["angry", "sad"] * 10)]
    report = categorical.report(rows, [[0.9, 0.1]] * 20, ["angry", "sad"], bootstrap=0)
    lines = markdown(summary({"one": [report, report]}))
    assert lines[2:] == [
        "| WA | 0.500 ± 0.000 |",
        "| UA | 0.500 ± 0.000 |",
        "| macro-F1 | 0.333 ± 0.000 |",
        "| F1 angry | 0.667 ± 0.000 |",
        "| F1 sad | 0.000 ± 0.000 |",
    ]
