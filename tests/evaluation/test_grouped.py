"""What reports of all tasks share; grouping and resampling are tested through them."""

import numpy as np

from sertool.corpora import Row
from sertool.evaluation.grouped import Measure, report, shown
from sertool.evaluation.metrics import mae


def test_a_group_has_what_its_report_adds():
    rows = [Row(f"{i}", "ab"[i % 2], "s") for i in range(4)]
    measure = Measure("MAE", mae, (np.arange(4.0), np.zeros(4)), np.array([True, True, True, False]))
    found = report(rows, [measure], bootstrap=0, more=lambda members: {"places": members.tolist()})
    assert (found["clips"], found["unusable"]) == (4, 1)
    assert found["overall"]["places"] == [0, 1, 2, 3]
    assert found["overall"]["measures"] == {"MAE": {"value": 1.0, "low": None, "high": None, "n": 3}}
    assert found["groups"]["corpus"]["b"] == {"clips": 2, "measures": {}, "places": [1, 3]}


def test_shown_leaves_out_what_is_not_there():
    assert shown({"value": 0.51234, "low": 0.4, "high": 0.6}, 2) == "0.51 [0.40, 0.60]"
    assert shown({"value": -0.51234, "low": None, "high": None}) == "-0.512"
    assert shown(None) == ""
