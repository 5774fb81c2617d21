"""Two tables side by side: what is joined, what the difference is, and what cannot be compared."""

import pytest

from sertool.errors import UsageError
from sertool.labelling import log
from sertool.report.compare import DIFFERENCE, VERDICT, compare
from sertool.report.rows import read


@pytest.fixture
def table(tmp_path):
    def make(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read(tmp_path / name)

    return make


def differences(compared):
    return [row[DIFFERENCE] for row in compared.table.rows]


def test_numbers_by_their_mean_distance(table):
    old = table("old.csv", "file,arousal,valence,error\na.wav,0.1,0.5,\nb.wav,0.4,0.4,\nc.wav,,,empty\n")
    new = table("new.csv", "file,valence,arousal,error\nb.wav,0.4,0.5,\na.wav,0.9,0.1,\nc.wav,,,empty\n")
    compared = compare(old, new)
    assert compared.names == ("old", "new")
    assert differences(compared) == pytest.approx([0.2, 0.05, None])
    assert compared.table.rows[0]["valence (old)"] == 0.5
    assert compared.table.rows[0]["valence (new)"] == 0.9
    assert compared.table.rows[2]["error"] == "empty"
    assert compared.agreement == "0.12 apart on average"


def test_classes_by_the_probability_that_moved(table):
    old = table("old.csv", "file,emotion,sad,happy\na.wav,sad,0.9,0.1\nb.wav,happy,0.3,0.7\n")
    new = table("new.csv", "file,emotion,sad,happy\na.wav,happy,0.2,0.8\nb.wav,happy,0.3,0.7\n")
    compared = compare(old, new)
    assert differences(compared) == pytest.approx([0.7, 0])
    assert compared.labels == ("emotion (old)", "emotion (new)")
    assert compared.classes == [["happy", "sad"], ["happy"]]
    assert not compared.truth
    assert [row[VERDICT] for row in compared.table.rows] == ["different", "same"]
    assert compared.agreement == "the same class in 1 of 2 (50 %)"


def test_truth_by_the_probability_of_the_true_class(table):
    labels = table("labels.csv", "file,emotion,sad,happy\na.wav,sad,0.9,0.1\nb.wav,sad,0.6,0.4\nc.wav,sad,0.8,0.2\n")
    truth = table("truth.csv", "file,label\na.wav,sad\nb.wav,happy\nc.wav,angry\nd.wav,sad\n")
    compared = compare(labels, truth)
    assert compared.truth
    assert differences(compared) == pytest.approx([0.6, 0.1, None])  # what is wrong comes first
    assert compared.notes == [
        "1 row of truth.csv is not in labels.csv, and left out",
    ]
    assert compared.labels == ("emotion", "truth")
    assert compared.unknown == ["angry"]
    assert [row[VERDICT] for row in compared.table.rows] == ["wrong", "right", "not compared"]
    assert compared.agreement == (
        "right in 1 of 2 (50 %) of the classes that the model knows; 1 of 3 (33 %) are of classes that it has no word "
        "for and gives other names"
    )


def test_a_truth_without_a_class_and_a_column_called_truth(table):
    labels = table("labels.csv", "file,emotion,sad,happy,truth\na.wav,sad,0.9,0.1,x\nb.wav,sad,0.6,0.4,y\n")
    truth = table("truth.csv", "file,label\na.wav,sad\nb.wav,\n")
    compared = compare(labels, truth)
    assert compared.labels == ("emotion", "true class")
    assert [row["truth"] for row in compared.table.rows] == ["x", "y"]
    assert compared.agreement == "right in 1 of 1 (100 %); 1 without a class"


def test_rows_of_a_recording_are_joined_by_start_and_place(table):
    old = table("old.csv", "file,start,channel,arousal\na.wav,0,1,0.1\na.wav,0,2,0.2\na.wav,2,1,0.3\n")
    new = table("new.csv", "file,start,channel,arousal\na.wav,2.001,1,0.5\na.wav,0,2,0.2\na.wav,7,1,0\n")
    assert differences(compare(old, new)) == pytest.approx([0, 0.2])


def test_one_truth_for_all_windows(table):
    windows = table("windows.csv", "file,start,emotion,sad,happy\na.wav,0,sad,0.9,0.1\na.wav,2,happy,0.2,0.8\n")
    truth = table("truth.csv", "file,emotion\na.wav,sad\n")
    assert differences(compare(windows, truth)) == pytest.approx([0.8, 0.1])
    with pytest.raises(UsageError, match="swap them"):
        compare(truth, windows)


def test_long_or_equal_names_become_letters(table, tmp_path):
    text = "file,arousal\na.wav,0.1\n"
    assert compare(table("a very long name.csv", text), table("b.csv", text)).names == ("A", "B")
    assert compare(table("b.csv", text), table("b.tsv", text.replace(",", "\t"))).names == ("A", "B")


def test_models_are_called_by_what_the_journals_know(table, tmp_path):
    text = "file,emotion,sad,happy\na.wav,sad,0.9,0.1\n"
    for name, model in (("one.csv", "mobile-emotion 0.1"), ("two.csv", "wav2small-emotion 0.2")):
        (tmp_path / f"{name}.journal").write_bytes(log.line({"sertool": "0.1.0", "model": model}))
    one, two = table("one.csv", text), table("two.csv", text)
    assert (one.model, two.model) == ("mobile-emotion 0.1", "wav2small-emotion 0.2")
    compared = compare(one, two)
    assert compared.names == ("mobile-emotion", "wav2small-emotion")
    assert compared.labels == ("emotion (mobile-emotion)", "emotion (wav2small-emotion)")
    (tmp_path / "two.csv.journal").write_bytes(b"\0\0")
    assert compare(one, table("two.csv", text)).names == ("one", "two")


def test_what_has_nothing_in_common(table):
    numbers = table("numbers.csv", "file,arousal\na.wav,0.1\n")
    classes = table("classes.csv", "file,emotion\na.wav,sad\n")
    with pytest.raises(UsageError, match="nothing to compare"):
        compare(numbers, classes)
    with pytest.raises(UsageError, match="no recording in common"):
        compare(numbers, table("others.csv", "file,arousal\nb.wav,0.1\n"))
