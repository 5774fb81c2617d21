"""Tables as they are read for a report."""

import json

import pytest

from sertool.errors import UsageError
from sertool.report.rows import read


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_are_numbers_texts_and_outputs(tmp_path):
    path = written(
        tmp_path / "labels.csv",
        "file,start,end,channel,arousal,arousal.low,arousal.high,typical,text,error\n"
        "a.wav,0,4.5,1,0.25,0.1,0.5,0.9,7,\nb.wav,,,2,,,,,,empty\n",
    )
    table = read(path)
    assert table.outputs == ("arousal",)
    assert table.label == ""
    assert table.numbers == ["start", "end", "arousal", "arousal.low", "arousal.high", "typical"]
    assert table.rows[0]["arousal"] == 0.25
    assert table.rows[0]["text"] == "7"  # a transcript, not a number
    assert table.rows[0]["channel"] == "1"
    assert table.rows[1] == dict.fromkeys(table.columns) | {"file": "b.wav", "channel": "2", "error": "empty"}
    assert table.files == ["a.wav", "b.wav"]
    assert table.places == ["channel"]


def test_classes_and_their_probabilities(tmp_path):
    text = "file,age,emotion,confidence,angry,sad\na.wav,30,sad,0.8,0.1,0.9\nb.wav,40,unsure,0.2,0.4,0.6\n"
    table = read(written(tmp_path / "labels.csv", text))
    assert table.label == "emotion"
    assert table.outputs == ("angry", "sad") or table.outputs == ("sad",)
    assert "age" not in table.outputs


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "file,valence\na.wav,0.5\n"),
        ("a.csv", "\ufefffile;valence\r\na.wav;0,5\r\n"),  # what Excel writes
        ("a.tsv", "file\tvalence\na.wav\t0.5\n"),
        ("a.jsonl", json.dumps({"file": "a.wav", "valence": 0.5}) + "\n"),
    ],
)
def test_kinds_of_tables(tmp_path, name, text):
    table = read(written(tmp_path / name, text))
    assert table.rows == [{"file": "a.wav", "valence": 0.5}]
    assert table.outputs == ("valence",)


def test_parquet(tmp_path):
    import pyarrow
    import pyarrow.parquet

    columns = {"file": ["a.wav", "b.wav"], "valence": [0.5, None], "emotion": ["sad", None]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").rows[1] == {"file": "b.wav", "valence": None, "emotion": None}
    written(tmp_path / "b.parquet", "no")
    with pytest.raises(UsageError, match="not parquet"):
        read(tmp_path / "b.parquet")


def test_embeddings_are_left_out_and_a_column_can_be_named(tmp_path):
    path = written(tmp_path / "a.csv", "file,e000,e001,mood,sad\na.wav,1,2,sad,0.9\n")
    assert read(path).columns == ("file", "mood", "sad")
    assert read(path, "mood").label == "mood"
    with pytest.raises(UsageError, match="no column 'x'"):
        read(path, "x")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no rows"),
        ("file,a\n", "no rows"),
        ("name,a\nx,1\n", "no column 'file'"),
        ("file,a\n,1\n", "without a file"),
        ('{"file": 1}\n[1]\n', "not a table"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path, text, reason):
    with pytest.raises(UsageError, match=reason) as error:
        read(written(tmp_path / "a.csv", text))
    assert "\n" not in str(error.value)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"file,a\n\xff,1\n")
    with pytest.raises(UsageError, match="UTF-8"):
        read(tmp_path / "a.csv")
    with pytest.raises(UsageError, match="must be csv, tsv, jsonl or parquet"):
        read(written(tmp_path / "a.srt", "1\n"))
    with pytest.raises(UsageError, match="No such file"):
        read(tmp_path / "none.csv")
